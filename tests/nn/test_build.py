"""What `--network` names: networks for images of many shapes, and one line where a network cannot take them."""

import math
from types import SimpleNamespace
from typing import get_args

import jax
import jax.numpy as jnp
import pytest

from aejax.errors import UserError
from aejax.nn.build import TUTORIAL_LATENTS, Network, autoencoder, check_image_shape, takes, trunk_and_decoder
from aejax.nn.convolutional import ConvAutoencoder, ConvDecoder, ConvEncoder, map_shape
from aejax.nn.heads import Autoencoder, GaussianEncoder, LatentDecoder, LatentEncoder
from aejax.nn.layers import with_lowering
from aejax.nn.mlp import MLP, DenseDecoder

NETWORKS = get_args(Network)
SMALL = {"width": 4, "levels": 2, "blocks": 1, "hidden": (6, 5)}
SHAPES = [(28, 28, 1), (28, 28, 2), (32, 32, 3), (8, 8, 1), (36, 12, 3), (65, 63, 3), (48, 36, 1)]


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in NETWORKS for shape in SHAPES if takes(name, shape)], ids=str
)
def test_every_network_gives_back_the_shape_of_images_that_it_takes(name: Network, shape: tuple[int, ...]) -> None:
    images = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    for outputs_per_value in (1, 2):
        trunk, decoder = trunk_and_decoder(name, shape, 5, outputs_per_value=outputs_per_value, **SMALL)
        network = Autoencoder(LatentEncoder(trunk, 5), decoder)
        outputs = jax.eval_shape(lambda x, n=network: n.init_with_output(jax.random.key(0), x)[0], images)
        assert outputs.shape == (3, *shape[:2], shape[2] * outputs_per_value)
        assert outputs.dtype == jnp.float32


def test_every_shape_is_taken_or_refused_as_expected() -> None:
    taken = {shape: [name for name in NETWORKS if takes(name, shape)] for shape in [*SHAPES, (7, 9, 1)]}
    everything = ["residual", "tutorial", "dense"]
    assert taken == {shape: ["residual", "dense"] for shape in SHAPES} | {
        (28, 28, 1): everything,
        (28, 28, 2): everything,
        (36, 12, 3): everything,
        (7, 9, 1): ["dense"],
    }


@pytest.mark.parametrize(
    ("name", "shape", "others"),
    [
        ("tutorial", (32, 32, 3), "use --network residual or --network dense, or"),
        ("tutorial", (4, 4, 1), "use --network dense, or"),
        ("residual", (28, 7, 1), "use --network dense, or"),
    ],
)
def test_a_refusal_names_the_networks_that_take_the_images(name: Network, shape: tuple, others: str) -> None:
    height, width, _ = shape
    for refused in (lambda: check_image_shape(name, shape), lambda: trunk_and_decoder(name, shape, 2)):
        with pytest.raises(UserError) as caught:
            refused()
        message = str(caught.value)
        assert f"--network {name} needs" in message
        assert f"not {height} x {width}" in message
        assert others in message
        assert "--image-size 28" in message
        assert "\n" not in message


@pytest.mark.parametrize(("levels", "size", "most"), [(0, 28, 4), (5, 28, 4), (4, 8, 3), (6, 63, 5)])
def test_images_are_not_halved_to_nothing(levels: int, size: int, most: int) -> None:
    with pytest.raises(UserError, match=f"--levels {levels}: .* 1 to {most} times"):
        trunk_and_decoder("residual", (size, 70, 1), 2, levels=levels)
    trunk_and_decoder("residual", (size, 70, 1), 2, levels=most)


def test_the_tutorials_and_the_dense_network_are_those_of_their_modules() -> None:
    assert trunk_and_decoder("tutorial", (28, 36, 3), 7, outputs_per_value=2, lowering="gemm") == (
        ConvEncoder(lowering="gemm"),
        LatentDecoder(ConvDecoder(6, lowering="gemm"), (4, 5, 8)),
    )
    assert trunk_and_decoder("dense", (4, 6, 3), 7, hidden=(9, 8), outputs_per_value=2) == (
        MLP((9, 8)),
        DenseDecoder((8, 9), (4, 6, 6)),
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_values(name: Network) -> None:
    """Equal and of equal hash when built twice, so that a compiled function may take one as a static argument."""
    first, second = (
        tuple(GaussianEncoder(part, 4) for part in trunk_and_decoder(name, (12, 12, 1), 4, **SMALL)) for _ in range(2)
    )
    assert first == second
    assert hash(first) == hash(second)
    assert [with_lowering(part, "native") for part in first] == [
        GaussianEncoder(part, 4) for part in trunk_and_decoder(name, (12, 12, 1), 4, lowering="native", **SMALL)
    ]


def test_an_autoencoder_has_the_latents_that_it_is_asked_for() -> None:
    for name in NETWORKS:
        options = SimpleNamespace(network=name, latents=7, **SMALL)
        network = autoencoder(options, (20, 12, 2))
        trunk, decoder = trunk_and_decoder(name, (20, 12, 2), 7, **SMALL)
        assert network == Autoencoder(LatentEncoder(trunk, 7), decoder)


def test_the_tutorials_autoencoder_has_its_own_number_of_latents() -> None:
    assert math.prod(map_shape(28, 28)) == TUTORIAL_LATENTS
    options = SimpleNamespace(network="tutorial", latents=TUTORIAL_LATENTS)
    assert autoencoder(options, (28, 28, 3)) == ConvAutoencoder(3)


def test_a_refusal_names_the_experiments_own_networks_too() -> None:
    with pytest.raises(UserError, match="use --network unet or --network residual or --network dense, or"):
        autoencoder(SimpleNamespace(network="tutorial", latents=7, **SMALL), (32, 32, 3), also=["unet"])
