"""Dense networks and what joins networks to latents: shapes, parameters, and a log-variance that cannot overflow."""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import Array

from aejax.nn.convolutional import ConvDecoder, ConvEncoder
from aejax.nn.heads import GaussianEncoder, LatentDecoder, LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder

KEY = jax.random.key(0)
SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)  # the batch first
WIDTHS = st.lists(st.integers(1, 6), max_size=3).map(tuple)
FIVE_CASES = settings(max_examples=5, deadline=None, derandomize=True, database=None)
SMALL = (3, 12, 12, 1)  # the smallest images of the convolutional networks


def parameters(model: nn.Module, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Path -> shape, of the kernels alone."""
    params = jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct(shape, jnp.float32))["params"]
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {path.removesuffix("/kernel"): leaf.shape for path, leaf in flat.items() if path.endswith("kernel")}


def output(model: nn.Module, x: Array, seed: int = 0) -> Array:
    return jax.jit(model.init_with_output)(jax.random.key(seed), x)[0]


@FIVE_CASES
@given(SHAPES, WIDTHS)
@example((3, 2, 2, 1), (5, 4))
@example((3, 2, 2, 1), ())
def test_an_mlp_flattens_each_example_and_activates_after_every_layer(
    shape: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    x = jax.random.normal(KEY, shape)
    actual, params = jax.jit(MLP(widths).init_with_output)(KEY, x)

    expected = np.asarray(x, np.float64).reshape(shape[0], -1)
    for i in range(len(widths)):
        layer = params["params"][f"Dense_{i}"]
        expected = np.maximum(expected @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"]), 0)
    assert actual.shape == (shape[0], widths[-1] if widths else int(np.prod(shape[1:])))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_an_mlp_takes_another_activation() -> None:
    x = jax.random.normal(KEY, (4, 3))
    assert (output(MLP((50,)), x) >= 0).all()
    assert (output(MLP((50,), nn.tanh), x) < 0).any()


def test_parameters_have_the_names_of_their_parts() -> None:
    assert parameters(LatentEncoder(MLP((5,)), 2), (3, 2, 2, 1)) == {"trunk/Dense_0": (4, 5), "head": (5, 2)}
    assert parameters(GaussianEncoder(MLP((5,)), 2), (3, 2, 2, 1)) == {
        "trunk/Dense_0": (4, 5),
        "mean": (5, 2),
        "log_variance": (5, 2),
    }
    assert parameters(DenseDecoder((5,), (2, 2, 3)), (3, 2)) == {"MLP_0/Dense_0": (2, 5), "pixels": (5, 12)}
    decoder = parameters(LatentDecoder(ConvDecoder(), (2, 2, 8)), (3, 2))
    assert decoder["maps"] == (2, 2 * 2 * 8)
    assert {path.split("/")[0] for path in decoder} == {"maps", "trunk"}


@pytest.mark.parametrize("latents", [1, 3])
def test_encoders_flatten_what_a_convolutional_trunk_gives(latents: int) -> None:
    widths = (4, 4, 5)  # -> (2, 2, 5)
    point, gaussian = (encoder(ConvEncoder(widths), latents) for encoder in (LatentEncoder, GaussianEncoder))
    images = jax.ShapeDtypeStruct(SMALL, jnp.float32)
    assert jax.eval_shape(lambda x: output(point, x), images).shape == (3, latents)
    assert [m.shape for m in jax.eval_shape(lambda x: output(gaussian, x), images)] == [(3, latents)] * 2
    assert parameters(point, SMALL)["head"] == parameters(gaussian, SMALL)["mean"] == (2 * 2 * 5, latents)


@pytest.mark.parametrize("channels", [1, 3])
def test_decoders_give_images(channels: int) -> None:
    latents = jnp.ones((3, 2))
    assert output(DenseDecoder((5,), (4, 6, channels)), latents).shape == (3, 4, 6, channels)
    convolutional = LatentDecoder(ConvDecoder(channels), (2, 2, 8))
    assert jax.eval_shape(lambda z: output(convolutional, z), latents).shape == (3, 12, 12, channels)


def test_a_latent_decoder_is_a_dense_layer_with_relu_and_its_trunk() -> None:
    z = jax.random.normal(KEY, (3, 2))
    decoder = LatentDecoder(ConvDecoder(), (2, 2, 8))
    actual, params = jax.jit(lambda z: decoder.init_with_output(KEY, z))(z)
    layer = params["params"]["maps"]
    maps = jnp.maximum(z @ layer["kernel"] + layer["bias"], 0).reshape(3, 2, 2, 8)
    expected = jax.jit(ConvDecoder().apply)({"params": params["params"]["trunk"]}, maps)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [LatentEncoder(MLP((5,)), 2), GaussianEncoder(MLP((5,)), 2), DenseDecoder((5,), (2, 2, 1))],
    ids=lambda model: type(model).__name__,
)
def test_examples_do_not_mix(model: nn.Module) -> None:
    x = jax.random.normal(KEY, (4, 3))
    order = jnp.array([2, 0, 3, 1])
    for plain, permuted in zip(*(jax.tree.leaves(output(model, y)) for y in (x, x[order])), strict=True):
        np.testing.assert_allclose(permuted, plain[order], rtol=1e-6)


def moments(params: dict, inputs: Array) -> tuple[Array, Array]:
    """Of a Gaussian encoder without a trunk."""
    result: Any = GaussianEncoder(MLP(()), inputs.shape[1]).apply(params, inputs)
    return result


def identity(latents: int) -> dict:
    """Params that give the inputs as the mean and, but for the bound, as the log-variance."""
    layer = {"kernel": jnp.eye(latents), "bias": jnp.zeros(latents)}
    return {"params": {"mean": layer, "log_variance": layer}}


def test_log_variances_are_the_networks_own_near_0_and_increase_with_it() -> None:
    raw = jnp.linspace(-2.5, 2.5, 51)[:, None]
    mean, log_variance = moments(identity(1), raw)
    np.testing.assert_array_equal(mean, raw)
    np.testing.assert_allclose(log_variance, raw, rtol=0.01)
    _, wide = moments(identity(1), jnp.linspace(-60, 60, 101)[:, None])
    assert (jnp.diff(wide[:, 0]) > 0).all()


@pytest.mark.parametrize("size", [1e3, 1e6, 1e30])
def test_log_variances_stay_bounded_with_finite_gradients_for_huge_inputs(size: float) -> None:
    inputs = jnp.array([[size, -size], [-size, 0.5 * size]])

    def variances(params: dict, x: Array) -> Array:
        return jnp.exp(moments(params, x)[1]).sum()

    np.testing.assert_allclose(moments(identity(2), inputs)[1], [[15, -15], [-15, 15]], rtol=1e-6)
    value, gradients = jax.value_and_grad(variances, (0, 1))(identity(2), inputs)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
