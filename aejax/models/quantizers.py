"""Quantisers: vectors of features to one of finitely many codes each, and back."""

import abc
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax.models.posteriors import Params


@dataclass(frozen=True)
class Quantizer(abc.ABC):
    """The base class.

    Its functions take the params of the whole model, so that a quantiser can have parameters under params["codebook"].
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of codes."""

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """The number of values of a vector."""

    def init(self, key: Array) -> Params:
        """Returns the initial codebook, (size, features); {} where there is none."""
        return {}

    @abc.abstractmethod
    def indices(self, params: Params, vectors: Array) -> Array:
        """Maps vectors (..., features) to the index of each one's code, (...)."""

    @abc.abstractmethod
    def codes(self, params: Params, indices: Array) -> Array:
        """Maps indices (...) to codes (..., features)."""

    def quantize(self, params: Params, vectors: Array) -> Array:
        """Maps vectors (..., features) to codes; the gradient passes straight through to the vectors."""
        codes = self.codes(params, self.indices(params, vectors))
        return vectors + jax.lax.stop_gradient(codes - vectors)


@dataclass(frozen=True)
class Codebook(Quantizer):
    """The nearest of `entries` learnt vectors: van den Oord et al. (2017, arXiv:1711.00937), equations 1 and 2."""

    entries: int = 512
    width: int = 64

    @property
    def size(self) -> int:
        return self.entries

    @property
    def features(self) -> int:
        return self.width

    def init(self, key: Array) -> Params:
        return jax.random.normal(key, (self.entries, self.width))

    def indices(self, params: Params, vectors: Array) -> Array:
        codebook = params["codebook"]
        # The squared norm of the vector is left out, as it is the same for all entries.
        distances = jnp.square(codebook).sum(axis=1) - 2 * vectors @ codebook.T
        return distances.argmin(axis=-1)

    def codes(self, params: Params, indices: Array) -> Array:
        return params["codebook"][indices]


@dataclass(frozen=True)
class FiniteScalars(Quantizer):
    """Each feature rounded to one of few levels: Mentzer et al. (2023, arXiv:2309.15505), section 3.1.

    There is no codebook, so that no code can die. Codes are in [-1, 1].

    Attributes:
      levels: of each feature; their product is the number of codes.
    """

    levels: tuple[int, ...] = (8, 5, 5, 5)

    @property
    def size(self) -> int:
        return math.prod(self.levels)

    @property
    def features(self) -> int:
        return len(self.levels)

    def bounded(self, vectors: Array) -> Array:
        """Maps vectors (..., features) smoothly to level numbers, between 0 and levels - 1, before rounding."""
        levels = jnp.asarray(self.levels)
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = jnp.where(levels % 2 == 0, 0.5, 0.0)  # so that an even number of levels has as many on each side
        shift = jnp.arctanh(offset / half)
        return jnp.tanh(vectors + shift) * half - offset + levels // 2

    def indices(self, params: Params, vectors: Array) -> Array:
        digits = jnp.round(self.bounded(vectors)).astype(jnp.int32)
        return (digits * jnp.asarray(self._places())).sum(axis=-1)

    def codes(self, params: Params, indices: Array) -> Array:
        levels = jnp.asarray(self.levels)
        digits = indices[..., None] // jnp.asarray(self._places()) % levels
        return self._centred(digits)

    def quantize(self, params: Params, vectors: Array) -> Array:
        smooth = self._centred(self.bounded(vectors))
        codes = self.codes(params, self.indices(params, vectors))
        return smooth + jax.lax.stop_gradient(codes - smooth)

    def _places(self) -> np.ndarray:
        return np.cumprod([1, *self.levels[:-1]])

    def _centred(self, digits: Array) -> Array:
        """Maps level numbers to [-1, 1]."""
        half = jnp.asarray(self.levels) // 2
        return (digits - half) / half
