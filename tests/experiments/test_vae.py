"""Variational autoencoders from the command line, and their recipes."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.data.datasets import Dataset
from aejax.errors import UserError
from aejax.methods import objectives, variational
from aejax.models.latent_variable import Terms
from aejax.nn.convolutional import ConvEncoder
from aejax.training import optimizers
from aejax.training.binarization import binarized
from aejax.training.splits import Splits
from experiments import vae
from experiments.vae import RECIPES, Config, build_method, build_model
from tests.experiments.conftest import after_a_step, figures, parsed, run, summary

SMALL = ["--dataset", "digits", "--limit", 400, "--batch-size", 64, "--epochs", 1, "--devices", 1]
JUDGED = ["--nll-samples", 20, "--nll-images", 30]
NLL = "nll (20 latents, 30 images)"
SHAPE = (4, 4, 1)


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    run(vae, *SMALL, "--recipe", "tutorial", "--hidden", 16, "--seeds", 2, *JUDGED, "--runs", runs)
    return runs / "vae" / "digits-tutorial-elbo-seeds0-1"


@pytest.fixture(scope="module")
def conv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    options = ["--recipe", "conv", "--image-size", 12, "--objective", "iwae", "--samples", 3, "--seed", 1]
    run(vae, *SMALL, *options, *JUDGED, "--runs", runs)
    return runs / "vae" / "digits-conv-iwae3-seed1"


@pytest.mark.parametrize(("which", "latents"), [("two_seeds", 2), ("conv", 20)])
def test_a_run_judges_reconstructions_likelihood_latents_and_samples(
    which: str, latents: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(which)
    assert figures(folder) == {"interpolations", "learning_curves", "reconstructions", "samples"}
    splits = summary(folder)["splits"]
    match = "prior match: codes", "prior match: two prior samples"
    known = f"test: PCA, {latents} components", *match, "training images", "samples"
    assert list(splits) == ["train", "held_out", "test", *known]
    for split in ("train", "held_out", "test"):
        row = splits[split]
        assert row["loss"] == pytest.approx(row["distortion"] + row["rate"], rel=1e-5)
    assert {NLL, "psnr", "active_units", "knn", "linear_probe"} <= set(splits["test"])
    assert splits["samples"]["frechet"] > splits["training images"]["frechet"]  # after one epoch
    assert "psnr" not in splits["held_out"]
    assert 0 <= splits["test"]["active_units"] <= latents


def test_several_seeds_give_each_figure_of_each_seed_and_their_mean_and_sd(two_seeds: Path, conv: Path) -> None:
    found = summary(two_seeds)
    assert found["experiment"] == "vae"
    assert (found["options"]["seed"], found["options"]["seeds"]) == (0, 2)
    assert found["environment"]
    for row, split in found["splits"].items():
        for name, values in found["per_seed"][row].items():
            assert split[name] == pytest.approx(np.mean(values))
            if np.ndim(values):
                assert len(values) == 2
                assert split[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1))
    assert found["splits"]["test"]["loss_sd"] > 0
    assert "loss_sd" not in summary(conv)["splits"]["test"]


@pytest.mark.parametrize("name", [*get_args(vae.Bound), *get_args(vae.Regularized)])
def test_every_objective_trains(name: str) -> None:
    options = [] if name == "dreg" else ["--beta", 2, "--warm-up-epochs", 0.5, "--groups", 2]
    config = parsed(
        vae, "--recipe", "tutorial", "--objective", name, "--samples", 2, "--batch-size", 4, "--hidden", 5, *options
    )
    model = build_model(config, SHAPE)
    images = jax.random.uniform(jax.random.key(1), (4, *SHAPE))
    params, metrics, values = after_a_step(build_method(config, model, 8), images)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((params, metrics, values)))
    assert metrics["vae_gradient_norm" if name == "factor_vae" else "gradient_norm"] > 0
    # Whatever it was trained with, it is evaluated by the ELBO.
    np.testing.assert_allclose(values["loss"], values["distortion"] + values["rate"], rtol=1e-5)


def test_the_tutorials_mistake_is_its_loss() -> None:
    """The tutorial samples with std = exp(l), where l is its log-variance, and has l in its KL."""
    random = np.random.default_rng(0)
    mean, log_std = random.normal(size=(2, 3, 5)).astype(np.float32)
    terms = Terms(*[jnp.zeros((3, 2))] * 8, jnp.int32(0))
    terms = terms._replace(
        log_likelihood=jnp.full((3, 2), -7.0), mean=jnp.asarray(mean), log_variance=jnp.asarray(2 * log_std)
    )
    kl = -0.5 * (1 + log_std - mean**2 - np.exp(log_std)).sum(axis=1)
    np.testing.assert_allclose(objectives.tutorial_mistake(terms), 7 + kl, rtol=1e-5)


def test_the_kl_is_annealed_over_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(RECIPES["tutorial"], beta=4.0, warm_up_epochs=2, batch_size=10)
    seen: list[Any] = []
    monkeypatch.setattr(objectives, "beta_elbo", seen.append)
    build_method(config, build_model(config, SHAPE), 50)  # 5 steps per epoch
    assert [float(seen[0](step)) for step in (0, 5, 10, 30)] == [0.0, 2.0, 4.0, 4.0]


def test_burdas_schedule_has_eight_stages_of_3280_epochs() -> None:
    schedule = optimizers.burda_stages(1e-3, steps_per_epoch=2)
    ends = np.cumsum([3**i for i in range(8)])
    assert ends[-1] == RECIPES["iwae"].epochs
    for i, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
        rates = [float(schedule(first * 2)), float(schedule(last * 2 - 1))]
        np.testing.assert_allclose(rates, 1e-3 * 10 ** (-i / 7), rtol=1e-5)


def test_a_recipe_gives_defaults_and_the_command_line_has_the_last_word() -> None:
    assert parsed(vae) == RECIPES["residual"] == Config()
    found = parsed(vae, "--recipe", "iwae", "--latents", 7)
    assert found == dataclasses.replace(RECIPES["iwae"], latents=7)
    assert (found.epochs, found.burda_stages, found.binarization, found.hold_out) == (3280, True, "dynamic", False)
    conv = build_model(parsed(vae, "--recipe", "conv"), (28, 28, 1))
    assert isinstance(conv.posterior.encoder.trunk, ConvEncoder)
    assert (conv.prior.latents, conv.likelihood.name) == (20, "bce")


def test_rmsprop_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    seen: list[optax.GradientTransformation] = []
    monkeypatch.setattr(variational, "vae", lambda model, optimizer, *_, **__: seen.append(optimizer))
    config = RECIPES["tutorial"]
    build_method(config, build_model(config, SHAPE), 1000)
    (ours,) = seen
    gradients = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    weights = torch.zeros(3, requires_grad=True)
    theirs = torch.optim.RMSprop([weights], 1e-3)
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
    drawn = binarized(kind, data)
    raw = {"none": ["train", "held_out", "test"], "dynamic": ["train"], "static": []}[kind]
    for split, dataset in drawn._asdict().items():
        if split in raw:
            assert dataset is getattr(data, split)
        else:
            assert set(np.unique(dataset.images)) == {0, 255}
            assert dataset.images.mean() / 255 == pytest.approx(0.2, abs=0.02)
    if kind == "static":
        again = binarized(kind, data)
        np.testing.assert_array_equal(again.test.images, drawn.test.images)  # the same data for all seeds
        assert (drawn.train.images[:100] != drawn.test.images).any()


@pytest.mark.parametrize("kind", ["none", "dynamic", "static"])
def test_what_is_not_held_out_stays_the_test_split(kind: Any) -> None:
    test = grey(100)
    drawn = binarized(kind, Splits(grey(300), test, test))
    assert drawn.parts().keys() == {"train", "test"}


@pytest.mark.parametrize(
    ("options", "wants"),
    [
        (["--objective", "beta_tc", "--posterior", "flow"], "--posterior gaussian"),
        (["--prior", "vamp", "--posterior", "flow"], "--posterior gaussian"),
        (["--prior", "flow", "--latents", 1], "two latents"),
        (["--objective", "miwae", "--samples", 4, "--groups", 3], "equal groups"),
        (["--objective", "factor_vae", "--batch-size", 7], "even --batch-size"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(
    options: list[Any], wants: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(vae, "--dataset", "digits", "--runs", tmp_path, *options)
    message = capsys.readouterr().err.splitlines()[-1]
    assert wants in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("prior", ["flow", "vamp", "mixture"])
def test_a_learnt_prior_and_posterior_are_options(prior: str) -> None:
    posterior = "gaussian" if prior == "vamp" else "flow"
    options = ["--prior", prior, "--posterior", posterior, "--latents", 3, "--pseudo-inputs", 2, "--components", 2]
    config = parsed(vae, *options, "--network", "dense", "--hidden", 4, "--batch-size", 4, "--devices", 1)
    model = build_model(config, SHAPE)
    params, metrics, _ = after_a_step(build_method(config, model, 8), jnp.full((4, *SHAPE), 0.5))
    assert jax.tree.leaves(params["prior"])
    assert all(np.isfinite(value) for value in metrics.values())


def test_what_has_no_meaning_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(vae, "--objective", "dreg", "--warm-up-epochs", 1)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    config = Config(network="dense", schedule="cosine", burda_stages=True)
    with pytest.raises(UserError, match="--schedule cosine: the learning rate has a schedule already"):
        build_method(config, build_model(config, SHAPE), 1000)


def test_the_last_record_is_finite(two_seeds: Path) -> None:
    records = [json.loads(line) for line in (two_seeds / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(records[-1]["loss"]).all()
