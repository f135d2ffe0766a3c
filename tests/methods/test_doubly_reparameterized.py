"""The gradient of `doubly_reparameterized` against its formula and against that of IWAE, in float64."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.scipy.stats import norm

from aejax.methods.method import Method, Params, TrainState
from aejax.methods.objectives import negative_iwae
from aejax.methods.variational import doubly_reparameterized, vae
from tests.methods.linear_gaussian import STD, exact_params, linear_model, random_images, random_params

KEY = jax.random.key(0)
MODEL = linear_model()
SAMPLES = 5


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def double(tree: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tree)


def dreg() -> Method:
    return doubly_reparameterized(MODEL, optax.sgd(1.0), SAMPLES)


def iwae() -> Method:
    return vae(MODEL, optax.sgd(1.0), negative_iwae, SAMPLES)


def gradient(method: Method, params: Params, images: Array, key: Array) -> Params:
    """From what one step of size 1 moves."""
    state = TrainState(params, optax.sgd(1.0).init(params), jnp.int32(0))
    after, _ = jax.jit(method.step)(state, images, key)
    return jax.tree.map(jnp.subtract, params, after.params)


def many_gradients(method: Method, part: str, params: Params, images: Array, n: int = 3000) -> np.ndarray:
    """Of one network, for many keys: (n, its number of parameters)."""
    one = jax.vmap(lambda key: ravel_pytree(gradient(method, params, images, key)[part])[0])
    return np.asarray(jax.jit(one)(jax.random.split(KEY, n)))


def assert_trees_close(actual: Params, expected: Params) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), actual, expected)


def test_its_loss_and_its_decoders_gradient_are_those_of_iwae() -> None:
    images, params = double(random_images(3)), double(random_params(0))
    state = TrainState(params, optax.sgd(1.0).init(params), jnp.int32(0))
    losses = [method.step(state, images, KEY)[1]["loss"] for method in (dreg(), iwae())]
    np.testing.assert_allclose(*losses, rtol=1e-12)
    ours, theirs = (gradient(method, params, images, KEY) for method in (dreg(), iwae()))
    assert_trees_close(ours["decoder"], theirs["decoder"])
    differences = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), ours["encoder"], theirs["encoder"])
    assert all(d > 1e-3 for d in jax.tree.leaves(differences))


def test_its_encoders_gradient_is_the_formula_of_the_paper() -> None:
    """sum over latents of w^2 (d log w / d z) (d z / d encoder), each factor by itself; Tucker et al. (2019), eq. 8."""
    images, params = double(random_images(3)), double(random_params(0))
    terms = MODEL.terms(params, images, KEY, SAMPLES)
    noise = (terms.latents - terms.mean[:, None]) / jnp.exp(terms.log_variance / 2)[:, None]
    layer = params["decoder"]["params"]["pixels"]

    def log_weight(z: Array, image: Array, mean: Array, log_variance: Array) -> Array:
        likelihood = norm.logpdf(image.ravel(), z @ layer["kernel"] + layer["bias"], STD).sum()
        return likelihood + norm.logpdf(z).sum() - norm.logpdf(z, mean, jnp.exp(log_variance / 2)).sum()

    def latents(encoder: Params) -> Array:
        mean, log_variance = MODEL.posterior.encoder.apply(encoder, images)
        return mean[:, None] + jnp.exp(log_variance / 2)[:, None] * noise

    jacobian = jax.jacobian(latents)(params["encoder"])  # leaves (image, sample, latent, *parameter's shape)
    expected = jax.tree.map(jnp.zeros_like, params["encoder"])
    for i in range(3):
        values_and_slopes = [
            jax.value_and_grad(log_weight)(z, images[i], terms.mean[i], terms.log_variance[i]) for z in terms.latents[i]
        ]
        weights = jnp.exp(jnp.array([value for value, _ in values_and_slopes]))
        weights = weights / weights.sum()
        for j, (_, slope) in enumerate(values_and_slopes):
            expected = jax.tree.map(
                lambda total, dz, w=weights[j], s=slope, at=(i, j): total - w**2 * jnp.tensordot(s, dz[at], 1) / 3,
                expected,
                jacobian,
            )

    assert_trees_close(gradient(dreg(), params, images, KEY)["encoder"], expected)


@pytest.mark.parametrize("seed", range(2))
def test_its_encoders_gradient_is_that_of_iwae_in_mean_with_less_variance(seed: int) -> None:
    images, params = double(random_images(2)), double(random_params(seed))
    ours, theirs = (many_gradients(method, "encoder", params, images) for method in (dreg(), iwae()))
    differences = ours - theirs
    errors = differences.std(axis=0) / np.sqrt(len(differences))
    assert (np.abs(theirs.mean(axis=0)) > 10 * errors).any()  # so there is something to agree on
    np.testing.assert_array_less(np.abs(differences.mean(axis=0)), 4.5 * errors)
    assert ours.var(axis=0).sum() < 0.8 * theirs.var(axis=0).sum()


def test_the_true_posterior_feels_no_pull_from_any_draw() -> None:
    """Every weight is the same there, so there is no signal, and unlike IWAE no noise either."""
    images, params = double(random_images(3)), double(exact_params(0))
    ours, theirs = (many_gradients(method, "encoder", params, images, 20) for method in (dreg(), iwae()))
    np.testing.assert_allclose(ours, 0, atol=1e-5)
    assert np.abs(theirs).max() > 0.01


def test_its_metrics_are_those_of_the_vae() -> None:
    images, params = double(random_images(3)), double(random_params(0))
    state = TrainState(params, optax.sgd(1.0).init(params), jnp.int32(0))
    terms = MODEL.terms(params, images, KEY, SAMPLES)
    _, metrics = dreg().step(state, images, KEY)
    assert set(metrics) == {"loss", "distortion", "rate", "gradient_norm"}
    np.testing.assert_allclose(metrics["distortion"], -terms.log_likelihood.mean(), rtol=1e-10)
    np.testing.assert_allclose(metrics["rate"], terms.kl.sum(axis=1).mean(), rtol=1e-10)
