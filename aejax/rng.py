"""Named streams of randomness: the only place where keys are made.

A run has one root key, from its seed. Every use of randomness folds in its own name and the step, so no two uses share
a key and the randomness of step N depends on (seed, N) alone: a resumed run draws what an uninterrupted one would have.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

GENERATOR = "threefry2x32"
"""The generator of all randomness, whatever JAX_DEFAULT_PRNG_IMPL says."""
SEEDS = 2**32
"""The number of seeds: a larger one would be the same as one of these."""


def root_key(seed: int) -> Array:
    """The run's root key, a typed key of shape (). ValueError for a seed outside 0 ... 2^32 - 1."""
    if isinstance(seed, int) and not 0 <= seed < SEEDS:
        raise ValueError(f"a seed must be in 0 ... {SEEDS - 1}, not {seed}")
    return jax.random.key(seed, impl=GENERATOR)


def stream(root: Array, name: str, step: int | Array = 0) -> Array:
    """The key of the stream `name` ("noise", "shuffle", "initialisation", ...) at `step`, which may be traced."""
    return jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(name.encode())), step)


def words(root: Array) -> np.ndarray:
    """A root key as uint32 words (..., 2), which another process can be sent; `from_words` makes the key of them."""
    return np.asarray(jax.random.key_data(root))


def from_words(words: np.ndarray) -> Array:
    """The root key of `words`."""
    return jax.random.wrap_key_data(jnp.asarray(words), impl=GENERATOR)
