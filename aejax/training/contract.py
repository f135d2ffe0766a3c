"""What training asks of a method, checked before the first step by tracing alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax import rng
from aejax.data.feeds import Feed, rows_of
from aejax.errors import UserError
from aejax.methods.method import Method


def check(method: Method, feed: Feed) -> None:
    """Checks the shapes of what the method's functions return.

    Raises:
      UserError: with the shape that is expected.
    """
    batch = jax.eval_shape(feed.zeros)
    key = jax.eval_shape(lambda: rng.root_key(0))
    state = _traced(method.init, key, batch)
    rows = rows_of(jax.tree.map(lambda leaf: np.empty((leaf.shape[0], 0)), batch))
    result: Any = _traced(method.step, state, batch, key)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise UserError("the method's step must return (state, a dictionary of metrics)")
    after, metrics = result
    before: Any = jax.tree.structure(state)
    _check_metrics("step", metrics, (), "a mean over the batch, of shape ()")
    if jax.tree.structure(after) != before:
        raise UserError("the method's step must return a state of the structure that its init returns")
    _check_metrics(
        "evaluate",
        jax.eval_shape(method.evaluate, state, batch, key),
        (rows,),
        f"one value per example, of shape ({rows},) for a batch of {rows}",
    )


def _traced(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except jax.dtypes.TypePromotionError:
        if jax.config.jax_numpy_dtype_promotion != "strict":  # type: ignore[attr-defined]
            raise
        raise UserError(
            "JAX_NUMPY_DTYPE_PROMOTION=strict: optimisers of optax and this package's own steps compute with mixed "
            "dtypes: leave it out"
        ) from None


def check_finite(params: Any) -> None:
    """UserError for initial parameters that are NaN or infinite, with the path of the first."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    floats = [(path, leaf) for path, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = jax.jit(lambda arrays: [jnp.isfinite(array).all() for array in arrays])([leaf for _, leaf in floats])
    for (path, _), sound in zip(floats, finite, strict=True):
        if not sound:
            name = jax.tree_util.keystr(path)
            raise UserError(f"the initial parameters{name} are NaN or infinite: check their initialiser")


def _check_metrics(function: str, metrics: Any, shape: tuple[int, ...], what: str) -> None:
    if not isinstance(metrics, dict) or "loss" not in metrics:
        raise UserError(f'the method\'s {function} must give a dictionary of metrics with "loss" among them')
    for name, metric in metrics.items():
        if metric.shape != shape:
            raise UserError(f'"{name}" in the method\'s {function} must be {what}, not of shape {metric.shape}')
