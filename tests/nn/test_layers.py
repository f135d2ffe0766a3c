"""The fast layers against the textbook: flax.linen.Conv, flax.linen.max_pool and nearest upsampling by repetition."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from aejax.nn.layers import Conv, ConvMaxPool, UpsampleConv, from_batch_minor, to_batch_minor

Function = Callable[[dict, Array], Array]  # (parameters, images) -> images, channels last

LOWERINGS = ("gemm", "native")
SIZES = st.integers(2, 9)
WIDTHS = st.integers(1, 9)
IMAGES = st.tuples(st.integers(1, 4), SIZES, SIZES, WIDTHS)  # batch, height, width, channels
PADDINGS = st.sampled_from(["SAME", "VALID"])
SIX_SHAPES = settings(max_examples=6, deadline=None, derandomize=True, database=None)


def textbook_conv(features: int, kernel_size: int = 3, padding: str = "SAME") -> Function:
    layer = nn.Conv(features, (kernel_size, kernel_size), padding=padding)
    return lambda params, images: layer.apply({"params": params}, images)


def textbook_conv_max_pool(features: int, pool_padding: int = 0) -> Function:
    conv, edge = textbook_conv(features), (pool_padding, pool_padding)
    return lambda params, images: nn.max_pool(nn.relu(conv(params, images)), (2, 2), (2, 2), padding=(edge, edge))


def textbook_upsample_conv(features: int, padding: str = "SAME") -> Function:
    conv = textbook_conv(features, padding=padding)
    return lambda params, images: conv(params, images.repeat(2, axis=1).repeat(2, axis=2))


def channels_last(layer: nn.Module) -> Function:
    return lambda params, images: from_batch_minor(layer.apply({"params": params}, to_batch_minor(images)))


def random_parameters(channels: int, features: int, kernel_size: int = 3) -> dict:
    """Multiples of 1/8, so that sums of few products are exact and what ties in one order of summation ties in all."""
    random = np.random.default_rng(1)
    shapes = {"kernel": (kernel_size, kernel_size, channels, features), "bias": (features,)}
    return {name: random.integers(-16, 17, shape).astype(np.float32) / 8 for name, shape in shapes.items()}


def result_and_gradients(function: Function, params: dict, images: Array) -> tuple:
    """The output, and the gradients of its product with a random cotangent by parameters and images."""
    result, backward = jax.vjp(function, params, images)
    return result, backward(random_images(result.shape, seed=2))


def assert_close(actual: tuple, expected: tuple) -> None:
    """Equal trees and shapes, and values within 1e-5 of each array's scale."""

    def check(got: Array, wanted: Array) -> None:
        assert got.shape == wanted.shape
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * scale)

    jax.tree.map(check, actual, expected)


def check_against_textbook(textbook: Function, layers: list[nn.Module], params: dict, images: Array) -> None:
    functions = [textbook, *map(channels_last, layers)]

    def results(params: dict, images: Array) -> list[tuple]:
        return [result_and_gradients(function, params, images) for function in functions]

    # One compilation for all, and a quick one: LLVM's optimiser would take most of the time and changes no operation.
    compiled = jax.jit(results, compiler_options={"xla_backend_optimization_level": 0})
    with jax.default_matmul_precision("highest"):
        expected, *actual = jax.device_get(compiled(params, images))
    for result in actual:
        assert_close(result, expected)


def random_images(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@SIX_SHAPES
@given(IMAGES, WIDTHS, st.sampled_from([1, 3, 5]), PADDINGS)
def test_conv(shape: tuple[int, ...], features: int, kernel_size: int, padding: str) -> None:
    batch, height, width, channels = shape
    images = random_images((batch, height + 3, width + 3, channels))  # no smaller than the largest kernel
    layers = [Conv(features, kernel_size, lowering=lowering, padding=padding) for lowering in LOWERINGS]
    params = random_parameters(channels, features, kernel_size)
    check_against_textbook(textbook_conv(features, kernel_size, padding), layers, params, images)


def check_conv_max_pool(images: Array, params: dict, pool_padding: int) -> None:
    features = params["bias"].size
    layers = [ConvMaxPool(features, lowering=lowering, pool_padding=pool_padding) for lowering in LOWERINGS]
    check_against_textbook(textbook_conv_max_pool(features, pool_padding), layers, params, images)


@SIX_SHAPES
@given(IMAGES, WIDTHS, st.integers(0, 1))
def test_conv_max_pool(shape: tuple[int, ...], features: int, pool_padding: int) -> None:
    check_conv_max_pool(random_images(shape), random_parameters(shape[-1], features), pool_padding)


@pytest.mark.parametrize("pool_padding", [0, 1])
@pytest.mark.parametrize("background", ["constant", "mostly zero"])
def test_ties_go_to_the_first_maximum(background: str, pool_padding: int) -> None:
    """As in reduce_window; a gradient that is split over ties would differ on every image with an even background."""
    shape, params = (3, 8, 7, 2), random_parameters(2, 3)
    images = np.ones(shape, np.float32)
    if background == "mostly zero":
        images = np.round(random_images(shape)) * (np.random.default_rng(4).random(shape) < 0.1)
    params["bias"] += 99  # no ReLU is shut: every window passes its gradient on
    check_conv_max_pool(images.astype(np.float32), params, pool_padding)


def check_upsample_conv(images: Array, features: int, padding: str) -> None:
    layers = [UpsampleConv(features, lowering=lowering, padding=padding) for lowering in LOWERINGS]
    params = random_parameters(images.shape[-1], features)
    check_against_textbook(textbook_upsample_conv(features, padding), layers, params, images)


@SIX_SHAPES
@given(IMAGES, WIDTHS, PADDINGS)
def test_upsample_conv(shape: tuple[int, ...], features: int, padding: str) -> None:
    check_upsample_conv(random_images(shape), features, padding)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_upsample_conv_with_few_outputs(padding: str) -> None:
    """Its own branch of the matrix-product lowering: the image layer."""
    check_upsample_conv(random_images((3, 5, 4, 9)), 1, padding)


def test_initial_parameters_are_those_of_flax() -> None:
    images, key = jnp.zeros((1, 8, 8, 5)), jax.random.key(6)

    @jax.jit
    def initial(key: Array) -> list[dict]:
        ours = [layer(7).init(key, to_batch_minor(images)) for layer in (Conv, ConvMaxPool, UpsampleConv)]
        return [nn.Conv(7, (3, 3)).init(key, images), *ours]

    flax, *ours = initial(key)
    for params in ours:
        assert jax.tree.structure(params) == jax.tree.structure(flax)
        jax.tree.map(np.testing.assert_array_equal, params, flax)
        assert not any(leaf.weak_type for leaf in jax.tree.leaves(params))  # they would make a second compilation
