"""Judging the variational experiments' models: likelihood, latents and samples, over seeds, and their pictures."""

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from aejax import plots, rng
from aejax.data.feeds import as_float, check_batch
from aejax.evaluation import classifier, representation, sample_quality
from aejax.evaluation.likelihood import active_units, importance_sampled_nll
from aejax.methods import variational
from aejax.methods.method import Method, TrainState
from aejax.methods.variational import Model
from aejax.nn.mlp import DenseDecoder
from aejax.training.batches import drawn
from aejax.training.devices import make_mesh
from aejax.training.report import Table
from aejax.training.runs import Run, open_run
from aejax.training.seeds import mean_and_sd
from aejax.training.splits import Splits
from experiments.variational import VariationalConfig, binarized, each_seed, method, train


def train_and_judge(
    config: VariationalConfig, experiment: str, model: Model, optimizer: optax.GradientTransformation, grey: Splits
) -> None:
    """The run of an experiment, from its training to its table: `grey` are the images before any binarisation."""
    assert config.batch_size
    assert config.latents
    mesh = make_mesh(config.devices, config.batch_size, dense=isinstance(model.decoder, DenseDecoder))
    check_batch(grey.train.images, config.batch_size, mesh)
    data = binarized(config, grey)
    learner = method(config, model, optimizer, len(data.train.images), config.latents)
    with open_run(config, experiment) as run:
        states = train(config, run, data, mesh, model, learner)
        figures(config, run, data, mesh, model, states)
        splits = judge(config, data, grey, mesh, model, learner, states)
        run.finish(config, mesh, splits, curves=("loss", "distortion", "rate"))


def judge(
    config: VariationalConfig,
    data: Splits,
    grey: Splits,
    mesh: Mesh,
    model: Model,
    learner: Method,
    states: TrainState,
) -> Table:
    """The mean and sd over seeds of all metrics: on each split, and on the test split what costs more.

    `data` is what is modelled, `grey` the images before any binarisation, which samples are compared with: these are
    the expected pixels.
    """
    evaluate = each_seed(config, learner.evaluate, mesh)
    rows = {}
    for split, dataset in data.parts().items():
        values = evaluate(states, dataset.images)
        rows[split] = mean_and_sd({name: v.mean(axis=0, dtype=np.float64) for name, v in values.items()})
    if config.nll_samples:
        nll = each_seed(config, importance_sampled_nll(model, config.nll_samples), mesh, batch_size=20)
        estimates = nll(states, data.test.images[: config.nll_images])
        rows["test"] |= mean_and_sd({"nll": estimates.mean(axis=0, dtype=np.float64)})

    encode = each_seed(config, variational.encode(model), mesh)
    test_means = encode(states, data.test.images)[0]
    rows["test"] |= mean_and_sd({"active_units": np.array([active_units(m) for m in _seeds_first(test_means)])})
    if data.train.labels is not None and data.test.labels is not None and np.ptp(data.train.labels):
        train_means = encode(states, data.train.images)[0]
        means = zip(_seeds_first(train_means), _seeds_first(test_means), strict=True)
        known = [_of_labels(a, data.train.labels, b, data.test.labels) for a, b in means]
        rows["test"] |= mean_and_sd({name: np.array([row[name] for row in known]) for name in known[0]})
        if config.judge_samples and min(data.test.images.shape[1:3]) >= 8:
            rows |= _of_samples(config, grey, data.train.labels, model, states)
    return rows


def _of_labels(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> dict[str, float]:
    return {
        "knn": representation.knn_accuracy(train, labels, test, test_labels),
        "linear_probe": representation.linear_probe_accuracy(train, labels, test, test_labels),
    }


def _of_samples(
    config: VariationalConfig, grey: Splits, labels: np.ndarray, model: Model, states: TrainState
) -> dict[str, dict[str, float]]:
    """Rows for test images, for as many training images, which are the floor, and for samples."""
    judge = classifier.train(
        rng.stream(rng.root_key(0), "classifier"), grey.train.images, labels, classes=int(labels.max()) + 1
    )
    real = as_float(grey.test.images)
    count = len(real)
    features = judge.features(real)

    def figures(pictures: np.ndarray) -> dict[str, float]:
        distance = sample_quality.frechet_distance(features, judge.features(pictures))
        return {"frechet": distance, **sample_quality.class_balance(judge.logits(pictures))}

    per_seed = [figures(samples(config, model, states, seed, count)) for seed in range(config.seeds)]
    floor = figures(as_float(grey.train.images[:count]))
    return {
        "training images": floor,
        "samples": mean_and_sd({name: np.array([row[name] for row in per_seed]) for name in floor}),
    }


def samples(config: VariationalConfig, model: Model, states: TrainState, seed: int, count: int) -> np.ndarray:
    """Pictures decoded from the prior by one of the seeds, 0 for the first: (count, height, width, channels)."""
    state = one_seed(states, seed)
    root = rng.stream(rng.root_key(config.seed + seed), "samples")
    return drawn(variational.generate(model, latents_of(state)), state, root, count)


def figures(config: VariationalConfig, run: Run, data: Splits, mesh: Mesh, model: Model, states: TrainState) -> None:
    """Reconstructions, and samples from the prior, of the first seed."""
    examples = data.test.one_per_class()
    reconstruct = each_seed(config, variational.reconstruct(model), mesh)
    rows = {"input": as_float(examples), "reconstruction": reconstruct(states, examples)[:, 0]}
    run.figure("reconstructions", plots.image_grid(rows, f"{config.dataset}, test set"))
    pictures = samples(config, model, states, 0, 60)
    run.figure("samples", plots.mosaic(pictures, columns=12, title="decoded from the prior"))


def one_seed(states: TrainState, seed: int) -> TrainState:
    """The state of one of the seeds, without their axis."""
    return jax.tree.map(lambda x: x[seed], states)


def latents_of(state: TrainState) -> int:
    """The size of the latent space of trained params."""
    return state.params["encoder"]["params"]["mean"]["kernel"].shape[-1]


def _seeds_first(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, 1, 0)
