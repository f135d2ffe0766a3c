"""`one_optimizer` against gradients by hand: least squares on a linear model."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax.methods.method import Method, Metrics, Params, TrainState, one_optimizer

SHAPE = (6, 2, 2, 1)
GOAL = 0.7
KEY = jax.random.key(0)


def init_params(key: Array, images: Array) -> Params:
    return {"w": jax.random.normal(key, (images[0].size,))}


def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
    errors = images.reshape(len(images), -1) @ params["w"] - GOAL
    return errors**2, {"error": errors}


def noisy_loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
    return loss(params, images + jax.random.normal(key, images.shape), key, step)


def by_hand(w: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The losses and the gradient of their mean, in float64."""
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    errors = x @ np.asarray(w, np.float64) - GOAL
    return errors**2, 2 * x.T @ errors / len(x)


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(1), SHAPE)


def started(method: Method, images: Array) -> TrainState:
    return method.init(jax.random.key(2), images)


def test_init_gives_its_key_and_the_images_to_init_params(images: Array) -> None:
    state = started(one_optimizer(init_params, loss, optax.adam(0.1)), images)
    expected = init_params(jax.random.key(2), images)
    np.testing.assert_array_equal(state.params["w"], expected["w"])
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(optax.adam(0.1).init(expected))


def test_step_follows_the_gradient(images: Array) -> None:
    method = one_optimizer(init_params, loss, optax.sgd(0.1))
    state = started(method, images)
    losses, gradient = by_hand(state.params["w"], images)

    after, metrics = method.step(state, images, KEY)

    np.testing.assert_allclose(after.params["w"], state.params["w"] - 0.1 * gradient, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(gradient), rtol=1e-5)


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optax.adamw(0.1, weight_decay=0.3)], ids=["adam", "adamw"])
def test_the_optimizer_state_is_carried_from_step_to_step(optimizer: optax.GradientTransformation) -> None:
    batches = [jax.random.uniform(jax.random.key(i), SHAPE) for i in range(3)]
    method = one_optimizer(init_params, loss, optimizer)
    state = started(method, batches[0])
    params, opt_state = state.params, optimizer.init(state.params)

    for batch in batches:
        state, _ = method.step(state, batch, KEY)
        gradient = {"w": jnp.asarray(by_hand(params["w"], batch)[1], jnp.float32)}
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)

    adam = state.opt_state[0]
    assert adam.count == 3
    assert (adam.nu["w"] > 0).all()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.opt_state, opt_state)
    np.testing.assert_allclose(state.params["w"], params["w"], atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_gradient_norm_is_that_before_the_optimizer_clips_it(images: Array, share: float) -> None:
    state = started(one_optimizer(init_params, loss, optax.sgd(0.1)), images)
    _, gradient = by_hand(state.params["w"], images)
    length = np.linalg.norm(gradient)
    method = one_optimizer(
        init_params, loss, optax.chain(optax.clip_by_global_norm(share * float(length)), optax.sgd(0.1))
    )
    after, metrics = method.step(started(method, images), images, KEY)
    expected = state.params["w"] - 0.1 * min(share, 1) * gradient
    np.testing.assert_allclose(after.params["w"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], length, rtol=1e-5)


def test_a_batch_twice_is_the_same_step(images: Array) -> None:
    method = one_optimizer(init_params, loss, optax.sgd(0.1))
    state = started(method, images)
    once = method.step(state, images, KEY)
    twice = method.step(state, jnp.concatenate([images, images]), KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), once, twice)


def test_metrics_of_a_step_are_means_before_the_update(images: Array) -> None:
    method = one_optimizer(init_params, loss, optax.sgd(0.1))
    state = started(method, images)
    _, metrics = method.step(state, images, KEY)
    assert set(metrics) == {"loss", "error", "gradient_norm"}
    assert all(value.shape == () for value in metrics.values())
    for name, values in method.evaluate(state, images, KEY).items():
        np.testing.assert_allclose(metrics[name], values.mean(), rtol=1e-5)


def test_evaluate_gives_one_value_per_example(images: Array) -> None:
    method = one_optimizer(init_params, loss, optax.sgd(0.1))
    state = started(method, images)
    order = np.array([3, 0, 5, 1, 4, 2])

    values = method.evaluate(state, images, KEY)
    permuted = method.evaluate(state, images[order], KEY)

    assert set(values) == {"loss", "error"}
    np.testing.assert_allclose(values["loss"], by_hand(state.params["w"], images)[0], rtol=1e-5)
    for name in values:
        assert values[name].shape == SHAPE[:1]
        np.testing.assert_allclose(permuted[name], values[name][order], rtol=1e-6)


def test_a_loss_of_its_own_for_evaluation_leaves_training_alone(images: Array) -> None:
    def other(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        return jnp.full(len(images), 42.0), {"other": jnp.arange(float(len(images)))}

    plain = one_optimizer(init_params, loss, optax.sgd(0.1))
    method = one_optimizer(init_params, loss, optax.sgd(0.1), evaluate=other)
    state = started(method, images)

    values = method.evaluate(state, images, KEY)
    assert set(values) == {"loss", "other"}
    assert (values["loss"] == 42).all()
    jax.tree.map(np.testing.assert_array_equal, method.step(state, images, KEY), plain.step(state, images, KEY))


def test_the_key_reaches_the_loss(images: Array) -> None:
    method = one_optimizer(init_params, noisy_loss, optax.sgd(0.1))
    state = started(method, images)
    other = jax.random.key(9)

    for key in (KEY, other):
        expected = noisy_loss(state.params, images, key, state.step)[0]
        np.testing.assert_allclose(method.evaluate(state, images, key)["loss"], expected, rtol=1e-6)
        np.testing.assert_allclose(method.step(state, images, key)[1]["loss"], expected.mean(), rtol=1e-6)
    one, another = (noisy_loss(state.params, images, key, state.step)[0] for key in (KEY, other))
    assert (one != another).all()


def test_the_number_of_updates_reaches_the_loss(images: Array) -> None:
    def counted(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        return loss(params, images, key, step)[0] * 0 + step, {}

    method = one_optimizer(init_params, counted, optax.sgd(0.1))
    state, step = started(method, images), jax.jit(method.step)
    for i in range(3):
        assert (method.evaluate(state, images, KEY)["loss"] == i).all()
        state, metrics = step(state, images, KEY)
        assert metrics["loss"] == i
        assert state.step.dtype == jnp.int32
