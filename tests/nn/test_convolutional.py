"""The tutorial's convolutional autoencoder: its shapes and parameters, and the program of its training step on CPU."""

import re
from functools import partial

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from aejax.errors import UserError
from aejax.nn.convolutional import ConvAutoencoder, ConvEncoder, check_image_size
from aejax.nn.layers import Lowering
from tests.nn.test_layers import LOWERINGS, assert_close

IMAGES = jax.ShapeDtypeStruct((8, 28, 28, 1), jnp.float32)
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
QUICK = {"xla_backend_optimization_level": 0}  # LLVM's optimiser takes most of a compilation and changes no operation


def parameters(model: ConvAutoencoder) -> dict:
    """Shapes alone."""
    return jax.eval_shape(model.init, jax.random.key(0), IMAGES)


def loss_and_gradients(model: ConvAutoencoder, params: dict, images: Array) -> tuple[Array, dict]:
    def loss(params: dict) -> Array:
        return jnp.square(model.apply(params, images) - images).sum((1, 2, 3)).mean()

    return jax.value_and_grad(loss)(params)


def operations(compiled: jax.stages.Compiled, name: str) -> int:
    return len(re.findall(rf"\b{name}(?:-start)?\(", compiled.as_text()))


def test_shapes() -> None:
    model, encoder = ConvAutoencoder(), ConvEncoder()
    params = parameters(model)
    latents = jax.eval_shape(encoder.apply, {"params": params["params"]["encoder"]}, IMAGES)
    assert latents.shape == (8, 4, 4, 8)
    assert jax.eval_shape(model.apply, params, IMAGES).shape == IMAGES.shape


def test_layer_widths_are_the_tutorials() -> None:
    kernels = {
        "encoder": {"ConvMaxPool_0": (1, 16), "ConvMaxPool_1": (16, 8), "ConvMaxPool_2": (8, 8)},
        "decoder": {"Conv_0": (8, 8), "UpsampleConv_0": (8, 8), "UpsampleConv_1": (8, 16), "UpsampleConv_2": (16, 1)},
    }
    expected = {
        (part, layer): ((3, 3, *widths), (widths[1],))
        for part, layers in kernels.items()
        for layer, widths in layers.items()
    }
    flat = flax.traverse_util.flatten_dict(parameters(ConvAutoencoder())["params"])
    assert {path[:2]: (flat[*path[:2], "kernel"].shape, flat[*path[:2], "bias"].shape) for path in flat} == expected
    assert sum(array.size for array in flat.values()) == 4385


def test_lowerings_agree() -> None:
    models = [ConvAutoencoder(lowering=lowering) for lowering in LOWERINGS]
    random = np.random.default_rng(0)
    images = random.random((3, 28, 28, 1), np.float32)
    params = jax.tree.map(lambda p: random.normal(0, 0.3, p.shape).astype(np.float32), parameters(models[0]))

    def results(params: dict, images: Array) -> list[tuple]:
        return [(model.apply(params, images), *loss_and_gradients(model, params, images)) for model in models]

    with jax.default_matmul_precision("highest"):
        actual, expected = jax.device_get(jax.jit(results, compiler_options=QUICK)(params, images))
    assert_close(actual, expected)


@pytest.mark.parametrize(("lowering", "convolves"), [("gemm", False), ("native", True)])
def test_no_convolution_in_the_compiled_step(lowering: Lowering, convolves: bool) -> None:
    """XLA's own convolution is many times slower inside a CPU loop."""
    model = ConvAutoencoder(lowering=lowering)
    step = jax.jit(loss_and_gradients, static_argnums=0, compiler_options=QUICK)
    compiled = step.lower(model, parameters(model), IMAGES).compile()
    assert bool(operations(compiled, "convolution")) == convolves


def test_a_batch_over_two_devices_needs_one_reduction() -> None:
    """The gradients' sum is all that devices exchange; a layer that merged the batch with another would gather it."""
    model = ConvAutoencoder(lowering="gemm")
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("data",))
    everywhere, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    step = jax.jit(
        partial(loss_and_gradients, model),
        in_shardings=(everywhere, split),
        out_shardings=everywhere,
        compiler_options=QUICK,
    )
    compiled = step.lower(parameters(model), IMAGES).compile()
    counts = {name: operations(compiled, name) for name in COLLECTIVES}
    assert counts == dict.fromkeys(COLLECTIVES, 0) | {"all-reduce": 1}


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
