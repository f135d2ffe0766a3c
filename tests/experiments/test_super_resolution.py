"""The recipe end to end with a small network, in colour, and with noise instead of images."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from aejax.errors import UserError
from aejax.nn.edsr import EDSR
from aejax.training.config import options_as_json
from experiments import super_resolution
from experiments.super_resolution import Config
from tests.experiments.conftest import MakeDataset, figures, parsed, summary


def test_a_run_in_colour_and_its_answer_to_noise(tmp_path: Path, make_dataset: MakeDataset) -> None:
    options = {"dataset": make_dataset("colour", channels=3), "width": 2, "blocks": 1, "epochs": 1, "batch_size": 12}
    super_resolution.main(Config(**options, runs=tmp_path, devices=1, from_noise=True))
    folder = tmp_path / "super_resolution" / "colour.npz-2x-edsr-seed0"
    assert figures(folder) == {"enlarged", "from_noise", "learning_curves"}
    splits = summary(folder)["splits"]
    upscaled = [f"test: {method}" for method in ("nearest", "bilinear", "bicubic", "Lanczos")]
    assert list(splits) == ["train", "held_out", "test", *upscaled]
    assert splits["test: nearest"]["mse"] < 1e-6  # these images are blocks of 2 x 2
    assert splits["train"]["mse"] > 0
    for name, row in splits.items():
        assert ({"mse", "psnr", "psnr_y", "ssim"} <= set(row)) == (name != "train")


def test_noise_may_be_asked_for_after_training() -> None:
    assert options_as_json(Config(from_noise=True)) == options_as_json(Config())


def test_the_tutorials_network_enlarges_14_to_28() -> None:
    model = super_resolution.build_model(parsed(super_resolution, "--network", "tutorial"), (28, 28, 1))
    large = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key, large)
    assert jax.eval_shape(model.corrupt, large, key).shape == (2, 14, 14, 1)
    assert jax.eval_shape(model.outputs, params, large, key).shape == (2, 28, 28, 1)
    kernels = [p["kernel"].shape for p in params["params"]["encoder"].values()]
    assert kernels == [(3, 3, 1, 16), (3, 3, 16, 8)]


@pytest.mark.parametrize("network", ["residual", "dense"])
def test_the_networks_of_every_experiment_enlarge_through_a_few_latents(network: str) -> None:
    options = ["--network", network, "--latents", 5, "--width", 2, "--hidden", 7, "--factor", 3]
    model = super_resolution.build_model(parsed(super_resolution, *options), (24, 36, 3))
    large = jax.ShapeDtypeStruct((2, 24, 36, 3), jnp.float32)
    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key, large)
    small = jax.eval_shape(model.corrupt, large, key)
    assert small.shape == (2, 8, 12, 3)
    assert jax.eval_shape(model.encode, params, small).shape == (2, 5)
    assert jax.eval_shape(model.outputs, params, large, key).shape == large.shape


def test_options_reach_the_network() -> None:
    config = Config(factor=4, width=7, blocks=2)
    assert super_resolution.build_model(config, (32, 32, 3)).network == EDSR(3, factor=4, width=7, blocks=2)
    assert super_resolution.build_model(Config(factor=4), (32, 32, 3)).network == EDSR(3, factor=4, width=48)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (Config(factor=3), (28, 28, 1), "--factor 3 does not divide images of 28 x 28: set --image-size 27"),
        (Config(network="tutorial", factor=4), (28, 28, 1), "--network tutorial enlarges 2 times, not --factor 4"),
        (Config(network="tutorial"), (32, 32, 3), "--image-size"),
    ],
)
def test_what_does_not_fit_is_refused(config: Config, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        super_resolution.build_model(config, shape)
