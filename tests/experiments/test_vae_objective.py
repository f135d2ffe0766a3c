"""The tutorial's mistake as an objective: what it computes, and that its loss is no bound."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax import losses, rng
from aejax.methods.objectives import Objective, negative_elbo, tutorial_mistake
from aejax.models.posteriors import Params
from tests.methods.linear_gaussian import evidence, exact_params, linear_model, random_images, random_params

KEY = jax.random.key(0)


def mistaken(params: Params) -> Params:
    """Returns params of which `tutorial_mistake` reads the log-variance that these give.

    A deviation of exp(log-variance) is that of twice the log-variance.
    """
    encoder = params["encoder"]["params"]
    doubled = {"params": {**encoder, "log_variance": 2 * encoder["log_variance"]}}
    return {**params, "encoder": doubled}


def test_it_is_the_tutorials_computation() -> None:
    """Latents mean + exp(log_variance) * noise, and the KL of mean and log_variance."""
    images, params = random_images(4), random_params(0)
    model = linear_model()
    terms = model.terms(mistaken(params), images, KEY, 3)

    mean, log_variance = model.posterior.encoder.apply(params["encoder"], images)
    noise = jax.random.normal(rng.stream(KEY, "posterior"), (4, 3, 2))
    latents = mean[:, None] + jnp.exp(log_variance)[:, None] * noise
    outputs = model.decode(params, latents)
    distortion = [model.likelihood.neg_log_prob(outputs[:, i], images) for i in range(3)]
    expected = np.mean(distortion, axis=0) + losses.gaussian_kl(mean, log_variance).sum(axis=1)

    np.testing.assert_allclose(terms.latents, latents, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tutorial_mistake(terms), expected, rtol=1e-5)


def test_its_latents_have_the_log_variance_as_the_log_of_their_standard_deviation() -> None:
    images, params = random_images(2), random_params(0)
    params["encoder"]["params"]["log_variance"] = jnp.array([-2.0, 1.0])
    terms = linear_model().terms(mistaken(params), images, KEY, 20_000)
    np.testing.assert_allclose(terms.latents.std(axis=1), np.exp([[-2.0, 1.0]] * 2), rtol=0.03)
    np.testing.assert_allclose(terms.latents.mean(axis=1), terms.mean, atol=0.1)


def test_with_it_the_loss_is_no_bound_and_without_it_it_is() -> None:
    """Of latents that spread too little the loss is too low."""
    images, params = random_images(3), exact_params(0)
    exact = -evidence(params, images)

    def values(objective: Objective, params: Params) -> Array:
        repeated = jnp.repeat(images, 4000, axis=0)
        return jax.jit(lambda x: objective(linear_model().terms(params, x, KEY)))(repeated).reshape(3, 4000)

    right, wrong = values(negative_elbo, params), values(tutorial_mistake, mistaken(params))
    errors = right.std(axis=1) / np.sqrt(4000)
    np.testing.assert_array_less(np.abs(right.mean(axis=1) - exact), 4.5 * errors)
    np.testing.assert_array_less(wrong.mean(axis=1), exact - 20 * errors)
