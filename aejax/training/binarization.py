"""Splits of grey images, as models of black and white pixels see them."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax import corruptions, rng
from aejax.batching import as_float
from aejax.training.splits import Splits

Binarization = Literal["none", "dynamic", "static"]
"""none: grey images as they are; dynamic: drawn as 0 or 1 at every step; static: drawn once, with a fixed key."""


def binarized(binarization: Binarization, data: Splits) -> Splits:
    """Returns the splits as they are modelled: static draws every image once, dynamic those to evaluate on."""
    if binarization == "none":
        return data
    key = rng.stream(rng.root_key(0), "static binarisation")

    def drawn_once(images: np.ndarray, key: Array) -> np.ndarray:
        starts = range(0, len(images), 10_000)
        blocks = [jnp.asarray(as_float(images[start : start + 10_000])) for start in starts]
        drawn = [corruptions.binarize(rng.stream(key, "block", i), x) for i, x in zip(starts, blocks, strict=True)]
        return (255 * np.concatenate([np.asarray(block) for block in drawn])).astype(np.uint8)

    splits = {
        name: dataclasses.replace(dataset, images=drawn_once(dataset.images, rng.stream(key, name)))
        for name, dataset in data.parts().items()
        if name != "train" or binarization == "static"
    }
    return data._replace(**splits, **({} if "held_out" in splits else {"held_out": splits["test"]}))
