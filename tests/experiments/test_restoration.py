"""What both experiments share: defaults, quality in blocks, and the table beside the baselines."""

import numpy as np
import pytest
from experiments.restoration import RestorationConfig, Restorer

from aejax.data.datasets import Dataset
from aejax.data.feeds import as_float
from aejax.evaluation import image_quality
from aejax.training.config import plain_name, with_defaults
from aejax.training.splits import Splits
from experiments import restoration

RANDOM = np.random.default_rng(0)


def random_images(n: int, channels: int = 1) -> np.ndarray:
    return RANDOM.integers(0, 256, (n, 12, 12, channels), np.uint8)


def test_a_network_has_defaults_and_the_command_line_the_last_word() -> None:
    defaults = {"epochs": 3, "batch_size": 64, "learning_rate": 0.1, "schedule": "cosine"}
    config = with_defaults(RestorationConfig(epochs=7), defaults, "standard")
    assert (config.epochs, config.batch_size, config.learning_rate) == (7, 64, 0.1)
    assert (config.schedule, config.name) == ("cosine", "standard")
    assert with_defaults(RestorationConfig(name="mine"), defaults, "standard").name == "mine"


@pytest.mark.parametrize(
    ("dataset", "name"), [("mnist", "mnist"), ("emnist/letters", "letters"), ("a/mine.npz", "mine.npz")]
)
def test_a_name_for_the_folder(dataset: str, name: str) -> None:
    assert plain_name(dataset) == name


@pytest.mark.parametrize("channels", [1, 3])
def test_quality_in_blocks_is_that_of_the_whole(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, images = as_float(random_images(5, channels)), random_images(5, channels)
    expected = image_quality.summary(pictures, as_float(images))
    if channels == 3:
        y = [image_quality.luma(array) for array in (pictures, as_float(images))]
        expected["psnr_y"] = np.asarray(image_quality.psnr(*y))
    monkeypatch.setattr(restoration, "_BLOCK", 2)
    found = restoration.quality(pictures, images)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


def test_the_table_has_each_split_and_each_baseline_on_the_test_split() -> None:
    """Targets are the clean images; a baseline sees the degraded ones, as the network does."""
    data = Splits(*(Dataset("mine", name, random_images(4 + i), None) for i, name in enumerate(Splits._fields)))
    restorer = Restorer(
        degrade=lambda images: as_float(images) / 2,
        restore=lambda images: as_float(images) * 0.9,
        apply=lambda images: as_float(images),
        evaluate=lambda images: {"loss": np.full(len(images), float(len(images)))},
    )
    found = restoration.table(restorer, data, {"nothing": lambda x: x, "doubling": lambda x: 2 * x})

    assert list(found) == ["train", "held_out", "test", "test: nothing", "test: doubling"]
    assert [found[name]["loss"] for name in Splits._fields] == [4, 5, 6]
    assert found["test: doubling"]["psnr"] == pytest.approx(image_quality.PSNR_CAP)
    clean = as_float(data.test.images)
    for row, picture in {"test: nothing": clean / 2, "test": 0.9 * clean}.items():
        expected = np.mean(image_quality.psnr(picture.astype(np.float32), clean))
        assert found[row]["psnr"] == pytest.approx(float(expected), rel=1e-4)
