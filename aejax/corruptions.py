"""Corruptions of images: what an input suffers before a network sees it, as functions (key, images) -> images.

Images are float32 (batch, height, width, channels) in [0, 1], before and after. Each corruption is pure: equal keys
give equal noise, and every pixel and channel of every image draws its own. Those with settings are frozen dataclasses,
which a run's folder can describe; any other function of this signature works as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Corruption = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Gaussian:
    """Additive noise: clip(x + N(mean, std), 0, 1)."""

    mean: float = 0.5
    std: float = 0.3

    def __call__(self, key: Array, images: Array) -> Array:
        return jnp.clip(images + self.mean + self.std * jax.random.normal(key, images.shape, images.dtype), 0, 1)


@dataclass(frozen=True)
class SaltAndPepper:
    """Sets a value to 0 or to 1, with probability amount / 2 each.

    Vincent et al. (2010), Stacked denoising autoencoders, JMLR 11, section 3.3. ValueError for an amount that is no
    probability.
    """

    amount: float = 0.3

    def __post_init__(self) -> None:
        _check_probability(self.amount)

    def __call__(self, key: Array, images: Array) -> Array:
        u = jax.random.uniform(key, images.shape, images.dtype)
        return jnp.where(u < self.amount / 2, 0, jnp.where(u < self.amount, 1, images)).astype(images.dtype)


@dataclass(frozen=True)
class Masking:
    """Sets a value to 0 with probability `fraction`.

    Vincent et al. (2008), Extracting and composing robust features, ICML, set a fixed number of values of each image to
    0; here that number is binomial. ValueError for a fraction that is no probability.
    """

    fraction: float = 0.3

    def __post_init__(self) -> None:
        _check_probability(self.fraction)

    def __call__(self, key: Array, images: Array) -> Array:
        u = jax.random.uniform(key, images.shape, images.dtype)
        return jnp.where(u < self.fraction, 0, images).astype(images.dtype)


@dataclass(frozen=True)
class Speckle:
    """Multiplicative noise: clip(x + x N(0, std), 0, 1)."""

    std: float = 0.3

    def __call__(self, key: Array, images: Array) -> Array:
        return jnp.clip(images * (1 + self.std * jax.random.normal(key, images.shape, images.dtype)), 0, 1)


@dataclass(frozen=True)
class Downscale:
    """Antialiased downscaling: (batch, height, width, channels) -> (batch, height / factor, width / factor, channels).

    "box" is the mean over factor x factor pixels, as a coarser sensor would measure it; "bicubic" is the cubic kernel
    (Keys 1981, a = -0.5) widened by the factor, the protocol of most of the super-resolution literature, clipped to
    [0, 1]. Neither is rounded to 8 bits. The key is not used. ValueError for sizes that the factor does not divide.
    """

    factor: int
    kernel: Literal["box", "bicubic"] = "box"

    def __call__(self, key: Array, images: Array) -> Array:
        b, h, w, c = images.shape
        f = self.factor
        if h % f or w % f:
            raise ValueError(f"images of {h} x {w} pixels cannot be made {f} times smaller")
        if self.kernel == "box":
            return images.reshape(b, h // f, f, w // f, f, c).mean((2, 4))
        return jnp.clip(jax.image.resize(images, (b, h // f, w // f, c), "cubic", antialias=True), 0, 1)


def binarize(key: Array, images: Array) -> Array:
    """Draws each value from the Bernoulli distribution whose probability it is: 0 or 1.

    Drawn anew at every step this is the dynamic binarisation of MNIST (Burda et al. 2015, arXiv:1509.00519, section 5).
    """
    return jax.random.bernoulli(key, images).astype(images.dtype)


def _check_probability(value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"expected a probability, got {value}")
