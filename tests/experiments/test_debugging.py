"""One step of every method under JAX's own checks: no key is used twice, and no NaN arises on the way."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark_jax import SYSTEMS


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_and_an_evaluation_use_no_key_twice_and_make_no_nan(system: str) -> None:
    method = SYSTEMS[system].method((12, 12, 1))
    images = jax.random.uniform(jax.random.key(1), (4, 12, 12, 1))

    def everything(first: jax.Array, second: jax.Array, third: jax.Array) -> None:
        state = method.init(first, images)
        state, metrics = method.step(state, images, second)
        return metrics, method.evaluate(state, images, third)

    with jax.debug_key_reuse(True), jax.debug_nans(True):
        results = jax.jit(everything)(jax.random.key(2), jax.random.key(3), jax.random.key(4))
    assert all(jnp.isfinite(value).all() for value in jax.tree.leaves(results))


def test_the_check_notices_a_key_used_twice() -> None:
    def twice(key: jax.Array) -> jax.Array:
        return jax.random.normal(key) + jax.random.normal(key)

    with jax.debug_key_reuse(True), pytest.raises(Exception, match=r"reuse|consumed"):
        jax.jit(twice)(jax.random.key(0))
