"""The recipe end to end with a small network, and the arithmetic of its out-of-distribution table."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from aejax.nn.restoration import UNet
from experiments.restoration import Restorer

from aejax import corruptions
from aejax.data.feeds import as_float
from aejax.errors import UserError
from aejax.evaluation import image_quality
from aejax.nn.convolutional import ConvAutoencoder
from aejax.training.config import options_as_json, with_defaults
from experiments import denoise
from experiments.denoise import Config
from tests.experiments.conftest import MakeDataset


def test_one_command_trains_on_two_datasets_and_tests_on_both(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoise, "build", lambda config, shape: UNet(1, widths=(2,), blocks=(0,)))
    one, other = make_dataset("one"), make_dataset("other")
    config = Config(dataset=one, ood=other, runs=tmp_path, epochs=2, batch_size=12, devices=1)
    denoise.main(config)

    folder = tmp_path / "denoise"
    both, runs = "one.npz-other.npz-unet-gaussian-seed0", [f"{n}.npz-unet-gaussian-seed0" for n in ("one", "other")]
    assert sorted(path.name for path in folder.iterdir()) == sorted([both, *runs])
    table = json.loads((folder / both / "summary.json").read_text())["splits"]
    assert list(table) == ["noisy input", f"trained on {one}", f"trained on {other}"]
    for name, dataset in zip(runs, (one, other), strict=True):
        splits = json.loads((folder / name / "summary.json").read_text())["splits"]
        assert list(splits)[:3] == ["train", "held_out", "test"]
        assert any(row.startswith("test: non-local means, h ") for row in splits)
        for metric in ("psnr", "ssim"):
            assert table[f"trained on {dataset}"][f"{metric} on {dataset}"] == pytest.approx(splits["test"][metric])
            assert table["noisy input"][f"{metric} on {dataset}"] == pytest.approx(splits["test: noisy input"][metric])
        assert len((folder / name / "metrics.jsonl").read_text().splitlines()) == 4
        assert (folder / name / "figures" / "denoised.png").stat().st_size > 1000
    assert [path.name for path in (folder / both / "figures").iterdir()] == ["out_of_distribution.png"]
    # Each of the two runs is that of the plain command, which would take it up.
    plain = with_defaults(Config(dataset=one, epochs=2, batch_size=12), denoise.DEFAULTS["unet"], "")
    assert json.loads((folder / runs[0] / "config.json").read_text())["options"] == options_as_json(plain)


def test_the_cross_table_has_what_was_trained_on_in_rows_and_tested_on_in_columns() -> None:
    random = np.random.default_rng(0)
    images = {name: random.integers(0, 256, (3, 12, 12, 1), np.uint8) for name in ("a", "b")}

    def fading(factor: float) -> Restorer:
        def restore(x: np.ndarray) -> np.ndarray:
            return (factor * as_float(x)).astype(np.float32)

        return Restorer(lambda x: as_float(x) / 2, restore, restore, lambda x: {})

    found = denoise.cross_table({"a": fading(0.9), "b": fading(0.8)}, images)

    for row, factor in {"noisy input": 0.5, "trained on a": 0.9, "trained on b": 0.8}.items():
        assert list(found[row]) == ["psnr on a", "psnr on b", "ssim on a", "ssim on b"]
        for name, array in images.items():
            clean = as_float(array)
            expected = image_quality.summary((factor * clean).astype(np.float32), clean)
            for metric in ("psnr", "ssim"):
                assert found[row][f"{metric} on {name}"] == pytest.approx(float(expected[metric].mean()), rel=1e-5)


def test_each_noise_goes_by_its_options() -> None:
    images, key = jax.random.uniform(jax.random.key(1), (2, 3, 3, 1)), jax.random.key(0)
    expected = {
        "gaussian": corruptions.gaussian(0.1, 0.2),
        "salt_and_pepper": corruptions.salt_and_pepper(0.7),
        "masking": corruptions.masking(0.7),
        "speckle": corruptions.speckle(0.2),
    }
    for name, corrupt in expected.items():
        config = Config(noise=name, noise_mean=0.1, noise_std=0.2, noise_fraction=0.7)  # type: ignore[arg-type]
        np.testing.assert_array_equal(denoise.noise(config)(key, images), corrupt(key, images))


def test_the_lessons_noise_and_network() -> None:
    config = Config(network="lesson")
    assert (config.noise, config.noise_mean, config.noise_std) == ("gaussian", 0.5, 0.3)
    assert denoise.build(config, (28, 28, 1)) == ConvAutoencoder(1)
    assert denoise.DEFAULTS["lesson"]["epochs"] == 100
    with pytest.raises(UserError, match="--image-size"):
        denoise.build(config, (27, 27, 1))


def test_bad_options_are_refused(tmp_path: Path, make_dataset: MakeDataset) -> None:
    with pytest.raises(UserError, match="--noise-fraction must be at most 1"):
        Config(noise_fraction=1.1)
    with pytest.raises(UserError, match="--ood mnist is the --dataset itself"):
        denoise.main(Config(ood="mnist", runs=tmp_path))


def test_two_shapes_are_refused_before_anything_is_trained(tmp_path: Path, make_dataset: MakeDataset) -> None:
    config = Config(dataset=make_dataset("one"), ood=make_dataset("other", 20), runs=tmp_path / "runs")
    with pytest.raises(UserError, match="differ in their images' shape: set --image-size"):
        denoise.main(config)
    assert not (tmp_path / "runs").exists()
