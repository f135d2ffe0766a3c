"""Comparison with a twin: an independent float64 version in numpy, written from a paper's equations alone."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

STEP = 1e-30  # of the complex step: nothing is subtracted, so it may be as small as one likes
MISTAKES: dict[str, Callable[[Any], Any]] = {
    "a factor of 2": lambda x: 2 * x,
    "a wrong sign": lambda x: -x,
    "a mean for a sum": lambda x: x / 3,
}


def same(ours: Any, twin: Any, tolerance: float = 1e-12) -> None:
    """Asserts that arrays agree relative to the largest entry, and that none of `MISTAKES` would have passed."""
    ours, twin = np.asarray(ours), np.asarray(twin)
    _close(ours, twin, tolerance)
    for mistake in MISTAKES.values():
        with pytest.raises(AssertionError):
            _close(mistake(ours), twin, tolerance)


def gradient(function: Callable[[Any], Any], tree: Any) -> Any:
    """Differentiates a twin, real and analytic, by the complex step: a tree of arrays -> the same tree.

    Squire and Trapp (1998, https://doi.org/10.1137/S003614459631241X): the derivative is Im f(x + ih) / h.
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda leaf: np.asarray(leaf, complex), tree))
    gradients = [np.zeros(leaf.shape) for leaf in leaves]
    for leaf, slopes in zip(leaves, gradients, strict=True):
        for place in np.ndindex(leaf.shape):
            leaf[place] += 1j * STEP
            slopes[place] = np.imag(function(jax.tree.unflatten(structure, leaves))) / STEP
            leaf[place] = leaf[place].real
    return jax.tree.unflatten(structure, gradients)


def flat(tree: Any) -> np.ndarray:
    """Puts all arrays of a tree into one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def as_float64(tree: Any) -> Any:
    """Makes the floating-point arrays of a tree float64; call it under jax.enable_x64(True)."""
    return jax.tree.map(lambda a: a.astype("float64") if np.issubdtype(a.dtype, np.floating) else a, tree)


def _close(ours: np.ndarray, twin: np.ndarray, tolerance: float) -> None:
    assert np.isfinite(twin).all()
    np.testing.assert_allclose(ours, twin, rtol=tolerance, atol=tolerance * float(np.abs(twin).max()))
