"""The residual networks: shapes of any size, both lowerings, the linear path, gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import Array

from aejax.nn.heads import Autoencoder, LatentEncoder
from aejax.nn.layers import with_lowering
from aejax.nn.residual import ResidualDecoder, ResidualEncoder
from tests.nn.test_layers import LOWERINGS, assert_close, random_images
from tests.nn.test_unet_edsr import QUICK, random_parameters

SIZES = st.integers(8, 40)
EIGHT_SHAPES = settings(max_examples=8, deadline=None, derandomize=True, database=None)


def autoencoder(image_shape: tuple[int, ...], latents: int = 3, **fields: int) -> nn.Module:
    fields = {"width": 4, "levels": 2, "blocks": 1} | fields
    return Autoencoder(LatentEncoder(ResidualEncoder(**fields), latents), ResidualDecoder(image_shape, **fields))


@EIGHT_SHAPES
@given(SIZES, SIZES, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))
@example(65, 63, 3, 2, 1)
@example(8, 8, 1, 3, 1)
@example(28, 28, 2, 1, 0)
@example(9, 8, 1, 5, 1)  # more levels than the image has halvings
def test_images_of_any_size_come_back_in_it(height: int, width: int, channels: int, levels: int, blocks: int) -> None:
    shape = (height, width, channels)
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    network = autoencoder(shape, levels=levels, blocks=blocks)
    outputs = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x)[0], images)
    assert outputs.shape == images.shape


@pytest.mark.parametrize("shape", [(2, 11, 10, 2), (3, 8, 8, 1)])
def test_lowerings_agree_and_every_parameter_has_a_gradient(shape: tuple[int, ...]) -> None:
    networks = [with_lowering(autoencoder(shape[1:]), lowering) for lowering in LOWERINGS]
    images = random_images(shape)
    params = random_parameters(networks[0], jnp.asarray(images))

    def results(params: dict, images: Array) -> list[tuple]:
        def loss(network: nn.Module, params: dict) -> Array:
            return jnp.square(network.apply(params, images) - 1).sum()

        return [jax.value_and_grad(lambda p, n=network: loss(n, p))(params) for network in networks]

    with jax.default_matmul_precision("highest"):
        actual, expected = jax.device_get(jax.jit(results, compiler_options=QUICK)(params, images))
    assert_close(actual, expected)
    for gradient in jax.tree.leaves(actual[1]):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


def test_examples_do_not_mix() -> None:
    network = autoencoder((9, 8, 2))
    images = random_images((3, 9, 8, 2))
    params = random_parameters(network, jnp.asarray(images))
    apply = jax.jit(network.apply, compiler_options=QUICK)
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(apply(params, images[order]), np.asarray(apply(params, images))[order], atol=1e-4)


def test_its_linear_path_can_be_principal_component_analysis() -> None:
    """With all else at zero, so that a trained network need never be worse than the linear projection."""
    shape, latents = (9, 8, 2), 3
    images = random_images((20, *shape))
    flat = images.reshape(20, -1)
    mean = flat.mean(0)
    components = np.linalg.svd(flat - mean, full_matrices=False)[2][:latents]
    network = autoencoder(shape, latents)
    params = jax.tree.map(lambda p: np.zeros(p.shape, np.float32), random_parameters(network, jnp.asarray(images)))
    params["params"]["encoder"]["head"]["kernel"][-flat.shape[1] :] = components.T
    params["params"]["encoder"]["head"]["bias"] = -mean @ components.T
    params["params"]["decoder"]["linear"] = {"kernel": components, "bias": mean}
    projected = (flat - mean) @ components.T @ components + mean
    reconstructions = jax.jit(network.apply, compiler_options=QUICK)(params, images)
    np.testing.assert_allclose(reconstructions.reshape(20, -1), projected, atol=1e-4)
