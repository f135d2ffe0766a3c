"""Quantisers: the nearest code, as many codes as are said, and gradients that pass straight through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.models.quantizers import Codebook, FiniteScalars, Quantizer

QUANTIZERS = [Codebook(6, 3), FiniteScalars((4, 3, 5))]


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_code_s_index_gives_the_code_back(quantizer: Quantizer) -> None:
    params = {"codebook": quantizer.init(jax.random.key(0))}
    indices = jnp.arange(quantizer.size)
    codes = quantizer.codes(params, indices)
    assert len(np.unique(codes, axis=0)) == quantizer.size
    if isinstance(quantizer, Codebook):
        np.testing.assert_array_equal(quantizer.indices(params, codes), indices)


def test_the_nearest_entry_is_chosen() -> None:
    quantizer = Codebook(20, 3)
    params = {"codebook": quantizer.init(jax.random.key(0))}
    vectors = jax.random.normal(jax.random.key(1), (4, 5, 3))
    distances = np.linalg.norm(np.asarray(vectors)[..., None, :] - np.asarray(params["codebook"]), axis=-1)
    np.testing.assert_array_equal(quantizer.indices(params, vectors), distances.argmin(axis=-1))


def test_the_gradient_of_a_codebook_s_codes_is_that_of_the_vectors() -> None:
    quantizer = Codebook(6, 3)
    params = {"codebook": quantizer.init(jax.random.key(0))}
    vectors, weights = jax.random.normal(jax.random.key(1), (2, 5, 3))
    gradient = jax.grad(lambda v: (weights * quantizer.quantize(params, v)).sum())(vectors)
    np.testing.assert_array_equal(gradient, weights)
    of_codebook = jax.grad(lambda p: quantizer.quantize(p, vectors).sum())(params)
    np.testing.assert_array_equal(of_codebook["codebook"], 0)


@pytest.mark.parametrize("levels", [(2,), (3,), (8, 5), (7, 4, 6)])
def test_every_level_of_finite_scalars_is_reached_in_order(levels: tuple[int, ...]) -> None:
    quantizer = FiniteScalars(levels)
    for feature, count in enumerate(levels):
        line = jnp.zeros((1001, len(levels))).at[:, feature].set(jnp.linspace(-9, 9, 1001))
        values = np.asarray(quantizer.quantize({}, line))[:, feature]
        assert (np.diff(values) >= 0).all()
        assert len(np.unique(values.round(6))) == count
        assert np.abs(values).max() <= 1
    codes = quantizer.quantize({}, line)
    np.testing.assert_allclose(quantizer.codes({}, quantizer.indices({}, line)), codes, atol=1e-6)


def test_finite_scalars_pass_a_gradient_for_every_feature() -> None:
    gradient = jax.grad(lambda v: FiniteScalars((8, 5, 5)).quantize({}, v).sum())(jnp.full((3,), 0.2))
    assert (gradient > 0).all()
