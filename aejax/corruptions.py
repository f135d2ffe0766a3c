"""What an input suffers before a network sees it: factories of functions (key, images) -> images.

Images are float32 (batch, height, width, channels) in [0, 1], before and after. Each function is pure: equal keys give
equal noise, and every pixel and channel of every image draws its own. Any function of this signature serves as well.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Corruption = Callable[[Array, Array], Array]


def gaussian(mean: float = 0.5, std: float = 0.3) -> Corruption:
    """Additive noise: clip(x + N(mean, std), 0, 1)."""

    def corrupt(key: Array, images: Array) -> Array:
        return jnp.clip(images + mean + std * jax.random.normal(key, images.shape, images.dtype), 0, 1)

    return corrupt


def salt_and_pepper(amount: float = 0.3) -> Corruption:
    """Sets a value to 0 or to 1, with probability amount / 2 each (Vincent et al. 2010, section 3.3)."""
    _check_probability(amount)

    def corrupt(key: Array, images: Array) -> Array:
        u = jax.random.uniform(key, images.shape, images.dtype)
        return jnp.where(u < amount / 2, 0, jnp.where(u < amount, 1, images)).astype(images.dtype)

    return corrupt


def masking(fraction: float = 0.3) -> Corruption:
    """Sets a value to 0 with probability `fraction`.

    Vincent et al. (2008) set a fixed number of values of each image to 0; here that number is binomial.
    """
    _check_probability(fraction)

    def corrupt(key: Array, images: Array) -> Array:
        u = jax.random.uniform(key, images.shape, images.dtype)
        return jnp.where(u < fraction, 0, images).astype(images.dtype)

    return corrupt


def speckle(std: float = 0.3) -> Corruption:
    """Multiplicative noise: clip(x + x N(0, std), 0, 1)."""

    def corrupt(key: Array, images: Array) -> Array:
        return jnp.clip(images * (1 + std * jax.random.normal(key, images.shape, images.dtype)), 0, 1)

    return corrupt


def downscale(factor: int, kernel: Literal["box", "bicubic"] = "box") -> Corruption:
    """Antialiased downscaling: (batch, height, width, channels) -> (batch, height / factor, width / factor, channels).

    "box" is the mean over factor x factor pixels, as a coarser sensor would measure it; "bicubic" is the cubic kernel
    (Keys 1981, a = -0.5) widened by the factor, the protocol of most of the super-resolution literature, clipped to
    [0, 1]. Neither is rounded to 8 bits. The key is not used. ValueError for sizes that the factor does not divide.
    """

    def corrupt(key: Array, images: Array) -> Array:
        b, h, w, c = images.shape
        if h % factor or w % factor:
            raise ValueError(f"images of {h} x {w} pixels cannot be made {factor} times smaller")
        if kernel == "box":
            return images.reshape(b, h // factor, factor, w // factor, factor, c).mean((2, 4))
        return jnp.clip(jax.image.resize(images, (b, h // factor, w // factor, c), "cubic", antialias=True), 0, 1)

    return corrupt


def _check_probability(value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"expected a probability, got {value}")


def binarize(key: Array, images: Array) -> Array:
    """Draws each value from the Bernoulli distribution whose probability it is: 0 or 1.

    Drawn anew at every step this is the dynamic binarisation of MNIST (Burda et al. 2016, section 5).
    """
    return jax.random.bernoulli(key, images).astype(images.dtype)
