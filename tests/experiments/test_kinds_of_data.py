"""Every experiment on every kind of images: it works, or says in one line why not and which option helps."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments
from aejax.nn.unet import UNet
from tests.experiments.conftest import run, summary

KINDS = {
    "grey 48x36": (48, 36, 1),
    "colour 32x32": (32, 32, 3),
    "colour 64x64": (64, 64, 3),
    "colour 65x63": (65, 63, 3),
    "two channels 28x28": (28, 28, 2),
}
SMALL = ["--epochs", 1, "--batch-size", 8, "--devices", 1]
UNJUDGED = ["--nll-samples", 2, "--nll-images", 5]
# The experiments' options that make them small, and the rows of their tables.
EXPERIMENTS: dict[str, tuple[str, list[Any], set[str]]] = {
    "autoencoder": ("autoencoder", ["--width", 2, "--latents", 3], {"test", "test: PCA, 3 components"}),
    "vae": (
        "vae",
        ["--width", 2, "--latents", 3, *UNJUDGED],
        {"test", "test: PCA, 3 components", "prior match: codes", "samples"},
    ),
    "vae, tutorial's recipe": (
        "vae",
        ["--recipe", "tutorial", "--hidden", 8, *UNJUDGED, "--no-judge-samples"],
        {"test", "prior match: codes"},
    ),
    "vae, tutorial's networks": ("vae", ["--recipe", "conv", *UNJUDGED, "--no-judge-samples"], {"test"}),
    "aae": (
        "aae",
        ["--hidden", 8, "--discriminator-hidden", 8, "--latents", 2, "--parzen-samples", 9, "--no-judge-samples"],
        {"test", "prior match: codes"},
    ),
    "aae_semi_supervised": ("aae_semi_supervised", ["--hidden", 8, "--labels", 4], {"test"}),
    "latent_space": ("latent_space", ["--width", 2], {"VAE: test", "noise 0"}),
    "vq_vae": ("vq_vae", ["--width", 4, "--blocks", 0, "--codes", 4, "--features", 2], {"test", "samples"}),
    "compare": (
        "compare",
        ["--methods", "autoencoder", "--hidden", 4, "--latents", 2, *UNJUDGED, "--no-judge-samples"],
        {"test"},
    ),
    "denoise": ("denoise", [], {"test", "test: noisy input"}),
    "denoise, residual": ("denoise", ["--network", "residual", "--width", 2, "--latents", 3], {"test"}),
    "denoise, dense": ("denoise", ["--network", "dense", "--hidden", 8, "--latents", 3], {"test"}),
    "super_resolution": ("super_resolution", ["--width", 2, "--blocks", 1], {"test", "test: bicubic"}),
    "super_resolution, residual": (
        "super_resolution",
        ["--network", "residual", "--width", 2, "--latents", 3],
        {"test"},
    ),
    "super_resolution, dense": ("super_resolution", ["--network", "dense", "--hidden", 8, "--latents", 3], {"test"}),
}
TUTORIALS = "--image-size|--network"
# What some of them say of some images.
REFUSED: dict[tuple[str, str], str] = {
    **{("vae, tutorial's networks", kind): TUTORIALS for kind in KINDS if kind != "two channels 28x28"},
    **{
        (name, "colour 65x63"): "--factor 2 does not divide images of 65 x 63: set --image-size 62"
        for name in ("super_resolution", "super_resolution, residual", "super_resolution, dense")
    },
}
# In every run what is refused, and one run each of a convolutional and of a dense network.
QUICK = {("autoencoder", "two channels 28x28"), ("aae", "colour 32x32"), *REFUSED}
# Of a study's further networks and recipes, the kinds that differ most. Of 64 and 65 pixels the odd size, where it is
# taken.
VARIANTS = {name for name in EXPERIMENTS if ", " in name} | {"compare", "vq_vae"}
FOR_VARIANTS = ("grey 48x36", "two channels 28x28")
CASES = [
    pytest.param(name, kind, id=f"{name}: {kind}", marks=[] if (name, kind) in QUICK else pytest.mark.slow)
    for name in EXPERIMENTS
    for kind in KINDS
    if (name, kind) in QUICK
    or (kind in FOR_VARIANTS if name in VARIANTS else kind != "colour 64x64" or (name, "colour 65x63") in REFUSED)
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind: 48 images to learn from and 16 to test, in four classes of their own brightness.

    Their labels are as people have them: names, or numbers with large gaps, and of some images unknown.
    """
    known = {"numbers": np.arange(4) * 1_000_017 + 3, "names": np.array(["ant", "bee", "cat", "dog"])}
    unknown = {"numbers": np.array([-1]), "names": np.array([""])}
    folder, random = tmp_path_factory.mktemp("kinds"), np.random.default_rng(0)
    files = {}
    for i, (kind, shape) in enumerate(KINDS.items()):
        classes = np.arange(64) % 4
        images = random.integers(0, 100, (64, *shape)) + 50 * classes[:, None, None, None]
        form = ("numbers", "names")[i % 2]
        labels = np.where(np.arange(64) % 9 == 5, unknown[form], known[form][classes])
        files[kind] = folder / f"{i}.npz"
        arrays = {"x_train": images[:48].astype(np.uint8), "x_test": images[48:].astype(np.uint8)}
        np.savez(files[kind], **arrays, y_train=labels[:48], y_test=labels[48:])
    return files


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_experiment_works_or_says_in_one_line_what_helps(
    name: str,
    kind: str,
    datasets: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment, options, rows = EXPERIMENTS[name]
    module = importlib.import_module(f"experiments.{experiment}")
    if experiment == "latent_space":
        monkeypatch.setattr(module, "READ", 20)
    if experiment == "denoise":
        monkeypatch.setattr(module, "UNet", lambda channels: UNet(channels, widths=(2,), blocks=(0,)))
    arguments = ["--dataset", datasets[kind], *SMALL, *options, "--runs", tmp_path / "runs"]
    if message := REFUSED.get((name, kind)):
        with pytest.raises(SystemExit) as stopped:
            run(module, *arguments)
        assert stopped.value.code == 2
        # What a user should know of a dataset comes first.
        told = capsys.readouterr().err.splitlines(keepends=True)
        error = "".join(line for line in told if not line.startswith((str(datasets[kind]), "left out: ")))
        assert re.fullmatch(rf"error: .*({message}).*\n", error), error
        assert not (tmp_path / "runs").exists()
        return
    run(module, *arguments)
    tables = [summary(file.parent)["splits"] for file in (tmp_path / "runs").rglob("summary.json")]
    largest = max(tables, key=len)
    assert rows <= set(largest)
    assert all(np.isfinite(value) for table in tables for row in table.values() for value in row.values())


def test_the_table_is_of_every_experiment_that_trains() -> None:
    folder = Path(experiments.__path__[0])
    trains = {path.stem for path in folder.glob("*.py") if "fit(" in path.read_text()}
    assert {experiment for experiment, *_ in EXPERIMENTS.values()} == trains
    assert set(REFUSED) <= {(name, kind) for name in EXPERIMENTS for kind in KINDS}
