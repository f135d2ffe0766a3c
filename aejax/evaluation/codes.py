"""Use of discrete codes: how many of a quantiser's codes images choose, and how evenly."""

from dataclasses import dataclass

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from aejax import batching
from aejax.models.posteriors import Params
from aejax.models.trained import Trained
from aejax.models.vector_quantized import VectorQuantizedModel


def usage(trained: Trained, images: np.ndarray) -> dict[str, float]:
    """Counts the codes of images, uint8 (n, height, width, channels).

    Returns:
      "codes_used", the share of codes that occur, in [0, 1], and "perplexity", e to the entropy of their shares: the
      number of codes that, chosen evenly, would carry as much.
    """
    mesh = trained.mesh or Mesh(np.array(jax.devices()[:1]), ("data",))
    indices = batching.over_images(_Indices(trained.model), mesh)(trained.params, images)
    shares = np.bincount(np.ravel(indices), minlength=trained.model.quantizer.size) / np.size(indices)
    known = shares[shares > 0]
    return {
        "codes_used": float((shares > 0).mean()),
        "perplexity": float(np.exp(-(known * np.log(known)).sum())),
    }


@dataclass(frozen=True)
class _Indices:
    """The indices of a model's codes. It equals that of an equal model, so that both share one compiled program."""

    model: VectorQuantizedModel

    def __call__(self, params: Params, images: Array, key: Array) -> Array:
        return self.model.quantize(params, images).indices
