"""Wrong input, from the command line of every experiment: one line that names it, status 2, and nothing written."""

import importlib
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax import cli

GOOD = np.zeros((30, 12, 12, 1), np.uint8)


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one .npz file for each way to be wrong."""
    folder = tmp_path_factory.mktemp("files")
    arrays: dict[str, dict[str, Any]] = {
        "int64": {"images": GOOD.astype(np.int64)},
        "too_bright": {"images": GOOD.astype(np.float32) + 2},
        "nan": {"images": np.full((30, 12, 12, 1), np.nan, np.float32)},
        "infinite": {"images": np.full((30, 12, 12, 1), np.inf, np.float32)},
        "rank2": {"images": GOOD[:, 0, :, 0]},
        "rank5": {"images": GOOD[..., None]},
        "two_channels": {"images": np.zeros((30, 12, 12, 2), np.uint8)},
        "no_images": {"pictures": GOOD},
        "empty": {"images": GOOD[:0]},
        "no_pixels": {"images": GOOD[:, :0]},
        "few_labels": {"images": GOOD, "labels": np.zeros(29, np.int32)},
        "float_labels": {"images": GOOD, "labels": np.full(30, 0.5)},
        "unlabelled": {"images": GOOD},
    }
    for name, contents in arrays.items():
        np.savez(folder / f"{name}.npz", **contents)
    whole = (folder / "unlabelled.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npz").write_text("not an archive")
    (folder / "a_folder.npz").mkdir()
    (folder / "a_file").touch()
    np.savez(folder / "pickled.npz", images=np.array([Bomb(folder / "boom")], object))
    (folder / "bare.npz").write_bytes(pickle.dumps(Bomb(folder / "boom")))
    (folder / "no_summary").mkdir()
    return folder


# (experiment, its options with FILES for the folder above, what its one line must match)
CASES = [
    ("autoencoder", "--epochs 0", "--epochs must be at least 1, not 0"),
    ("autoencoder", "--epochs -3", "--epochs must be at least 1, not -3"),
    ("autoencoder", "--epochs ten", "--epochs.*'ten'"),
    ("autoencoder", "--epochs", "--epochs"),
    ("autoencoder", "--epochs 1.5", "--epochs.*'1.5'"),
    ("autoencoder", "--batch-size 0", "--batch-size must be at least 1"),
    ("autoencoder", "--dataset digits --batch-size 100000", "--batch-size 100000 is more than the .* lower it"),
    ("autoencoder", "--learning-rate 0", "--learning-rate must be a finite number above 0"),
    ("autoencoder", "--learning-rate -1e-3", "--learning-rate must be a finite number above 0"),
    ("autoencoder", "--learning-rate nan", "--learning-rate must be a finite number"),
    ("autoencoder", "--learning-rate inf", "--learning-rate must be a finite number"),
    ("autoencoder", "--learning-rate fast", "--learning-rate.*'fast'"),
    ("autoencoder", "--seed -1", "--seed must be at least 0"),
    ("autoencoder", "--seed 1 2", "2"),
    ("autoencoder", "--devices -1", "--devices must be at least 0"),
    ("autoencoder", "--devices 1000", "--devices 1000"),
    ("autoencoder", "--devices 3", "--batch-size 256 cannot be split over --devices 3"),
    ("autoencoder", "--image-size 0", "--image-size must be at least 1"),
    ("autoencoder", "--dataset digits --image-size 30", "--image-size 28"),
    ("autoencoder", "--datset digits", "--datset.*--dataset"),
    ("autoencoder", "--dataset nosuch", "nosuch"),
    ("autoencoder", "--dataset FILES/missing.npz", "missing.npz"),
    ("autoencoder", "--dataset FILES/truncated.npz", "truncated.npz"),
    ("autoencoder", "--dataset FILES/text.npz", "text.npz"),
    ("autoencoder", "--dataset FILES/a_folder.npz", "a_folder.npz"),
    ("autoencoder", "--dataset FILES/pickled.npz", "pickled.npz"),
    ("autoencoder", "--dataset FILES/bare.npz", "bare.npz"),
    ("autoencoder", "--dataset FILES/int64.npz", "int64"),
    ("autoencoder", "--dataset FILES/too_bright.npz", "too_bright.npz.*0.*1"),
    ("autoencoder", "--dataset FILES/nan.npz", "nan.npz"),
    ("autoencoder", "--dataset FILES/infinite.npz", "infinite.npz"),
    ("autoencoder", "--dataset FILES/rank2.npz", "rank2.npz"),
    ("autoencoder", "--dataset FILES/rank5.npz", "rank5.npz"),
    ("autoencoder", "--dataset FILES/two_channels.npz", "two_channels.npz"),
    ("autoencoder", "--dataset FILES/no_images.npz", "no_images.npz"),
    ("autoencoder", "--dataset FILES/empty.npz", "empty.npz"),
    ("autoencoder", "--dataset FILES/no_pixels.npz", "no_pixels.npz"),
    ("autoencoder", "--dataset FILES/few_labels.npz", "few_labels.npz"),
    ("autoencoder", "--dataset FILES/float_labels.npz", "float_labels.npz"),
    ("autoencoder", "--dataset digits --name a/b", "--name must be a plain folder name"),
    ("autoencoder", "--dataset digits --name ..", "--name must be a plain folder name"),
    ("autoencoder", "--dataset digits --runs FILES/a_file", "--runs"),
    ("denoise", "--noise-fraction 1.5", "--noise-fraction must be at most 1"),
    ("denoise", "--noise-fraction -0.1", "--noise-fraction must be at least 0"),
    ("denoise", "--noise-std -1", "--noise-std must be at least 0"),
    ("denoise", "--noise-mean nan", "--noise-mean must be a finite number"),
    ("denoise", "--noise foggy", "foggy.*--noise"),
    ("denoise", "--network resnet", "resnet.*--network"),
    ("denoise", "--schedule linear", "linear.*--schedule"),
    ("denoise", "--dataset digits --ood digits", "--ood digits is the --dataset itself"),
    ("denoise", "--dataset digits --ood nosuch", "nosuch"),
    ("denoise", "--dataset digits --network lesson --image-size 30", "--image-size 28"),
    ("super_resolution", "--factor 1", "--factor must be at least 2"),
    ("super_resolution", "--dataset digits --factor 3", "--factor 3 does not divide .* --image-size 27"),
    ("super_resolution", "--dataset digits --network lesson --factor 4", "--network lesson enlarges 2 times"),
    ("super_resolution", "--width 0", "--width must be at least 1"),
    ("super_resolution", "--blocks 0", "--blocks must be at least 1"),
    ("super_resolution", "--downscaling nearest", "nearest.*--downscaling"),
    ("vae", "--recipe mine", "mine.*--recipe"),
    ("vae", "--latents 0", "--latents must be at least 1"),
    ("vae", "--samples 0", "--samples must be at least 1"),
    ("vae", "--seeds 0", "--seeds must be at least 1"),
    ("vae", "--beta -1", "--beta must be at least 0"),
    ("vae", "--beta nan", "--beta must be a finite number"),
    ("vae", "--warm-up-epochs -1", "--warm-up-epochs must be at least 0"),
    ("vae", "--free-bits -1", "--free-bits must be at least 0"),
    ("vae", "--info-alpha inf", "--info-alpha must be a finite number"),
    ("vae", "--objective elbow", "elbow.*--objective"),
    ("vae", "--likelihood poisson", "poisson.*--likelihood"),
    ("vae", "--binarization maybe", "maybe.*--binarization"),
    ("vae", "--objective wae_mmd --batch-size 1", "--batch-size 1 leaves --objective wae_mmd no pairs"),
    ("vae", "--objective dreg --beta 2", "--objective dreg has no weight of the KL"),
    ("vae", "--objective dreg --log-variance-as-log-std", "--log-variance-as-log-std has no meaning"),
    ("conv_vae", "--dataset digits --image-size 30", "--image-size 28"),
    ("conv_vae", "--nll-images 0", "--nll-images must be at least 1"),
    ("latent_space", "--html-points 0", "--html-points must be at least 1"),
    ("latent_space", "--dataset FILES/unlabelled.npz", "has no labels"),
    ("latent_space", "--dataset digits --image-size 30", "--image-size 28"),
    ("aae", "--prior mixture", "--prior mixture lies in the plane: set --latents 2, not 150"),
    ("aae", "--prior ring", "ring.*--prior"),
    ("aae", "--critic wgan_gp --r1 1", "--r1 1 belongs to --critic gan"),
    ("aae", "--compare --no-adversarial", "leave --no-adversarial out"),
    ("aae", "--labels 10", "--labels 10 needs a prior with parts"),
    ("aae", "--dataset digits --prior mixture --latents 2 --labels 5000", "--labels 5000 is more than the"),
    ("aae", "--dataset FILES/unlabelled.npz --prior mixture --latents 2 --labels 5", "unlabelled.npz has none"),
    ("aae", "--r1 -1", "--r1 must be at least 0"),
    ("aae", "--discriminator-rate 0", "--discriminator-rate must be a finite number above 0"),
    ("aae", "--dataset digits --conv --image-size 30", "--image-size 28"),
    ("aae", "--adversarial-b1 1", "--adversarial-b1 must be below 1"),
    ("aae", "--hidden 10 0", "--hidden must be at least 1, not 0"),
    ("aae", "--conv --hidden 10", "--hidden is about dense layers"),
    ("aae_priors", "--labels 0", "--labels must be at least 1"),
    ("aae_priors", "--adversarial-b1 1 --dataset digits", "--adversarial-b1 must be below 1"),
    ("aae_priors", "--dataset digits --labels 5000", "--labels 5000 is more than the"),
    ("aae_priors", "--dataset FILES/unlabelled.npz", "has no labels"),
    ("aae_tradeoff", "FILES/no_summary", "no_summary holds no finished run"),
    ("aae_tradeoff", "", "one or more runs"),
    ("summarize", "FILES/no_summary FILES/missing", "no_summary holds no finished run"),
    ("summarize", "", "two or more runs"),
]


@pytest.mark.parametrize(("experiment", "options", "message"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_wrong_input_is_refused_in_one_line(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    experiment: str,
    options: str,
    message: str,
) -> None:
    module = importlib.import_module(f"experiments.{experiment}")
    arguments = options.replace("FILES", str(files)).split()
    if experiment not in ("summarize", "aae_tradeoff") and "--runs" not in arguments:
        arguments += ["--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    monkeypatch.chdir(tmp_path)
    before = sorted(files.rglob("*"))

    with pytest.raises(SystemExit) as stopped:
        cli.run(module.main, module.Config)

    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert re.search(message, error), error
    assert sorted(files.rglob("*")) == before  # no pickle ran, and no file became a run
    assert not list(tmp_path.rglob("*.*")), "something was written"


def test_the_table_is_long() -> None:
    assert len(CASES) >= 60
