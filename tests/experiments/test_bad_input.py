"""Wrong input, from the command line of every experiment: one line that names it, status 2, and nothing written."""

import importlib
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments
from aejax import cli
from aejax.training import records
from experiments import autoencoder
from tests.experiments.conftest import arguments_of

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
        "int64": {"images": GOOD.astype(np.int64) - 1},
        "too_bright": {"images": GOOD.astype(np.float32) + 2},
        "nan": {"images": np.full((30, 12, 12, 1), np.nan, np.float32)},
        "infinite": {"images": np.full((30, 12, 12, 1), np.inf, np.float32)},
        "rank2": {"images": GOOD[:, 0, :, 0]},
        "rank5": {"images": GOOD[..., None]},
        "no_images": {"pictures": GOOD, "photos": GOOD},
        "empty": {"images": GOOD[:0]},
        "no_pixels": {"images": GOOD[:, :0]},
        "complex": {"images": GOOD.astype(np.complex64)},
        "text_array": {"images": np.array(["a picture"])},
        "negative": {"images": GOOD.astype(np.float32) - 1},
        "one_image": {"images": GOOD[:1]},
        "nothing_to_test": {"x_train": GOOD, "x_test": GOOD[:0]},
        "two_sizes": {"x_train": GOOD, "x_test": GOOD[:, :8]},
        "few_labels": {"images": GOOD, "labels": np.zeros(29, np.int32)},
        "wide_labels": {"images": GOOD, "labels": np.zeros((30, 10), np.int32)},
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
    np.save(folder / "array.npy", GOOD)
    (folder / "array.npy").rename(folder / "one_array.npz")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (folder / "flipped.npz").write_bytes(flipped)

    (folder / "no_summary").mkdir()
    summary: dict[str, Any] = {"experiment": "vae", "options": {"seed": 0, "epochs": 1}, "environment": {}}
    summary["per_seed"] = {"test": {"loss": 1.0}}
    old = {"config": {"seed": 0, "epochs": 1}, "splits": {}, "environment": {}}
    texts = {"finished": json.dumps(summary), "old": json.dumps(old), "cut": json.dumps(summary)[:20]}
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / "summary.json").write_text(text)

    runs = folder / "runs" / "autoencoder"
    mine = json.dumps(records.describe(autoencoder.Config(dataset="digits", learning_rate=0.5), "autoencoder"))
    for name, text in {"mine": mine, "old": '{"epochs": 7}', "cut": mine[:-9], "lost": None}.items():
        (runs / name / "checkpoints").mkdir(parents=True)
        (runs / name / ".lock").touch()
        if text is not None:
            (runs / name / "config.json").write_text(text)
    (runs / "a_file").touch()
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
    ("autoencoder", "--devices 3", "--batch-size 128 cannot be split over --devices 3"),
    ("autoencoder", "--image-size 0", "--image-size must be at least 1"),
    ("autoencoder", "--network tutorial --dataset digits --image-size 30", "use --network residual or --network dense"),
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
    ("autoencoder", "--dataset FILES/no_images.npz", "no_images.npz"),
    ("autoencoder", "--dataset FILES/empty.npz", "empty.npz"),
    ("autoencoder", "--dataset FILES/no_pixels.npz", "no_pixels.npz"),
    ("autoencoder", "--dataset FILES/flipped.npz", "flipped.npz"),
    ("autoencoder", "--dataset FILES/one_array.npz", "one_array.npz is not an .npz file but a single array"),
    ("autoencoder", "--dataset FILES/complex.npz", "dtype complex64, not uint8"),
    ("autoencoder", "--dataset FILES/text_array.npz", "text_array.npz"),
    ("autoencoder", "--dataset FILES/negative.npz", "negative.npz.*scale them to"),
    ("autoencoder", "--dataset FILES/one_image.npz", "holds no examples"),
    ("autoencoder", "--dataset FILES/nothing_to_test.npz", "'x_test' is empty"),
    ("autoencoder", "--dataset FILES/two_sizes.npz", "splits differ in shape"),
    ("autoencoder", "--dataset FILES/wide_labels.npz", "one label for each image"),
    ("autoencoder", "--dataset FILES/few_labels.npz", "few_labels.npz"),
    ("autoencoder", "--dataset FILES/float_labels.npz", "float_labels.npz"),
    ("autoencoder", "--dataset digits --name a/b", "--name must be a plain folder name"),
    ("autoencoder", "--dataset digits --name ..", "--name must be a plain folder name"),
    ("autoencoder", "--dataset digits --runs FILES/a_file", "cannot be written .* another folder with --runs"),
    ("autoencoder", "--dataset digits --runs FILES/runs --name a_file", "cannot be written .* with --runs"),
    (
        "autoencoder",
        "--dataset digits --runs FILES/runs --name mine",
        "holds a run with learning_rate=0.5, not 0.004.* --name",
    ),
    ("autoencoder", "--dataset digits --runs FILES/runs --name old", "of an older layout.*: choose another --name"),
    ("autoencoder", "--dataset digits --runs FILES/runs --name cut", "config.json is damaged: choose another --name"),
    ("autoencoder", "--dataset digits --runs FILES/runs --name lost", "without its config.json: choose another --name"),
    ("autoencoder", "--clip-norm 0", "--clip-norm must be a finite number above 0"),
    ("autoencoder", "--clip-norm nan", "--clip-norm must be a finite number"),
    ("autoencoder", "--on-nonfinite ignore", "ignore.*--on-nonfinite"),
    ("autoencoder", "--workers -1", "--workers must be at least 0"),
    ("autoencoder", "--feed floppy", "floppy.*--feed"),
    ("autoencoder", "--augment turn", "turn.*--augment"),
    ("autoencoder", "--dataset digits --augment flip flip", "--augment flip flip names one twice"),
    ("vae", "--dataset digits --image-size 7 --augment crop", "--augment crop needs images of at least 8 x 8 pixels"),
    ("benchmark.growth", "--augment flip", "--augment has no meaning here"),
    ("denoise", "--noise-fraction 1.5", "--noise-fraction must be at most 1"),
    ("denoise", "--noise-fraction -0.1", "--noise-fraction must be at least 0"),
    ("denoise", "--noise-std -1", "--noise-std must be at least 0"),
    ("denoise", "--noise-mean nan", "--noise-mean must be a finite number"),
    ("denoise", "--noise foggy", "foggy.*--noise"),
    ("denoise", "--network resnet", "--network resnet: choose from unet, residual, dense, tutorial"),
    ("denoise", "--schedule linear", "linear.*--schedule"),
    ("denoise", "--dataset digits --ood digits", "--ood digits is the --dataset itself"),
    ("denoise", "--dataset digits --ood nosuch", "nosuch"),
    (
        "denoise",
        "--dataset digits --network tutorial --image-size 30",
        "use --network unet or --network residual or --network dense, .* --image-size 28",
    ),
    ("denoise", "--dataset digits --network residual --image-size 7", "use --network unet or --network dense"),
    ("vq_vae", "--codes 1", "--codes must be at least 2"),
    ("vq_vae", "--dataset digits --batch-size 2000", "--batch-size 2000 is more than the .* lower it"),
    ("compare", "--methods gan", "invalid choice 'gan' for argument '--methods'"),
    ("compare", "--dataset digits --network tutorial --image-size 9", "--network tutorial needs images with"),
    ("reproduce", "no/such", "no/such"),
    ("super_resolution", "--factor 1", "--factor must be at least 2"),
    ("super_resolution", "--dataset digits --factor 3", "--factor 3 does not divide .* --image-size 27"),
    ("super_resolution", "--dataset digits --network tutorial --factor 4", "--network tutorial enlarges 2 times"),
    ("super_resolution", "--dataset digits --network tutorial --latents 3", "--latents 3: --network tutorial has its"),
    (
        "super_resolution",
        "--dataset digits --network residual --factor 4",
        "cannot take small images of 7 x 7: use --network edsr or --network dense, or lower --factor",
    ),
    ("super_resolution", "--network resnet", "choose from edsr, residual, dense, tutorial"),
    ("super_resolution", "--width 0", "--width must be at least 1"),
    ("super_resolution", "--blocks 0", "--blocks must be at least 1"),
    ("super_resolution", "--downscaling nearest", "nearest.*--downscaling"),
    ("vae", "--recipe mine", "--recipe mine: choose from residual, tutorial, conv, flax, iwae"),
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
    ("vae", "--objective dreg --warm-up-epochs 1", "--objective dreg has no weight of the KL"),
    ("vae", "--recipe iwae --schedule cosine --dataset digits", "the learning rate has a schedule already"),
    ("vae", "--log-variance-as-log-std", "--log-variance-as-log-std"),
    ("vae", "--kernel cubic", "cubic.*--kernel"),
    ("vae", "--dataset digits --batch-size 2000", "--batch-size 2000 is more than the .* lower it"),
    ("denoise", "--dataset digits --batch-size 2000", "--batch-size 2000 is more than the .* lower it"),
    ("super_resolution", "--dataset digits --batch-size 2000", "--batch-size 2000 is more than the .* lower it"),
    ("latent_space", "--dataset digits --batch-size 2000", "--batch-size 2000 is more than the .* lower it"),
    ("aae", "--dataset digits --batch-size 2000", "--batch-size 2000 is more than the .* lower it"),
    ("aae_semi_supervised", "--dataset digits --batch-size 2000", "--batch-size 2000 is more than the .* lower it"),
    ("vae", "--dataset digits --devices 1000", "--devices 1000: this machine has .* ask for fewer"),
    ("vae", "--recipe conv --latents two", "--latents.*'two'"),
    ("vae", "--recipe conv --dataset FILES/nan.npz", "nan.npz.*NaN"),
    ("vae", "--recipe conv --dataset digits --image-size 30", "--image-size 28"),
    ("vae", "--recipe conv --nll-images 0", "--nll-images must be at least 1"),
    ("latent_space", "--html-points 0", "--html-points must be at least 1"),
    ("latent_space", "--dataset FILES/unlabelled.npz", "has no labels"),
    ("latent_space", "--dataset digits --network tutorial --image-size 30", "use --network residual .* 28"),
    ("latent_space", "--network resnet", "--network resnet: choose from residual, dense, tutorial"),
    ("aae", "--prior mixture", "--prior mixture lies in the plane: set --latents 2, not 150"),
    ("aae", "--prior ring", "ring.*--prior"),
    ("aae", "--gan-loss wgan_gp --r1 1", "--r1 1 belongs to --gan-loss gan"),
    ("aae", "--compare --no-adversarial", "leave --no-adversarial out"),
    ("aae", "--labels 10", "--labels 10 needs a prior with parts"),
    ("aae", "--dataset digits --prior mixture --latents 2 --labels 5000", "--labels 5000 is more than the"),
    (
        "aae",
        "--dataset FILES/unlabelled.npz --batch-size 8 --prior mixture --latents 2 --labels 5",
        "unlabelled.npz has none",
    ),
    ("aae", "--r1 -1", "--r1 must be at least 0"),
    ("aae", "--discriminator-rate 0", "--discriminator-rate must be a finite number above 0"),
    ("aae", "--dataset digits --network tutorial --image-size 30", "--image-size 28"),
    ("aae", "--dataset digits --devices 3", "--batch-size 256 cannot be split over --devices 3"),
    ("aae", "--dataset FILES/pickled.npz", "pickled.npz"),
    ("aae_semi_supervised", "--labels 0", "--labels must be at least 1"),
    ("aae_semi_supervised", "--clusters 1", "--clusters must be at least 2"),
    ("aae_semi_supervised", "--style 0", "--style must be at least 1"),
    ("aae_semi_supervised", "--noise-std -1", "--noise-std must be at least 0"),
    ("aae_semi_supervised", "--classification-rate inf", "--classification-rate must be a finite number"),
    ("aae_semi_supervised", "--dataset digits --labels 7", "--labels 7 is not a multiple of the 10 classes: choose"),
    ("aae_semi_supervised", "--dataset digits --labels 5000", "--labels 5000 asks for 500 .* lower it"),
    ("aae_semi_supervised", "--dataset FILES/unlabelled.npz", "unlabelled.npz has no labels .* choose another"),
    ("benchmark.__main__", "--rounds 0", "--rounds must be at least 1"),
    ("benchmark.__main__", "--steps some", "--steps.*'some'"),
    ("benchmark.__main__", "--screening-steps -5", "--screening-steps must be at least 1"),
    ("benchmark.__main__", "--clip-norm 1", "--clip-norm has no meaning here"),
    ("benchmark.soak", "--kills 0", "--kills must be at least 1"),
    ("benchmark.soak", "--longest 0.5", "--longest must be at least 1"),
    ("benchmark.soak", "--experiment denoise", "denoise.*--experiment"),
    ("benchmark.soak", "--runs FILES/a_file", "cannot be written .* another folder with --runs"),
    ("benchmark.growth", "--multiples 4 0", "--multiples must be at least 1, not 0"),
    ("benchmark.growth", "--dataset digits --systems autoencoder --sizes 3", "--sizes 3: autoencoder takes no images"),
    ("benchmark.growth", "--feeds disk", "disk.*--feeds"),
    ("benchmark.growth", "--clip-norm 1", "--clip-norm has no meaning here"),
    ("benchmark.likelihood", "--samples 0", "--samples must be at least 1"),
    ("benchmark.likelihood", "--sizes large", "large.*--sizes"),
    ("benchmark.seeds", "--counts 1", "--counts must be at least 2, not 1"),
    ("benchmark.seeds", "--dataset digits --systems toaster", "--systems toaster: choose from autoencoder"),
    ("benchmark.start", "--rounds 0", "--rounds must be at least 1"),
    ("benchmark.start", "--experiments toaster", "toaster.*--experiments"),
    ("aae", "--adversarial-b1 1", "--adversarial-b1 must be below 1"),
    ("aae", "--hidden 10 0", "--hidden must be at least 1, not 0"),
    ("aae", "--network tutorial --hidden 10", "--hidden is about dense layers"),
    ("aae_priors", "--labels 0", "--labels must be at least 1"),
    ("aae_priors", "--adversarial-b1 1 --dataset digits", "--adversarial-b1 must be below 1"),
    ("aae_priors", "--dataset digits --labels 5000", "--labels 5000 is more than the"),
    ("aae_priors", "--dataset FILES/unlabelled.npz", "has no labels"),
    ("export", "FILES/missing", "missing holds no run"),
    ("export", "FILES/no_summary", "lies in no folder of an experiment's name|holds no"),
    ("benchmark.scaling", "--batch-size 0", "--batch-size must be at least 1"),
    ("summarize", "FILES/no_summary FILES/missing", "no_summary holds no finished run"),
    ("summarize", "FILES/finished FILES/cut", "summary.json is damaged, or of another version"),
    ("summarize", "FILES/finished FILES/old", "old/summary.json is damaged, or of another version"),
    ("summarize", "FILES/finished FILES/finished", "are both of seed 0: leave one out"),
    ("summarize", "FILES/finished --x test/loss", "a picture needs both --x and --y"),
    ("summarize", "FILES/finished --rows val", "no run's table has the row 'val': there are test"),
    ("summarize", "FILES/finished --x test/loss --y test/mse", "no run has the figure 'test/mse': there are test/loss"),
    ("summarize", "", "one or more runs"),
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
    if experiment not in ("summarize", "export", "reproduce", "benchmark.scaling") and "--runs" not in arguments:
        arguments += ["--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    monkeypatch.chdir(tmp_path)
    before = sorted(files.rglob("*"))

    with pytest.raises(SystemExit) as stopped:
        cli.run(module.main, *arguments_of(module))

    assert stopped.value.code == 2
    # What a user should know of a dataset comes first.
    error = "".join(
        line for line in capsys.readouterr().err.splitlines(True) if not line.startswith((str(files), "left out: "))
    )
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert re.search(message, error), error
    assert sorted(files.rglob("*")) == before  # no pickle ran, and no file became a run
    assert not list(tmp_path.rglob("*.*")), "something was written"


def test_every_experiment_is_in_the_table() -> None:
    folder = Path(experiments.__path__[0])
    starts = re.compile(r"^    cli\.run\(main", re.MULTILINE)
    scripts = [path.relative_to(folder) for path in folder.rglob("*.py") if starts.search(path.read_text())]
    assert {experiment for experiment, *_ in CASES} == {".".join(path.with_suffix("").parts) for path in scripts}
