"""The autoencoder experiment from its command line, on digits of 12 x 12 pixels."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from jax import export as jax_export
from PIL import Image
from safetensors.numpy import load_file

from aejax.batching import as_float
from aejax.data import load
from experiments import autoencoder, export, summarize
from tests.experiments.conftest import run, summary

SMALL = ["--network", "tutorial", "--dataset", "digits", "--image-size", "12", "--batch-size", "128", "--epochs", "2"]
PCA = "test: PCA, 32 components"  # 2 x 2 x 8 numbers


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        run(autoencoder, *SMALL, "--seed", seed, "--runs", folder)
    return folder / "autoencoder"


def test_a_run_leaves_metrics_figures_and_checkpoints(runs: Path) -> None:
    folder = runs / "digits-tutorial128-seed0"
    assert json.loads((folder / "config.json").read_text())["options"]["batch_size"] == 128
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(r["epoch"], r["split"]) for r in records] == [(e, s) for e in (1, 2) for s in ("train", "held_out")]
    assert records[2]["bce"] < records[0]["bce"]
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"10", "20"}
    assert list((folder / "tensorboard").glob("events*"))
    for figure in ("reconstructions", "learning_curves"):
        with Image.open(folder / "figures" / f"{figure}.png") as image:
            assert min(image.size) > 100


def test_the_summary_names_each_split_and_its_metrics(runs: Path) -> None:
    splits = summary(runs / "digits-tutorial128-seed0")["splits"]
    assert list(splits) == ["train", "held_out", "test", PCA]
    reconstruction, quality = {"loss", "bce", "mse"}, {"mse", "psnr", "ssim"}
    assert set(splits[PCA]) == quality
    for name in ("train", "held_out", "test"):
        figures = splits[name]
        assert set(figures) == (reconstruction | quality if name == "test" else reconstruction)
        assert figures["loss"] == pytest.approx(figures["bce"] * 12 * 12, rel=1e-5)
        assert 0.1 < figures["bce"] < np.log(2) * 1.1
    for figures in (splits["test"], splits[PCA]):
        assert -10 * np.log10(figures["mse"]) <= figures["psnr"]  # Jensen: PSNR is convex in the MSE
    assert splits[PCA]["mse"] < splits["test"]["mse"]  # after two epochs


def test_what_is_exported_has_the_error_of_the_summary(runs: Path) -> None:
    folder = runs / "digits-tutorial128-seed0"
    run(export, folder)
    images = as_float(load("digits", "test", image_size=12).images)
    encode, decode = (
        jax_export.deserialize((folder / "export" / f"{name}.bin").read_bytes()).call for name in ("encoder", "decoder")
    )
    parameters = load_file(folder / "export" / "parameters.safetensors")
    found = decode(parameters, encode(parameters, images)["latents"])["images"]
    assert np.square(found - images).mean() == pytest.approx(summary(folder)["splits"]["test"]["mse"], rel=1e-5)


def test_a_finished_run_started_again_says_so_and_changes_nothing(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (runs / "digits-tutorial128-seed0" / "metrics.jsonl").read_text()
    splits = summary(runs / "digits-tutorial128-seed0")["splits"]
    run(autoencoder, *SMALL, "--runs", runs.parent)
    assert "complete, at step 20 of 20" in capsys.readouterr().err
    assert (runs / "digits-tutorial128-seed0" / "metrics.jsonl").read_text() == before
    assert summary(runs / "digits-tutorial128-seed0")["splits"] == splits


def test_seeds_are_summarized_as_mean_and_sample_standard_deviation(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(summarize, runs / "digits-tutorial128-seed0", runs / "digits-tutorial128-seed1")
    values = [summary(runs / f"digits-tutorial128-seed{seed}")["splits"]["test"]["bce"] for seed in (0, 1)]
    sd = abs(values[0] - values[1]) / np.sqrt(2)
    assert f"{np.mean(values):#.4g} ± {sd:.2g}" in capsys.readouterr().out


WRONG = {
    "an unknown dataset": (["--dataset", "nosuch"], "unknown dataset 'nosuch'"),
    "a file that is not there": (["--dataset", "nosuch.npz"], "nosuch.npz"),
    "no images in a batch": (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
    "a negative batch": (["--batch-size", "-4"], "--batch-size must be at least 1, not -4"),
    "a batch larger than the data": (["--batch-size", "100000"], "--batch-size 100000 is more than"),
    "no epochs": (["--epochs", "0"], "--epochs must be at least 1, not 0"),
    "a learning rate of 0": (["--learning-rate", "0"], "--learning-rate must be a finite number above 0"),
    "a learning rate that is not a number": (["--learning-rate", "nan"], "--learning-rate must be a finite number"),
    "a negative seed": (["--seed", "-1"], "--seed must be at least 0, not -1"),
    "no pixels": (["--image-size", "0"], "--image-size must be at least 1, not 0"),
    "a size that the network cannot return": (["--image-size", "32"], "use --network residual or --network dense"),
    "more devices than there are": (["--devices", "1000"], "--devices 1000"),
    "devices that do not divide the batch": (["--devices", "3"], "--devices 3"),
    "a name that is a path": (["--name", "../elsewhere"], "--name must be a plain folder name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_answered_in_one_line_with_nothing_written(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, expected = WRONG[case]
    with pytest.raises(SystemExit) as stopped:
        run(autoencoder, *SMALL, "--runs", tmp_path / "runs", *options)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "runs").exists()


def test_another_configuration_in_the_same_folder_is_refused_by_name(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(autoencoder, *SMALL, "--learning-rate", "0.5", "--runs", runs.parent)
    assert stopped.value.code == 2
    assert "learning_rate=0.001, not 0.5" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        run(autoencoder, *SMALL, "--runs", tmp_path / "file" / "runs")
    assert stopped.value.code == 2
    assert "choose another folder with --runs" in capsys.readouterr().err


def test_a_diverging_run_ends_with_status_1_and_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(autoencoder, *SMALL, "--learning-rate", "1e38", "--runs", tmp_path)
    assert stopped.value.code == 1
    assert "not finite at step" in capsys.readouterr().err.splitlines()[-1]


def test_images_of_ones_own_in_colour_are_trained_on(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (150, 20, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(150) % 2)
    options = ["--dataset", tmp_path / "mine.npz", "--epochs", 1, "--batch-size", 32, "--probe", "--runs", tmp_path]
    run(autoencoder, *options, "--latents", 3, "--width", 2)
    row = summary(tmp_path / "autoencoder" / "mine.npz-residual3-seed0")["splits"]["test"]
    assert {"active_units", "knn", "linear_probe"} <= set(row)
    assert row["loss"] == pytest.approx(row["squared_error"] * 20 * 12 * 3, rel=1e-5)


def test_sigterm_saves_a_checkpoint_and_says_so(tmp_path: Path) -> None:
    options = [*SMALL[:-1], "100000", "--runs", str(tmp_path)]
    command = [sys.executable, "-m", "experiments.autoencoder", *options]
    folder = tmp_path / "autoencoder" / "digits-tutorial128-seed0"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(folder.glob("checkpoints/10")):
            time.sleep(0.1)
        process.terminate()
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    last = error.splitlines()[-1]
    assert last.startswith("stopped by SIGTERM at step ")
    step = last.split()[5]
    assert (folder / "checkpoints" / step).is_dir()
