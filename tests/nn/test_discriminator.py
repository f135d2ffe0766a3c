"""The discriminator, and its spectral normalisation against a singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.nn.discriminator import Discriminator, spectral_norm

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 1)])
def test_power_iteration_finds_the_largest_singular_value(shape: tuple[int, int]) -> None:
    kernel = np.random.default_rng(0).normal(size=shape)
    expected = np.linalg.svd(kernel, compute_uv=False)[0]
    assert float(spectral_norm(jnp.asarray(kernel, jnp.float32), 100)) == pytest.approx(expected, rel=1e-4)
    assert float(spectral_norm(jnp.asarray(kernel, jnp.float32))) == pytest.approx(expected, rel=0.05)


def test_its_gradient_is_the_outer_product_of_the_singular_vectors() -> None:
    kernel = np.random.default_rng(1).normal(size=(6, 4))
    u, _, vt = np.linalg.svd(kernel)
    found = jax.grad(lambda k: spectral_norm(k, 200))(jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(found, np.outer(u[:, 0], vt[0]), atol=1e-3)


@pytest.mark.parametrize("normalized", [False, True])
def test_one_logit_for_each_code(normalized: bool) -> None:
    network = Discriminator((8, 8), normalized)
    codes = jax.random.normal(KEY, (5, 3))
    logits, params = network.init_with_output(KEY, codes)
    assert logits.shape == (5,)
    alone = [network.apply(params, code[None])[0] for code in codes]
    np.testing.assert_allclose(logits, alone, rtol=1e-4, atol=1e-6)


def test_with_normalised_kernels_logits_change_no_faster_than_codes() -> None:
    network = Discriminator((32, 32), spectral_norm=True)
    codes = jax.random.normal(KEY, (200, 3))
    params = jax.tree.map(lambda x: 10 * x, network.init(KEY, codes))
    slopes = jax.vmap(jax.grad(lambda z: network.apply(params, z[None])[0]))(codes)
    assert float(jnp.linalg.norm(slopes, axis=1).max()) <= 1.05
    steep = Discriminator((32, 32)).init(KEY, codes)
    slopes = jax.vmap(
        jax.grad(lambda z: Discriminator((32, 32)).apply(jax.tree.map(lambda x: 10 * x, steep), z[None])[0])
    )
    assert float(jnp.linalg.norm(slopes(codes), axis=1).max()) > 5
