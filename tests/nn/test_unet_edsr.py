"""The pixel shuffle against its definition; shapes, lowerings and gradients of the networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from aejax.nn.edsr import EDSR
from aejax.nn.layers import from_batch_minor, pixel_shuffle, pixel_unshuffle, to_batch_minor
from aejax.nn.residual import ResidualBlock
from aejax.nn.unet import UNet
from tests.nn.test_layers import LOWERINGS, assert_close, random_images

QUICK = {"xla_backend_optimization_level": 0}  # LLVM's optimiser takes most of a compilation and changes no operation


def random_parameters(network: nn.Module, images: Array) -> dict:
    """Of the network's shapes, without the compilation that its own initialisation takes."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    return jax.tree.map(lambda s: random.normal(0, 0.2, s.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_pixel_shuffle_is_the_textbooks(factor: int) -> None:
    """Shi et al. (2016), equation 4, in the channel order of torch.nn.PixelShuffle, element by element."""
    x = random_images((3 * factor**2, 2, 5, 2))
    found = np.asarray(pixel_shuffle(jnp.asarray(x), factor))
    assert found.shape == (3, 2 * factor, 5 * factor, 2)
    for c, h, w in np.ndindex(found.shape[:3]):
        channel = (c * factor + h % factor) * factor + w % factor
        np.testing.assert_array_equal(found[c, h, w], x[channel, h // factor, w // factor])


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_unshuffle_undoes_shuffle(factor: int) -> None:
    x = jnp.asarray(random_images((2 * factor**2, 3, 4, 2)))
    np.testing.assert_array_equal(pixel_unshuffle(pixel_shuffle(x, factor), factor), x)


def test_a_residual_block_is_the_textbooks() -> None:
    images, block = jnp.asarray(random_images((2, 5, 6, 3))), ResidualBlock()
    params = random_parameters(block, to_batch_minor(images))["params"]

    def textbook(images: Array) -> Array:
        first, second = (lambda x, i=i: nn.Conv(3, (3, 3)).apply({"params": params[f"Conv_{i}"]}, x) for i in range(2))
        return images + second(nn.relu(first(images)))

    found, expected = jax.jit(
        lambda x: (from_batch_minor(block.apply({"params": params}, to_batch_minor(x))), textbook(x)),
        compiler_options=QUICK,
    )(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (1, 32, 32, 3), (3, 27, 14, 2), (1, 5, 1, 4)])
def test_a_unet_keeps_the_shape_of_any_images(shape: tuple[int, ...]) -> None:
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    for network in (UNet(shape[-1]), UNet(shape[-1], widths=(4, 6, 8), blocks=(1, 0, 2))):
        assert jax.eval_shape(lambda x, n=network: n.init_with_output(jax.random.key(0), x)[0], images).shape == shape


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("shape", [(2, 14, 14, 1), (3, 8, 5, 3)])
def test_edsr_enlarges_by_its_factor(shape: tuple[int, ...], factor: int) -> None:
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    network = EDSR(shape[-1], factor, width=4, blocks=1)
    found = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x)[0], images)
    assert found.shape == (shape[0], shape[1] * factor, shape[2] * factor, shape[3])


def test_an_untrained_edsr_is_bicubic_upscaling() -> None:
    images = jnp.asarray(random_images((2, 5, 6, 3)))
    network = EDSR(3, 2, width=4, blocks=1)
    found = jax.jit(lambda x: network.init_with_output(jax.random.key(0), x)[0], compiler_options=QUICK)(images)
    np.testing.assert_allclose(found, jax.image.resize(images, (2, 10, 12, 3), "cubic"), atol=1e-5)


def test_the_input_reaches_the_output_of_a_unet_past_the_bottom() -> None:
    """The skip connection: with the bottom level dead, neighbours still see each other and nothing far does."""
    network = UNet(1, widths=(4, 4), blocks=(0, 1))
    images = jnp.asarray(random_images((1, 32, 32, 1)))
    params = random_parameters(network, images)["params"]
    params["Conv_2"] = jax.tree.map(jnp.zeros_like, params["Conv_2"])  # the way up
    pixel = jax.grad(lambda x: network.apply({"params": params}, x)[0, 16, 16, 0])
    gradient = jax.jit(pixel, compiler_options=QUICK)(images)
    assert jnp.abs(gradient[0, 12:21, 12:21]).max() > 0
    assert jnp.abs(gradient[0, :8]).max() == 0


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda lowering: UNet(2, widths=(4, 6), blocks=(1, 1), lowering=lowering), (2, 10, 9, 2)),
        (lambda lowering: EDSR(2, 2, width=5, blocks=1, lowering=lowering), (2, 5, 4, 2)),
    ],
    ids=["unet", "edsr"],
)
def test_lowerings_agree_and_every_parameter_has_a_gradient(make, shape: tuple[int, ...]) -> None:
    networks = [make(lowering) for lowering in LOWERINGS]
    images = random_images(shape)
    params = random_parameters(networks[0], jnp.asarray(images))

    def results(params: dict, images: Array) -> list[tuple]:
        def loss(network: nn.Module, params: dict) -> Array:
            return jnp.square(network.apply(params, images) - 1).sum()

        return [jax.value_and_grad(lambda p, n=network: loss(n, p))(params) for network in networks]

    with jax.default_matmul_precision("highest"):
        actual, expected = jax.device_get(jax.jit(results, compiler_options=QUICK)(params, images))
    assert_close(actual, expected)
    assert all(np.abs(gradient).max() > 0 for gradient in jax.tree.leaves(actual[1]))
