"""MIWAE, CIWAE and PIWAE against the bounds that they are made of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.methods import variational
from aejax.methods.objectives import ciwae, miwae, negative_iwae
from aejax.models.latent_variable import Terms
from tests.methods.linear_gaussian import linear_model, random_images, random_params

KEY = jax.random.key(0)


@pytest.fixture
def terms() -> Terms:
    """Of 5 images with 6 latents each."""
    return linear_model().terms(random_params(0), random_images(5), KEY, 6)


def test_miwae_is_the_mean_of_the_bounds_of_its_groups(terms: Terms) -> None:
    log_w = np.asarray(terms.log_weights(), np.float64)
    groups = log_w.reshape(5, 3, 2)
    expected = -np.log(np.exp(groups).mean(axis=2)).mean(axis=1)
    np.testing.assert_allclose(miwae(3)(terms), expected, rtol=1e-5)
    np.testing.assert_allclose(miwae(1)(terms), negative_iwae(terms), rtol=1e-5)
    np.testing.assert_allclose(miwae(6)(terms), -log_w.mean(axis=1), rtol=1e-5)
    with pytest.raises(ValueError, match="6 samples are not 4 equal groups"):
        miwae(4)(terms)


def test_ciwae_lies_between_its_two_bounds(terms: Terms) -> None:
    elbo, iwae = -terms.log_weights().mean(axis=1), negative_iwae(terms)
    np.testing.assert_allclose(ciwae(0.3)(terms), 0.3 * elbo + 0.7 * iwae, rtol=1e-5)
    assert (iwae <= elbo).all()


def test_piwae_gives_the_decoder_one_bound_and_the_encoder_the_other() -> None:
    model, images = linear_model(), random_images(5)
    method = variational.partially_weighted(model, optax.sgd(1.0), 6, 3)
    state = method.init(KEY, images)._replace(params=random_params(0))
    after, metrics = method.step(state, images, KEY)

    def bound(params: Any, groups: int) -> jax.Array:
        return miwae(groups)(model.terms(params, images, KEY, 6)).mean()

    tight, grouped = (jax.grad(bound)(state.params, groups) for groups in (1, 3))
    for part, expected, other in (("decoder", tight, grouped), ("encoder", grouped, tight)):
        moved = jax.tree.map(jnp.subtract, state.params[part], after.params[part])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), moved, expected[part])
        apart = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), moved, other[part])
        assert max(jax.tree.leaves(apart)) > 1e-2
    np.testing.assert_allclose(metrics["loss"], bound(state.params, 1), rtol=1e-5)
