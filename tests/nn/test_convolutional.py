"""The lesson's convolutional autoencoder: its shapes and parameters, and what its training step compiles to on CPU."""

import re

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from aejax.errors import UserError
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.nn.layers import Lowering
from tests.nn.test_layers import assert_close

IMAGES = jax.ShapeDtypeStruct((8, 28, 28, 1), jnp.float32)


def autoencoder(lowering: Lowering = "gemm") -> tuple[ConvAutoencoder, dict]:
    model = ConvAutoencoder(lowering=lowering)
    return model, model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))


def loss_and_gradients(model: ConvAutoencoder, params: dict, images: Array) -> tuple[Array, dict]:
    def loss(params: dict) -> Array:
        return jnp.square(model.apply(params, images) - images).sum((1, 2, 3)).mean()

    return jax.value_and_grad(loss)(params)


def operations(compiled: jax.stages.Compiled, name: str) -> int:
    return len(re.findall(rf"\b{name}(?:-start)?\(", compiled.as_text()))


def test_shapes() -> None:
    model, params = autoencoder()
    latents = jax.eval_shape(lambda p, x: model.apply(p, x, method=lambda m, x: m.encoder(x)), params, IMAGES)
    assert latents.shape == (8, 4, 4, 8)
    assert jax.eval_shape(model.apply, params, IMAGES).shape == IMAGES.shape


def test_layer_widths_are_the_lessons() -> None:
    kernels = {
        "encoder": {"ConvMaxPool_0": (1, 16), "ConvMaxPool_1": (16, 8), "ConvMaxPool_2": (8, 8)},
        "decoder": {"Conv_0": (8, 8), "UpsampleConv_0": (8, 8), "UpsampleConv_1": (8, 16), "UpsampleConv_2": (16, 1)},
    }
    expected = {
        (part, layer): ((3, 3, *widths), (widths[1],))
        for part, layers in kernels.items()
        for layer, widths in layers.items()
    }
    _, params = autoencoder()
    flat = flax.traverse_util.flatten_dict(params["params"])
    assert {path[:2]: (flat[*path[:2], "kernel"].shape, flat[*path[:2], "bias"].shape) for path in flat} == expected
    assert sum(array.size for array in flat.values()) == 4385


def test_lowerings_agree() -> None:
    (model, params), (native, _) = autoencoder(), autoencoder("native")
    images = jax.random.uniform(jax.random.key(1), (3, 28, 28, 1))

    @jax.jit
    def results(params: dict, images: Array) -> list[tuple]:
        return [(m.apply(params, images), *loss_and_gradients(m, params, images)) for m in (model, native)]

    with jax.default_matmul_precision("highest"):
        actual, expected = jax.device_get(results(params, images))
    assert_close(actual, expected)


def test_no_convolution_in_the_compiled_step() -> None:
    """XLA's own convolution is many times slower inside a CPU loop."""
    for lowering, expected in (("gemm", False), ("native", True)):
        model, params = autoencoder(lowering)
        compiled = jax.jit(loss_and_gradients, static_argnums=0).lower(model, params, IMAGES).compile()
        assert bool(operations(compiled, "convolution")) == expected


def test_a_batch_over_two_devices_needs_one_reduction() -> None:
    """The gradients' sum is all that devices exchange; a layer that reshapes the batch axis away would gather it."""
    model, params = autoencoder()
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("data",))
    everywhere, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    def step(params: dict, images: Array) -> tuple[Array, dict]:
        return loss_and_gradients(model, params, images)

    compiled = jax.jit(step, in_shardings=(everywhere, split), out_shardings=everywhere).lower(params, IMAGES).compile()
    assert operations(compiled, "all-reduce") == 1
    for name in ("all-gather", "all-to-all", "collective-permute"):
        assert operations(compiled, name) == 0


@pytest.mark.parametrize("size", [12, 20, 28, 36])
def test_image_sizes_that_fit(size: int) -> None:
    check_image_size(size, size)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    logits = jax.eval_shape(lambda x: ConvAutoencoder(3).init_with_output(jax.random.key(0), x)[0], images)
    assert logits.shape == images.shape


@pytest.mark.parametrize("size", [(27, 28), (28, 32), (4, 4)])
def test_image_sizes_that_do_not_fit(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="--image-size"):
        check_image_size(*size)
