"""`with_ema`: the average in closed form, and that it changes nothing about training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax.methods.method import Method, Metrics, Params, Phase, one_optimizer, several_optimizers, with_ema

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(jax.random.key(1), (4, 2, 2, 1))


def init_params(key: Array, images: Array) -> Params:
    return {"w": jax.random.normal(key, (images[0].size,)), "b": jnp.zeros(())}


def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
    noisy = images + 0.1 * jax.random.normal(key, images.shape)
    errors = noisy.reshape(len(images), -1) @ params["w"] + params["b"] - 0.7
    return errors**2, {"error": errors}


METHODS = {
    "one optimizer": one_optimizer(init_params, loss, optax.adam(0.1)),
    "several optimizers": several_optimizers(
        init_params, [Phase(name, loss, (name,), optax.adam(0.1)) for name in ("w", "b")], loss
    ),
}
each = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def trained(method: Method, steps: int, *, donate: bool = False) -> list[Any]:
    """The states from the first one on."""
    step = jax.jit(method.step, donate_argnums=0 if donate else ())
    state = method.init(KEY, IMAGES)
    states = [jax.tree.map(np.array, state)]
    for key in jax.random.split(KEY, steps):
        state, _ = step(state, IMAGES, key)
        states.append(jax.tree.map(np.array, state))
    return states


@pytest.mark.parametrize("decay", [0.5, 0.05, 0.999])
@each
def test_the_average_is_its_closed_form(method: Method, decay: float) -> None:
    """The sum of (1 - d_t) params_(t + 1) times all later decays, where d_t = min(decay, (1 + t) / (10 + t))."""
    steps = 15
    states = trained(with_ema(method, decay), steps)
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(steps)]
    weights = [np.prod(decays), *((1 - decays[t]) * np.prod(decays[t + 1 :]) for t in range(steps))]
    assert sum(weights) == pytest.approx(1)
    for name in ("w", "b"):
        history = np.array([np.asarray(state.inner.params[name], np.float64) for state in states])
        np.testing.assert_allclose(states[-1].params[name], np.tensordot(weights, history, 1), rtol=1e-4, atol=1e-5)
    assert states[-1].step == steps
    assert (states[-1].params["w"] != states[-1].inner.params["w"]).all()


@each
def test_training_goes_on_from_the_methods_own_state_bit_for_bit(method: Method) -> None:
    averaged, alone = trained(with_ema(method, 0.9), 5), trained(method, 5)
    for ours, theirs in zip(averaged, alone, strict=True):
        assert jax.tree.structure(ours.inner) == jax.tree.structure(theirs)
        jax.tree.map(np.testing.assert_array_equal, ours.inner, theirs)


@each
def test_evaluation_is_at_the_average(method: Method) -> None:
    averaged = with_ema(method, 0.9)
    state = trained(averaged, 5)[-1]
    found = averaged.evaluate(state, IMAGES, KEY)
    at_average = method.evaluate(state.inner._replace(params=state.params), IMAGES, KEY)
    jax.tree.map(np.testing.assert_array_equal, found, at_average)
    assert (found["loss"] != method.evaluate(state.inner, IMAGES, KEY)["loss"]).all()


@each
def test_the_whole_state_can_be_donated(method: Method) -> None:
    """Average and params share no buffer, at the beginning neither."""
    averaged = with_ema(method, 0.9)
    jax.tree.map(np.testing.assert_array_equal, trained(averaged, 3, donate=True), trained(averaged, 3))
    state = averaged.init(KEY, IMAGES)
    jax.jit(averaged.step, donate_argnums=0)(state, IMAGES, KEY)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


@each
def test_no_decay_is_the_method_itself(method: Method) -> None:
    assert with_ema(method, 0.0) is method
