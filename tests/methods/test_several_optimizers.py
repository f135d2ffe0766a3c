"""`several_optimizers`: who may move what, what each phase sees, and state that no gradient moves."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax.methods.method import Method, Metrics, Params, Phase, Statistics, select, several_optimizers

KEY = jax.random.key(0)
RATE = 0.1
IMAGES = jax.random.uniform(jax.random.key(1), (4, 2, 2, 1))


def init_params(key: Array, images: Array) -> Params:
    return {"a": jnp.float32(1.0), "b": jnp.float32(2.0), "c": jnp.float32(3.0)}


def product(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
    """a b c, the same for each image: its gradient for one part is the product of the others."""
    values = jnp.full(len(images), params["a"] * params["b"] * params["c"])
    return values, {"product": values}


def minus_product(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
    values, _ = product(params, images, key, step)
    return -values, {"minus": -values}


def method_of(*phases: Phase, **options: Any) -> Method:
    return several_optimizers(init_params, phases, product, **options)


@pytest.mark.parametrize("parts", [("a",), ("a", "c"), ("a", "b", "c")])
def test_a_phase_moves_its_own_parts_alone(parts: tuple[str, ...]) -> None:
    """Although its loss has a gradient for all; the optimiser sees its own parts and no others."""
    method = method_of(Phase("only", product, parts, optax.adam(RATE)))
    state = method.init(KEY, IMAGES)
    assert set(state.opt_state["only"][0].mu) == set(parts)
    stepped, metrics = jax.jit(method.step)(state, IMAGES, KEY)
    assert {name for name in "abc" if stepped.params[name] != state.params[name]} == set(parts)
    gradients = {"a": 6.0, "b": 3.0, "c": 2.0}
    np.testing.assert_allclose(metrics["only_gradient_norm"], np.linalg.norm([gradients[p] for p in parts]), rtol=1e-6)


def test_each_phase_sees_what_the_one_before_has_left() -> None:
    """Gradient descent in turns, by hand."""
    method = method_of(
        Phase("first", product, ("a",), optax.sgd(RATE)), Phase("second", minus_product, ("b",), optax.sgd(RATE))
    )
    state, step = method.init(KEY, IMAGES), jax.jit(method.step)
    a, b, c = 1.0, 2.0, 3.0
    for i in range(3):
        expected = {"product": a * b * c}
        a -= RATE * b * c
        expected["minus"] = -a * b * c
        b += RATE * a * c  # with the new a
        state, metrics = step(state, IMAGES, KEY)
        np.testing.assert_allclose([state.params[name] for name in "abc"], [a, b, c], rtol=1e-5)
        assert state.step == i + 1
        for name, value in expected.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-5)


def test_each_phase_carries_an_optimizer_state_of_its_own() -> None:
    """Two phases over the same part: each Adam counts and averages its own gradients."""
    method = method_of(
        Phase("down", product, ("a",), optax.adam(RATE)), Phase("up", minus_product, ("a",), optax.adam(RATE))
    )
    state, step = method.init(KEY, IMAGES), jax.jit(method.step)
    for _ in range(3):
        state, _ = step(state, IMAGES, KEY)
    for name, gradient in (("down", 6.0), ("up", -6.0)):
        assert state.opt_state[name][0].count == 3
        np.testing.assert_allclose(state.opt_state[name][0].mu["a"], gradient * (1 - 0.9**3), rtol=1e-5)


def test_a_loss_that_is_not_finite_shows_in_the_gradient_norm_of_its_phase() -> None:
    """Even where its gradient is 0, so that training cannot go on unnoticed."""

    def broken(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        return jnp.full(len(images), jnp.nan), {}

    method = method_of(
        Phase("sound", product, ("a",), optax.sgd(RATE)), Phase("broken", broken, ("b",), optax.sgd(RATE))
    )
    _, metrics = method.step(method.init(KEY, IMAGES), IMAGES, KEY)
    assert np.isnan(metrics["broken_gradient_norm"])
    assert np.isfinite(metrics["sound_gradient_norm"])


def test_statistics_follow_the_phases_and_may_set_parts_that_no_phase_moves() -> None:
    """A running mean of the batches, copied into a part, and the value of the part that the phase has just moved."""

    def update(params: Params, before: Any, images: Array, key: Array, step: Array) -> tuple[Params, Any, Metrics]:
        mean = 0.9 * before["mean"] + 0.1 * images.mean()
        statistics = {"mean": mean, "a": params["a"], "step": step}
        return {**params, "c": mean}, statistics, {"mean": jnp.full(len(images), mean)}

    def init(key: Array, params: Params, images: Array) -> Any:
        return {"mean": jnp.float32(0), "a": params["a"], "step": jnp.int32(-1)}

    method = method_of(Phase("only", product, ("a",), optax.sgd(RATE)), statistics=Statistics(init, update))
    state, step = method.init(KEY, IMAGES), jax.jit(method.step)
    assert (state.statistics["a"], state.statistics["mean"]) == (1, 0)
    expected = 0.0
    for i in range(4):
        images = IMAGES * (i + 1) / 4
        state, metrics = step(state, images, KEY)
        expected = 0.9 * expected + 0.1 * float(images.mean())
        np.testing.assert_allclose(state.statistics["mean"], expected, rtol=1e-5)
        np.testing.assert_allclose(metrics["mean"], expected, rtol=1e-5)
        assert state.params["c"] == state.statistics["mean"]
        assert state.statistics["a"] == state.params["a"]
        assert state.statistics["step"] == i
        assert state.params["b"] == 2


def test_phases_and_evaluation_get_the_key_and_the_step_of_the_call() -> None:
    def told(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        draws = jnp.full(len(images), jax.random.uniform(key))
        return params["a"] * jnp.zeros(len(images)), {"draw": draws, "step": jnp.full(len(images), step)}

    method = several_optimizers(init_params, [Phase("only", told, ("a",), optax.sgd(RATE))], told)
    state = method.init(KEY, IMAGES)
    for i, key in enumerate(jax.random.split(KEY, 2)):
        values = method.evaluate(state, IMAGES, key)
        assert {name: value.shape for name, value in values.items()} == dict.fromkeys(("loss", "draw", "step"), (4,))
        state, metrics = method.step(state, IMAGES, key)
        for found in (values, metrics):
            np.testing.assert_allclose(found["draw"], jax.random.uniform(key), rtol=1e-6)
            np.testing.assert_array_equal(found["step"], i)


def test_select_takes_the_named_parts() -> None:
    assert select({"a": 1, "b": 2, "c": 3}, ("c", "a")) == {"c": 3, "a": 1}
