"""Seeds as an axis: several runs that differ in their seed alone, computed by one program."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from aejax import rng

AXIS = "seed"


def roots(seed: int, count: int) -> Array:
    """The root keys of the seeds `seed`, `seed` + 1, ...: typed keys (count,)."""
    return jnp.stack([rng.root_key(seed + i) for i in range(count)])


def over_seeds(function: Callable[..., Any], count: int, in_axes: Sequence[int | None], out_axes: int = 0) -> Any:
    """`function` for each of `count` seeds: `jax.vmap` along AXIS, whose name collectives in it may use.

    A single seed runs the plain program, which compilers optimise better than one with an axis of length 1.
    """
    mapped = jax.vmap(function, tuple(in_axes), out_axes, axis_name=AXIS)
    if count > 1:
        return mapped

    def alone(*arguments: Any) -> Any:
        taken = [
            a if axis is None else jax.tree.map(lambda x, axis=axis: jnp.squeeze(x, axis), a)
            for a, axis in zip(arguments, in_axes, strict=True)
        ]
        return jax.tree.map(lambda x: jnp.expand_dims(x, out_axes), function(*taken))

    return alone


def any_seed(flag: Array, count: int) -> Array:
    """Whether the flag, bool (), is set for any of the `count` seeds."""
    return jax.lax.pmax(flag.astype(jnp.int32), AXIS) > 0 if count > 1 else flag
