"""The variational method: what a step minimises, what evaluation reports, and what their keys decide."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax import corruptions
from aejax.divergences import inverse_multiquadratic
from aejax.methods import objectives
from aejax.methods.method import Method, Params, TrainState
from aejax.methods.variational import doubly_reparameterized, vae
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import Bernoulli, Gaussian
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.methods.linear_gaussian import IMAGE, STD, evidence, gap, linear_model, random_images, random_params

KEY, OTHER = jax.random.key(0), jax.random.key(1)
POSTERIOR, PRIOR = GaussianPosterior(GaussianEncoder(MLP((5,)), 3)), StandardNormal(latents=3)
MODEL = LatentVariableModel(POSTERIOR, DenseDecoder((5,), IMAGE), PRIOR)
SGD = optax.sgd(0.01)


@pytest.fixture
def images() -> Array:
    return random_images(6, seed=2)


@pytest.fixture
def params(images: Array) -> Params:
    return jax.jit(MODEL.init)(KEY, images)


def state_of(params: Params) -> TrainState:
    return TrainState(params, SGD.init(params), jnp.int32(0))


SCHEDULES: dict[str, tuple[Any, Callable[[int], float]]] = {
    "constant": (2.5, lambda step: 2.5),
    "annealing": (optax.linear_schedule(0, 1, 4), lambda step: min(step / 4, 1)),
}


@pytest.mark.parametrize(("weight", "expected"), SCHEDULES.values(), ids=SCHEDULES.keys())
def test_the_kls_weight_follows_its_schedule(images: Array, weight: Any, expected: Callable[[int], float]) -> None:
    method = vae(MODEL, SGD, objectives.beta_elbo(weight))
    state, step = method.init(KEY, images), jax.jit(method.step)
    for i in range(6):
        assert state.step == i
        state, metrics = step(state, images, jax.random.key(i))
        assert set(metrics) == {"loss", "distortion", "rate", "gradient_norm"}
        assert metrics["rate"] > 0.01
        np.testing.assert_allclose(metrics["loss"], metrics["distortion"] + expected(i) * metrics["rate"], rtol=1e-5)


def test_the_kls_weight_also_weighs_its_gradient(images: Array) -> None:
    params = MODEL.init(KEY, images)
    params["decoder"] = jax.tree.map(jnp.zeros_like, params["decoder"])  # grey, whatever the latents

    def movement(weight: float) -> Array:
        after, _ = jax.jit(vae(MODEL, SGD, objectives.beta_elbo(weight)).step)(state_of(params), images, KEY)
        before, moved = (p["encoder"]["params"]["mean"]["kernel"] for p in (params, after.params))
        return moved - before

    none, once, thrice = map(movement, (0.0, 1.0, 3.0))
    np.testing.assert_array_equal(none, 0)
    assert jnp.abs(once).max() > 1e-4
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-3, atol=1e-6)


METHODS: dict[str, Callable[[LatentVariableModel], Method]] = {
    "elbo": lambda model: vae(model, SGD),
    "beta, 5 latents": lambda model: vae(model, SGD, objectives.beta_elbo(0.3), 5),
    "iwae": lambda model: vae(model, SGD, objectives.negative_iwae, 3),
    "free bits": lambda model: vae(model, SGD, objectives.free_bits(2.0)),
    "wae": lambda model: vae(model, SGD, objectives.wae_mmd(10, inverse_multiquadratic(3))),
    "annealing": lambda model: vae(model, SGD, objectives.beta_elbo(optax.linear_schedule(0, 1, 10))),
    "doubly reparameterised": lambda model: doubly_reparameterized(model, SGD, 3),
}
each_method = pytest.mark.parametrize("method_of", METHODS.values(), ids=METHODS.keys())


@each_method
def test_evaluation_reports_the_true_elbo_of_one_drawn_latent_whatever_is_trained(
    method_of: Callable[[LatentVariableModel], Method], images: Array, params: Params
) -> None:
    values = method_of(MODEL).evaluate(state_of(params), images, KEY)

    terms = MODEL.terms(params, images, KEY)
    pictures = jax.nn.sigmoid(MODEL.decode(params, terms.mean))
    assert set(values) == {"loss", "distortion", "rate", "mse"}
    assert all(value.shape == (6,) for value in values.values())
    np.testing.assert_allclose(values["loss"], values["distortion"] + values["rate"], rtol=1e-6)
    np.testing.assert_allclose(values["distortion"], -terms.log_likelihood[:, 0], rtol=1e-5)
    np.testing.assert_allclose(values["rate"], terms.kl.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(values["mse"], jnp.square(pictures - images).mean((1, 2, 3)), rtol=1e-5)


def test_evaluation_is_a_bound_and_not_the_flattering_value_at_the_posteriors_mean() -> None:
    images, params = random_images(3), random_params(2)
    method = vae(linear_model(), SGD)
    keys = jax.random.split(KEY, 3000)
    drawn = jax.jit(jax.vmap(lambda key: method.evaluate(state_of(params), images, key)["loss"]))(keys)

    posterior = linear_model().posterior
    assert isinstance(posterior, GaussianPosterior)
    mean, log_variance = posterior.moments(params, images)
    outputs = linear_model().decode(params, mean)
    rate = (jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1).sum(axis=1) / 2
    at_mean = Gaussian(STD).neg_log_prob(outputs, images) + rate

    expected = gap(params, images) - evidence(params, images)
    error = np.std(drawn, axis=0) / np.sqrt(len(keys))
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - expected), 4.5 * error)
    assert (at_mean < expected - 20 * error).all()


@each_method
def test_the_key_decides_what_is_drawn(
    method_of: Callable[[LatentVariableModel], Method], images: Array, params: Params
) -> None:
    method = method_of(MODEL)
    step, evaluate = jax.jit(method.step), jax.jit(method.evaluate)
    state = state_of(params)
    one, again, other = (step(state, images, key)[1]["loss"] for key in (KEY, KEY, OTHER))
    assert one == again
    assert one != other
    one, again, other = (evaluate(state, images, key)["loss"] for key in (KEY, KEY, OTHER))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


@each_method
def test_training_lowers_the_loss(method_of: Callable[[LatentVariableModel], Method], images: Array) -> None:
    method = method_of(MODEL)
    state, step = method.init(KEY, images), jax.jit(method.step)
    before = step(state, images, OTHER)[1]["distortion"]
    for i in range(60):
        state, _ = step(state, images, jax.random.key(i))
    assert step(state, images, OTHER)[1]["distortion"] < before - 0.02


def test_binarised_images_are_drawn_anew_for_each_key_and_are_what_is_modelled(images: Array) -> None:
    targets, inputs = [], []

    class Spy(nn.Module):
        @nn.compact
        def __call__(self, images: Array) -> tuple[Array, Array]:
            inputs.append(np.asarray(images))
            return GaussianEncoder(MLP((5,)), 3)(images)

    class SpyBernoulli(Bernoulli):
        def neg_log_prob(self, outputs: Array, images: Array) -> Array:
            targets.append(np.asarray(images))
            return super().neg_log_prob(outputs, images)

    model = LatentVariableModel(GaussianPosterior(Spy()), MODEL.decoder, PRIOR, SpyBernoulli())
    method = vae(model, SGD, transform=corruptions.binarize)
    state = method.init(KEY, images)

    rounds = []
    for key in (KEY, KEY, OTHER):
        inputs.clear()
        targets.clear()
        values = method.evaluate(state, images, key)
        method.step(state, images, key)
        rounds.append([*inputs, *targets])

    for seen in rounds:
        assert len(seen) >= 4  # of encoder and likelihood, in evaluation and in training
        assert set(np.unique(seen[0])) == {0, 1}
        np.testing.assert_array_equal(seen, [seen[0]] * len(seen))
    np.testing.assert_array_equal(rounds[0][0], rounds[1][0])
    assert (rounds[0][0] != rounds[2][0]).any()
    mean = model.encode(state.params, jnp.asarray(inputs[-1]))
    expected = jnp.square(jax.nn.sigmoid(model.decode(state.params, mean)) - images).mean((1, 2, 3))
    np.testing.assert_allclose(values["mse"], expected, rtol=1e-5)  # of the pictures from the images themselves
