"""The variational experiments from their command line, and their recipes."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from aejax import cli
from aejax.data.datasets import Dataset
from aejax.training.splits import Splits
from experiments import conv_vae, vae, variational
from experiments.vae import Config, burda_schedule, torch_rmsprop

SMALL = ["--dataset", "digits", "--image-size", "12", "--batch-size", "128", "--epochs", "1", "--devices", "1"]


def run(module: Any, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
        cli.run(module.main, module.Config)


@pytest.mark.parametrize(
    ("module", "options", "name"),
    [
        (vae, ["--seeds", 2], "digits-lesson-elbo-seeds0-1"),
        (conv_vae, ["--objective", "iwae", "--samples", 3, "--seed", 1], "digits-20-iwae3-seed1"),
    ],
    ids=["vae", "conv_vae"],
)
def test_a_run_judges_reconstructions_likelihood_latents_and_samples(
    tmp_path: Path, module: Any, options: list[object], name: str
) -> None:
    run(module, *SMALL, *options, "--nll-samples", 20, "--nll-images", 30, "--runs", tmp_path)
    folder = tmp_path / module.__name__.split(".")[-1] / name
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {"learning_curves.png", "reconstructions.png", "samples.png"}
    splits = json.loads((folder / "summary.json").read_text())["splits"]
    assert list(splits) == ["train", "held_out", "test", "training images", "samples"]
    for split in ("train", "held_out", "test"):
        row = splits[split]
        assert row["loss"] == pytest.approx(row["distortion"] + row["rate"], rel=1e-5)
    assert {"nll", "active_units", "knn", "linear_probe"} <= set(splits["test"])
    assert splits["samples"]["frechet"] > splits["training images"]["frechet"]  # after one epoch
    assert ("loss_sd" in splits["test"]) == ("--seeds" in options)


@pytest.mark.parametrize("objective", ["dreg", "free_bits", "wae_mmd", "info_vae", "beta_tc"])
def test_every_objective_trains(tmp_path: Path, objective: str) -> None:
    annealing = [] if objective == "dreg" else ["--beta", 2, "--warm-up-epochs", 0.5]
    options = ["--objective", objective, "--samples", 2, *annealing, "--nll-samples", 0]
    run(vae, *SMALL, *options, "--no-judge-samples", "--runs", tmp_path)
    (metrics,) = tmp_path.rglob("metrics.jsonl")
    record = json.loads(metrics.read_text().splitlines()[-1])
    assert np.isfinite(record["loss"])


def test_the_kl_is_annealed_over_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(Config(beta=4.0, warm_up_epochs=2), batch_size=10)
    seen = []
    monkeypatch.setattr(variational.variational, "vae", lambda *_, **options: seen.append(options["kl_weight"]))
    variational.method(config, None, torch_rmsprop(1e-3), 50, 2)  # type: ignore[arg-type]  # 5 steps per epoch
    assert [float(seen[0](step)) for step in (0, 5, 10, 30)] == [0.0, 2.0, 4.0, 4.0]


def test_burdas_schedule_has_eight_stages_of_3280_epochs() -> None:
    schedule = burda_schedule(1e-3, steps_per_epoch=2)
    ends = np.cumsum([3**i for i in range(8)])
    assert ends[-1] == vae.RECIPES["iwae"].defaults["epochs"]
    for i, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
        rates = [float(schedule(first * 2)), float(schedule(last * 2 - 1))]
        np.testing.assert_allclose(rates, 1e-3 * 10 ** (-i / 7), rtol=1e-5)


def test_rmsprop_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    gradients = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    weights = torch.zeros(3, requires_grad=True)
    theirs, ours = torch.optim.RMSprop([weights], 1e-3), torch_rmsprop(1e-3)
    params = jnp.zeros(3)
    state = ours.init(params)
    for gradient in gradients:
        weights.grad = torch.from_numpy(gradient.copy())
        theirs.step()
        updates, state = ours.update(jnp.asarray(gradient), state, params)
        params += updates
    np.testing.assert_allclose(params, weights.detach().numpy(), rtol=1e-5)


def grey(n: int) -> Dataset:
    return Dataset("grey", "any", np.full((n, 8, 8, 1), 51, np.uint8), None)  # a fifth


@pytest.mark.parametrize("kind", ["none", "dynamic", "static"])
def test_binarisation_leaves_to_training_what_is_drawn_at_every_step(kind: Any) -> None:
    data = Splits(grey(300), grey(200), grey(100))
    drawn = variational.binarized(Config(binarization=kind), data)
    raw = {"none": ["train", "held_out", "test"], "dynamic": ["train"], "static": []}[kind]
    for split, dataset in drawn._asdict().items():
        if split in raw:
            assert dataset is getattr(data, split)
        else:
            assert set(np.unique(dataset.images)) == {0, 255}
            assert dataset.images.mean() / 255 == pytest.approx(0.2, abs=0.02)
    if kind == "static":
        again = variational.binarized(Config(binarization=kind, seed=5), data)
        np.testing.assert_array_equal(again.test.images, drawn.test.images)  # the same data for all seeds
        assert (drawn.train.images[:100] != drawn.test.images).any()


@pytest.mark.parametrize("kind", ["none", "dynamic", "static"])
def test_what_is_not_held_out_stays_the_test_split(kind: Any) -> None:
    test = grey(100)
    drawn = variational.binarized(Config(binarization=kind), Splits(grey(300), test, test))
    assert drawn.parts().keys() == {"train", "test"}


def test_what_has_no_meaning_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(vae, "--objective", "dreg", "--log-variance-as-log-std")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
