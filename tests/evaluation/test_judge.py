"""The table of a trained model: its rows, and what is left out of it."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from aejax import corruptions
from aejax.batching import as_float
from aejax.data.datasets import Dataset
from aejax.evaluation import image_quality, judge, pca
from aejax.methods.method import Method
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import SquaredError
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.models.trained import Trained
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.training.devices import make_mesh

RANDOM = np.random.default_rng(0)
FLOOR, CODES = "prior match: two prior samples", "prior match: codes"


def random_images(n: int, channels: int = 1) -> np.ndarray:
    return RANDOM.integers(0, 256, (n, 12, 12, channels), np.uint8)


class Scale(nn.Module):
    """A network without parameters: images times a factor."""

    factor: float

    def __call__(self, images: Array) -> Array:
        return self.factor * images


@dataclass(frozen=True)
class Halved:
    def __call__(self, key: Array, images: Array) -> Array:
        return images / 2


@pytest.mark.parametrize("channels", [1, 3])
def test_quality_in_blocks_is_that_of_the_whole(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, images = as_float(random_images(5, channels)), random_images(5, channels)
    expected = image_quality.summary(pictures, as_float(images))
    if channels == 3:
        y = [image_quality.luma(array) for array in (pictures, as_float(images))]
        expected["psnr_y"] = np.asarray(image_quality.psnr(*y))
    monkeypatch.setattr(judge, "_BLOCK", 2)
    found = judge.quality(pictures, images)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values.mean(), rtol=1e-5)


def test_restorations_have_each_split_and_each_baseline_on_the_test_split() -> None:
    """Targets are the clean images; a baseline sees the degraded ones, as the network does."""
    names = ("train", "held_out", "test")
    data = {name: Dataset("mine", name, random_images(4 + i), None) for i, name in enumerate(names)}
    trained = [Trained(ImageToImage(Scale(f), SquaredError(), Halved()), {}, (12, 12, 1)) for f in (1.8, 1.6)]
    found = judge.restorations(trained, data, {"nothing": lambda x: x, "doubling": lambda x: 2 * x})

    assert list(found) == [*names, "test: nothing", "test: doubling"]
    assert found["test: doubling"]["psnr"] == pytest.approx(image_quality.PSNR_CAP)

    def psnr(factor: float, name: str) -> float:
        clean = as_float(data[name].images)
        return float(np.mean(image_quality.psnr((factor * clean).astype(np.float32), clean)))

    assert found["test: nothing"]["psnr"] == pytest.approx(psnr(0.5, "test"), rel=1e-4)
    for name in names:  # of each seed its own
        np.testing.assert_allclose(found[name]["psnr"], [psnr(0.9, name), psnr(0.8, name)], rtol=1e-4)


def test_a_methods_own_metrics_are_averaged_over_each_split_and_kept_for_each_seed() -> None:
    def evaluate(state: Array, images: Array, key: Array) -> dict[str, Array]:
        return {"loss": state * images.mean(axis=(1, 2, 3))}

    method = Method(None, None, evaluate)  # type: ignore[arg-type]
    splits = {"train": random_images(7), "test": random_images(4)}
    states = [jnp.float32(1), jnp.float32(3)]
    found = judge.of_splits(method, states, splits, make_mesh(1, 1))  # type: ignore[arg-type]
    assert list(found) == ["train", "test"]
    splits["train"] = splits["train"][[0, 1, 3, 5]]  # as many as there are to test, evenly spread
    for name, images in splits.items():
        np.testing.assert_allclose(found[name]["loss"], as_float(images).mean() * np.array([1, 3]), rtol=1e-5)


@pytest.fixture(scope="module")
def vaes() -> list[Trained]:
    model = LatentVariableModel(
        GaussianPosterior(GaussianEncoder(MLP((4,)), 2)), DenseDecoder((4,), (12, 12, 1)), StandardNormal(latents=2)
    )
    params = [model.init(jax.random.key(seed), jnp.zeros((1, 12, 12, 1))) for seed in (0, 1)]
    return [Trained(model, p, (12, 12, 1), seed) for seed, p in enumerate(params)]


def labelled(n: int, split: str, unknown: int = 0) -> Dataset:
    labels = np.where(np.arange(n) < unknown, -1, np.arange(n) % 2).astype(np.int32)
    return Dataset("mine", split, random_images(n), labels)


def test_a_vae_is_judged_by_all_that_it_has(vaes: list[Trained]) -> None:
    train, test = labelled(40, "train", unknown=5), labelled(20, "test", unknown=3)
    settings = judge.Settings(nll_samples=3, nll_images=5, parzen_samples=0)
    (reason,) = judge.left_out(train, test)
    assert reason.startswith('left out: 20 of 40 training images from the row "train"')
    found = judge.judge(vaes, train, test, settings=settings)
    assert list(found) == ["test", "test: PCA, 2 components", CODES, FLOOR, "training images", "samples"]
    row = found["test"]
    assert {"mse", "psnr", "ssim", "nll (3 latents, 5 images)", "active_units", "knn", "linear_probe"} == set(row)
    assert all(np.shape(values) == (2,) for values in row.values())
    for i, one in enumerate(vaes):
        np.testing.assert_allclose(
            row["mse"][i], np.square(one.reconstruct(test.images) - test.images / 255).mean(), rtol=1e-5
        )  # type: ignore[index]
        nll = -one.log_likelihood(test.images[:5], 3).mean()
        np.testing.assert_allclose(row["nll (3 latents, 5 images)"][i], nll, rtol=1e-5)  # type: ignore[index]
    linear = pca.fit(train.images, 2).reconstruct(test.images)
    assert found["test: PCA, 2 components"]["mse"] == pytest.approx(judge.quality(linear, test.images)["mse"])


def test_what_cannot_be_judged_is_left_out_and_said(vaes: list[Trained]) -> None:
    train, test = (Dataset("mine", name, random_images(30), None) for name in ("train", "test"))
    settings = judge.Settings(nll_samples=0, pca=False)
    found = judge.judge(vaes[:1], train, test, settings=settings)
    assert list(found) == ["test", CODES, FLOOR]
    assert set(found["test"]) == {"mse", "psnr", "ssim", "active_units"}
    reasons = judge.left_out(train, test)
    assert [reason.split(" labels, which")[0] for reason in reasons] == [
        "left out: kNN and the linear probe need",
        "left out: the classifier needs",
    ]
    assert judge.left_out(train, test, latents=False) == reasons[1:]
    assert judge.left_out(train, test, prior=False) == reasons[:1]
    unprobed = judge.judge(vaes[:1], train, test, settings=settings._replace(representation=False))
    assert set(unprobed["test"]) == {"mse", "psnr", "ssim"}
    all_unknown = labelled(30, "train", unknown=30)
    assert set(judge.judge(vaes[:1], all_unknown, all_unknown, settings=settings)["test"]) == set(found["test"])


def test_where_labels_are_judged_images_without_one_are_left_out_and_said() -> None:
    train, test = labelled(30, "train", unknown=10), labelled(20, "test", unknown=8)
    first, second = judge.left_out(train, test, latents=False, prior=False, pictures=False)
    assert first == "left out: 8 of 20 test images, without a label"
    assert second.startswith("left out: 8 of 20 training images from the row")


@pytest.mark.parametrize("most", [1, 3, 10, 11])
def test_evenly_spread_rows_are_of_all_parts(most: int) -> None:
    rows = judge.evenly_spread({"a": np.arange(10), "b": 2 * np.arange(10)}, most)
    assert len(rows["a"]) == min(most, 10)
    np.testing.assert_array_equal(rows["b"], 2 * rows["a"])
    assert rows["a"][0] == 0
    assert set(np.diff(rows["a"])) <= {10 // most, -(-10 // most)} | {1}


def test_a_model_without_a_prior_or_latents_has_neither_rows_of_them() -> None:
    train, test = labelled(30, "train"), labelled(20, "test")
    denoiser = Trained(ImageToImage(Scale(0.5), SquaredError(), corruptions.Gaussian(0.0, 0.1)), {}, (12, 12, 1))
    found = judge.judge([denoiser], train, test)
    assert list(found) == ["test"]
    assert set(found["test"]) == {"mse", "psnr", "ssim"}


def test_blocks_of_images_have_the_quality_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 12, 12, 3), dtype=np.uint8)
    pictures = images / np.float32(300)
    values = image_quality.summary(pictures, images / np.float32(255))
    expected = {name: pytest.approx(float(value.mean(dtype=np.float64)), rel=1e-6) for name, value in values.items()}
    for block in (4, 4096):
        monkeypatch.setattr(judge, "_BLOCK", block)
        found = judge.quality(pictures, images)
        assert {name: found[name] for name in expected} == expected
