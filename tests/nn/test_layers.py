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
EIGHT_SHAPES = settings(max_examples=8, deadline=None, derandomize=True, database=None)


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


def random_parameters(layer: nn.Module, images: Array) -> dict:
    """The layer's initial parameters, and a bias that is not zero."""
    params = layer.init(jax.random.key(1), to_batch_minor(images))["params"]
    return params | {"bias": jax.random.normal(jax.random.key(2), params["bias"].shape)}


def result_and_gradients(function: Function, params: dict, images: Array) -> tuple:
    """The output, and the gradients of its product with a random cotangent by parameters and images."""
    result, backward = jax.vjp(function, params, images)
    return result, backward(jax.random.normal(jax.random.key(3), result.shape))


def assert_close(actual: tuple, expected: tuple) -> None:
    """Equal trees and shapes, and values within 1e-5 of each array's scale."""

    def check(got: Array, wanted: Array) -> None:
        assert got.shape == wanted.shape
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * scale)

    jax.tree.map(check, actual, expected)


def check_against_textbook(layer_type: type, textbook: Function, images: Array, **fields: object) -> None:
    layers = [layer_type(lowering=lowering, **fields) for lowering in LOWERINGS]
    params = random_parameters(layers[0], images)
    functions = [textbook, *map(channels_last, layers)]

    @jax.jit  # one compilation for all three
    def results(params: dict, images: Array) -> list[tuple]:
        return [result_and_gradients(function, params, images) for function in functions]

    with jax.default_matmul_precision("highest"):
        expected, *actual = jax.device_get(results(params, images))
    for result in actual:
        assert_close(result, expected)


def random_images(shape: tuple[int, ...]) -> Array:
    return jax.random.normal(jax.random.key(0), shape)


@EIGHT_SHAPES
@given(IMAGES, WIDTHS, st.sampled_from([1, 3, 5]), PADDINGS)
def test_conv(shape: tuple[int, ...], features: int, kernel_size: int, padding: str) -> None:
    batch, height, width, channels = shape
    images = random_images((batch, height + 3, width + 3, channels))  # no smaller than the largest kernel
    textbook = textbook_conv(features, kernel_size, padding)
    check_against_textbook(Conv, textbook, images, features=features, kernel_size=kernel_size, padding=padding)


@EIGHT_SHAPES
@given(IMAGES, WIDTHS, st.integers(0, 1))
def test_conv_max_pool(shape: tuple[int, ...], features: int, pool_padding: int) -> None:
    textbook = textbook_conv_max_pool(features, pool_padding)
    check_against_textbook(ConvMaxPool, textbook, random_images(shape), features=features, pool_padding=pool_padding)


@EIGHT_SHAPES
@given(IMAGES, WIDTHS, PADDINGS)
def test_upsample_conv(shape: tuple[int, ...], features: int, padding: str) -> None:
    textbook = textbook_upsample_conv(features, padding)
    check_against_textbook(UpsampleConv, textbook, random_images(shape), features=features, padding=padding)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_upsample_conv_with_few_outputs(size: tuple[int, int], padding: str) -> None:
    """Its own branch of the matrix-product lowering: the image layer."""
    textbook = textbook_upsample_conv(1, padding)
    check_against_textbook(UpsampleConv, textbook, random_images((3, *size, 9)), features=1, padding=padding)


@pytest.mark.parametrize("pool_padding", [0, 1])
@pytest.mark.parametrize("background", ["constant", "mostly zero"])
def test_ties_go_to_the_first_maximum(background: str, pool_padding: int) -> None:
    """As in reduce_window; a gradient that is split over ties would differ on every image with an even background."""
    shape = (3, 8, 7, 2)
    images = jnp.ones(shape)
    if background == "mostly zero":
        images = jnp.where(jax.random.uniform(jax.random.key(4), shape) < 0.1, random_images(shape), 0.0)
    textbook = textbook_conv_max_pool(3, pool_padding)
    params = random_parameters(ConvMaxPool(3), images)
    params["bias"] = jnp.abs(params["bias"]) + 9  # no ReLU shuts: every window passes its gradient on
    for lowering in LOWERINGS:
        layer = channels_last(ConvMaxPool(3, pool_padding=pool_padding, lowering=lowering))
        actual = jax.jit(result_and_gradients, static_argnums=0)(layer, params, images)
        expected = jax.jit(result_and_gradients, static_argnums=0)(textbook, params, images)
        assert_close(jax.device_get(actual), jax.device_get(expected))


@pytest.mark.parametrize("layer_type", [Conv, ConvMaxPool, UpsampleConv])
def test_initial_parameters_are_those_of_flax(layer_type: type) -> None:
    images = jnp.zeros((1, 8, 8, 5))
    ours = layer_type(7).init(jax.random.key(6), to_batch_minor(images))
    flax = nn.Conv(7, (3, 3)).init(jax.random.key(6), images)
    assert jax.tree.structure(ours) == jax.tree.structure(flax)
    jax.tree.map(np.testing.assert_array_equal, ours, flax)
    assert all(leaf.dtype == jnp.float32 and not leaf.weak_type for leaf in jax.tree.leaves(ours))
