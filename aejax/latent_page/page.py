"""The page itself: data and scripts put into one template."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.typing import ArrayLike

from aejax.latent_page.export import encode, layer_list
from aejax.plots import class_colours, class_name


def html(
    decoder: nn.Module,
    params: Mapping[str, Any],
    latents: ArrayLike,
    labels: ArrayLike,
    images: ArrayLike,
    title: str,
    class_names: Sequence[str] | None = None,
) -> str:
    """Writes a page that decodes the place under the pointer and shows the images that lie there; it loads nothing.

    Args:
      decoder: a DenseDecoder or a LatentDecoder of a ConvDecoder, of 2 latents, whose outputs are logits.
      params: its variables, {"params": ...}.
      latents: (n, 2), finite: where the images lie.
      labels: (n,), integers, which give the points their colours; below 0 they are unknown, and the points grey.
      images: (n, h, w, c), uint8, the shape that the decoder gives: grey, RGB, or of another number of channels, whose
        mean is shown. They take 4/3 of their bytes in the page, 10 MB for 10,000 of 28 x 28: give fewer where that is
        too much.
      title: the page's heading.
      class_names: the names of labels 0, 1, ...; without them labels are shown as numbers.

    Raises:
      ValueError: for other decoders, shapes, kinds of arrays and for labels without a name.
    """
    latents, labels, images = np.asarray(latents), np.asarray(labels), np.asarray(images)
    layers = layer_list(decoder, params)
    _check(latents, labels, images)
    decoded = jax.eval_shape(decoder.apply, params, jax.ShapeDtypeStruct((1, 2), np.float32)).shape[1:]
    if decoded != images.shape[1:]:
        raise ValueError(f"the decoder gives images of shape {decoded}, not {images.shape[1:]}")
    present, classes = np.unique(np.maximum(labels.astype(np.int64), -1), return_inverse=True)
    data = {
        "layers": layers,
        "classes": [
            {"name": class_name(label, class_names), "colour": colour}
            for label, colour in zip(present.tolist(), class_colours(present, class_names), strict=True)
        ],
        "latents": encode(latents, "<f4"),
        "labels": encode(classes, "<i4"),
        "shape": images.shape[1:],
        "images": encode(images, "|u1"),
    }
    return _fill(
        _read("template.html"),
        {
            "TITLE": escape(title),
            "COUNT": f"{len(images):,}",
            "STYLE": _read("style.css"),
            "DATA": _script_json(data),
            "DECODE": _read("decode.js"),
            "PAGE": _read("page.js"),
        },
    )


def _check(latents: np.ndarray, labels: np.ndarray, images: np.ndarray) -> None:
    n = len(images) if images.ndim else 0
    if images.ndim != 4 or images.dtype != np.uint8 or images.size == 0:
        raise ValueError(f"expected uint8 images of shape (n, h, w, c), got {images.dtype} of {images.shape}")
    if latents.shape != (n, 2) or latents.dtype.kind != "f" or not np.isfinite(latents).all():
        raise ValueError(
            f"expected finite floating-point latents of shape {(n, 2)}, got {latents.dtype} of {latents.shape}"
        )
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(f"expected integer labels of shape {(n,)}, got {labels.dtype} of {labels.shape}")


def _read(name: str) -> str:
    return resources.files("aejax.latent_page").joinpath(name).read_text(encoding="utf-8")


def _fill(template: str, parts: Mapping[str, str]) -> str:
    # In one pass, so that a part which happens to hold another's mark stays as it is.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def _script_json(data: Any) -> str:
    # The only character with which anything inside a script element can end it or change how it is read.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
