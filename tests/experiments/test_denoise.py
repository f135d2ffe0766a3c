"""The recipe end to end with a small network, and the arithmetic of its out-of-distribution table."""

import dataclasses
import json
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest

from aejax import corruptions
from aejax.batching import as_float
from aejax.corruptions import Corruption
from aejax.errors import UserError
from aejax.evaluation import image_quality
from aejax.models.image_to_image import ImageToImage
from aejax.models.likelihoods import SquaredError
from aejax.models.trained import Trained
from aejax.nn.convolutional import ConvAutoencoder
from aejax.nn.unet import UNet
from aejax.training.config import options_as_json
from experiments import denoise
from experiments.denoise import Config
from tests.experiments.conftest import MakeDataset, figures, parsed, summary


def test_one_command_trains_on_two_datasets_and_tests_on_both(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = UNet(1, widths=(2,), blocks=(0,))
    monkeypatch.setattr(
        denoise, "build_model", lambda config, shape: ImageToImage(small, corruption=denoise.noise(config))
    )
    one, other = make_dataset("one"), make_dataset("other")
    config = Config(dataset=one, ood=other, runs=tmp_path, epochs=2, batch_size=12, devices=1)
    denoise.main(config)

    folder = tmp_path / "denoise"
    both, runs = "one.npz-other.npz-unet-gaussian-seed0", [f"{n}.npz-unet-gaussian-seed0" for n in ("one", "other")]
    assert sorted(path.name for path in folder.iterdir()) == sorted([both, *runs])
    table = summary(folder / both)["splits"]
    assert list(table) == ["noisy input", f"trained on {one}", f"trained on {other}"]
    for name, dataset in zip(runs, (one, other), strict=True):
        splits = summary(folder / name)["splits"]
        assert list(splits)[:3] == ["train", "held_out", "test"]
        assert any(row.startswith("test: non-local means, h ") for row in splits)
        for metric in ("psnr", "ssim"):
            assert table[f"trained on {dataset}"][f"{metric} on {dataset}"] == pytest.approx(splits["test"][metric])
            assert table["noisy input"][f"{metric} on {dataset}"] == pytest.approx(splits["test: noisy input"][metric])
            assert metric in splits["held_out"]
            assert metric not in splits["train"]
        assert len((folder / name / "metrics.jsonl").read_text().splitlines()) == 4
        assert figures(folder / name) == {"denoised", "learning_curves"}
    assert figures(folder / both) == {"out_of_distribution"}
    # Each of the two runs is that of the plain command, which would take it up.
    plain = parsed(denoise, "--dataset", one, "--epochs", 2, "--batch-size", 12)
    assert summary(folder / runs[0])["options"] == json.loads(json.dumps(options_as_json(plain)))


class Scale(nn.Module):
    """A network without parameters: images times a factor."""

    factor: float

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.factor * images


@dataclasses.dataclass(frozen=True)
class Halved:
    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        return images / 2


def test_the_cross_table_has_what_was_trained_on_in_rows_and_tested_on_in_columns() -> None:
    random = np.random.default_rng(0)
    images = {name: random.integers(0, 256, (3, 12, 12, 1), np.uint8) for name in ("a", "b")}

    def fading(factor: float) -> Trained:
        return Trained(ImageToImage(Scale(2 * factor), SquaredError(), Halved()), {}, (12, 12, 1))

    found = denoise.cross_table({"a": fading(0.9), "b": fading(0.8)}, images)

    for row, factor in {"noisy input": 0.5, "trained on a": 0.9, "trained on b": 0.8}.items():
        assert list(found[row]) == ["psnr on a", "psnr on b", "ssim on a", "ssim on b"]
        for name, array in images.items():
            clean = as_float(array)
            expected = image_quality.summary((factor * clean).astype(np.float32), clean)
            for metric in ("psnr", "ssim"):
                assert found[row][f"{metric} on {name}"] == pytest.approx(float(expected[metric].mean()), rel=1e-5)


def test_each_noise_goes_by_its_options() -> None:
    expected: dict[str, Corruption] = {
        "gaussian": corruptions.Gaussian(0.1, 0.2),
        "salt_and_pepper": corruptions.SaltAndPepper(0.7),
        "masking": corruptions.Masking(0.7),
        "speckle": corruptions.Speckle(0.2),
    }
    for name, corruption in expected.items():
        config = Config(noise=name, noise_mean=0.1, noise_std=0.2, noise_fraction=0.7)  # type: ignore[arg-type]
        assert denoise.noise(config) == denoise.build_model(config, (28, 28, 1)).corruption == corruption


def test_the_tutorials_noise_and_network() -> None:
    config = parsed(denoise, "--network", "tutorial")
    assert (config.noise, config.noise_mean, config.noise_std) == ("gaussian", 0.5, 0.3)
    assert denoise.build_model(config, (28, 28, 1)).network == ConvAutoencoder(1)
    assert (config.epochs, config.batch_size, config.schedule) == (100, 256, "warmup_cosine")
    assert parsed(denoise, "--network", "tutorial", "--epochs", 7).epochs == 7
    with pytest.raises(UserError, match="--image-size"):
        denoise.build_model(config, (27, 27, 1))


@pytest.mark.parametrize("network", ["residual", "dense"])
def test_the_networks_of_every_experiment_denoise_through_a_few_latents(network: str) -> None:
    config = parsed(denoise, "--network", network, "--latents", 5, "--width", 2, "--hidden", 7)
    model = denoise.build_model(config, (9, 12, 2))
    images = jax.ShapeDtypeStruct((3, 9, 12, 2), np.float32)
    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key, images)
    assert jax.eval_shape(model.encode, params, images).shape == (3, 5)
    assert jax.eval_shape(model.outputs, params, images, key).shape == images.shape


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--noise-fraction must be at most 1"):
        Config(noise_fraction=1.1)
    with pytest.raises(UserError, match="--ood mnist is the --dataset itself"):
        denoise.main(Config(ood="mnist", runs=tmp_path))


def test_two_shapes_are_refused_before_anything_is_trained(tmp_path: Path, make_dataset: MakeDataset) -> None:
    config = Config(dataset=make_dataset("one"), ood=make_dataset("other", 20), runs=tmp_path / "runs")
    with pytest.raises(UserError, match="differ in their images' shape: set --image-size"):
        denoise.main(config)
    assert not (tmp_path / "runs").exists()
