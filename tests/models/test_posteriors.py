"""Posteriors: the densities that they report of their samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.models.posteriors import Posterior
from tests.models.kinds import LATENT_VARIABLE, SHAPE

IMAGES = jax.random.uniform(jax.random.key(1), (4, *SHAPE))
POSTERIORS = {name: model.posterior for name, model in LATENT_VARIABLE.items()}
each = pytest.mark.parametrize("posterior", POSTERIORS.values(), ids=POSTERIORS.keys())


@each
def test_the_density_at_a_sample_is_what_sampling_reports(posterior: Posterior) -> None:
    params = {"encoder": jax.jit(posterior.init)(jax.random.key(0), IMAGES)}
    drawn = jax.jit(posterior.sample, static_argnums=3)(params, IMAGES, jax.random.key(2), 3)
    codes = jax.jit(posterior.mean)(params, IMAGES)
    assert drawn.latents.shape == (4, 3, codes.shape[1])
    assert posterior.has_density == (drawn.log_prob is not None)
    if posterior.has_density:
        log_prob = jax.jit(posterior.log_prob)
        found = log_prob(params, IMAGES, drawn.latents)
        assert found.shape == (4, 3)
        np.testing.assert_allclose(found, drawn.log_prob, rtol=1e-4, atol=1e-5)
        shifted = log_prob(params, IMAGES, drawn.latents + 1)
        assert (jnp.abs(shifted - found) > 1e-3).all()
    else:
        with pytest.raises(TypeError, match="log_prob"):
            posterior.log_prob(params, IMAGES, drawn.latents)


@each
def test_the_exported_outputs_are_those_of_the_names(posterior: Posterior) -> None:
    params = {"encoder": jax.jit(posterior.init)(jax.random.key(0), IMAGES)}
    extra = [jnp.zeros((4, *shape)) for shape in posterior.extra_inputs().values()]
    outputs = jax.jit(posterior.outputs)(params, IMAGES, *extra)
    names = ("classes", "style") if "classes" in outputs else ("mean",) if "mean" in outputs else ("latents",)
    joined = jnp.concatenate([outputs[name] for name in names], axis=1)
    np.testing.assert_allclose(joined, jax.jit(posterior.mean)(params, IMAGES), rtol=1e-6)
