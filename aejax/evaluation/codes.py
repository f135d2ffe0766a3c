"""Use of discrete codes: how many of a quantiser's codes images choose, and how evenly."""

import numpy as np
from jax import Array
from scipy.special import entr

from aejax.models.posteriors import Params
from aejax.models.trained import Trained
from aejax.models.vector_quantized import VectorQuantizedModel


def usage(trained: Trained, images: np.ndarray) -> dict[str, float]:
    """Counts the codes of images, uint8 (n, height, width, channels).

    Returns:
      "codes_used", the share of codes that occur, in [0, 1], and "perplexity", e to the entropy of their shares: the
      number of codes that, chosen evenly, would carry as much.
    """
    indices = trained.over(_indices, images)
    shares = np.bincount(np.ravel(indices), minlength=trained.model.quantizer.size) / np.size(indices)
    return {
        "codes_used": float((shares > 0).mean()),
        "perplexity": float(np.exp(entr(shares).sum())),
    }


def _indices(model: VectorQuantizedModel, params: Params, images: Array, key: Array) -> Array:
    return model.quantize(params, images).indices
