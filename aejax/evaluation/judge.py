"""One table for any trained model, by what the model has: latents, a prior, a density.

Several models of one configuration that differ in their seed give means and standard deviations. What cannot be
computed of a dataset, such as an accuracy without labels, is left out, and `left_out` says why.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from aejax import batching, rng
from aejax.batching import as_float
from aejax.evaluation import (
    classifier,
    image_quality,
    parallel,
    parzen,
    pca,
    prior_match,
    representation,
    sample_quality,
)
from aejax.evaluation.likelihood import active_units, bits_per_dimension
from aejax.evaluation.pca import PCA
from aejax.methods.method import Method, State
from aejax.models.trained import Trained
from aejax.tables import Row, Table, by_seed, joined, mean_of_examples

_BLOCK = 4096  # images whose quality is computed at once, which bounds the memory
CODES, FLOOR = "prior match: codes", "prior match: two prior samples"


class Labelled(Protocol):
    """Images uint8 (n, height, width, channels), with labels (n,), -1 where unknown, or None."""

    @property
    def images(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray | None: ...


class Settings(NamedTuple):
    """How much to compute.

    Attributes:
      nll_samples: latents for the importance-sampled likelihood of an image; 0 leaves it out.
      nll_images: test images, from the first, to estimate it on.
      judge_samples: whether to train a classifier to judge samples by.
      parzen_samples: samples for the Parzen-window estimate; 0 leaves it out.
      representation: whether to probe the latents with labels.
      pca: whether to set PCA with the same number of components next to the reconstructions.
    """

    nll_samples: int = 5000
    nll_images: int = 1000
    judge_samples: bool = True
    parzen_samples: int = 0
    representation: bool = True
    pca: bool = True

    @classmethod
    def of(cls, config: Any) -> "Settings":
        """Reads the settings that are options of an experiment."""
        return cls(config.nll_samples, config.nll_images, config.judge_samples, config.parzen_samples)


def of_splits(method: Method, states: Sequence[State], splits: Mapping[str, Any], mesh: Mesh) -> Table:
    """Averages the method's own metrics over each split: trees of arrays as a feed takes them, by name.

    Of a larger "train" as many rows as "test" has are taken, evenly spread: `left_out` says so.
    """
    evaluate = batching.over_images(method.evaluate, mesh)
    if {"train", "test"} <= set(splits):
        splits = {**splits, "train": evenly_spread(splits["train"], batching.rows_of(splits["test"]))}
    with parallel.bar(len(splits) * len(states), "evaluation", " splits", at_once=True) as bar:

        def of_one(state: State, name: str) -> dict[str, float]:
            bar.set_description(f"evaluation: {name}")
            means = mean_of_examples(evaluate(state, splits[name]))
            bar.update()
            return means

        return {name: by_seed([of_one(state, name) for state in states]) for name in splits}


def evenly_spread(tree: Any, most: int) -> Any:
    """Takes at most this many rows of a tree of arrays, evenly spread over all of them."""
    rows = batching.rows_of(tree)
    if rows <= most:
        return tree
    chosen = np.arange(most) * rows // most
    return jax.tree.map(lambda array: array[chosen], tree)


def judge(
    trained: Sequence[Trained],
    train: Labelled,
    test: Labelled,
    *,
    held_out: Labelled | None = None,
    original: tuple[Labelled, Labelled] | None = None,
    settings: Settings | None = None,
    linear: PCA | None = None,
) -> Table:
    """Judges a model, or one per seed, on the test images.

    Args:
      trained: models of one configuration, one per seed.
      train: what they learnt from; PCA, probes and the classifier are fitted on it.
      test: what is reported.
      held_out: chooses the bandwidth of the Parzen windows; None: `train` does.
      original: train and test images before any binarisation, which samples are compared with; None: as they are.
      settings: how much to compute.
      linear: the `linear_baseline`, where the caller has it already.

    Returns:
      The rows "test" (reconstruction, likelihood, representation), "test: PCA, k components", "samples" next to
      "training images" (their floor), and `CODES` next to `FLOOR`, each where the model has it.
    """
    settings = settings or Settings()
    stages: dict[str, Callable[[], Table]] = {
        "reconstructions": lambda: _reconstructions(trained, train, test, settings, linear),
        "likelihood": lambda: _likelihood(trained, test, settings),
        "representation": lambda: _representation(trained, train, test, settings),
        "prior match": lambda: _prior_match(trained, test),
        "Parzen windows": lambda: _parzen(trained, held_out or train, test, settings),
        "samples": lambda: _samples(trained, *(original or (train, test)), settings),
    }
    return joined(*(stage() for stage in _shown(stages)))


def restorations(
    trained: Sequence[Trained],
    splits: Mapping[str, Labelled],
    baselines: Mapping[str, Callable[[np.ndarray], np.ndarray]],
) -> Table:
    """Judges what a denoiser or super-resolver restores on each split, and on "test" also what costs nothing.

    Args:
      trained: models of one configuration, one per seed; all see the same noise.
      splits: by name, with "test" among them.
      baselines: by name, degraded images (n, h, w, c) in [0, 1] -> restored ones.

    Returns:
      A row for each split, and "test: <name>" for each baseline.
    """
    inputs = trained[0].degrade(splits["test"].images)

    def of_split(name: str) -> Table:
        images = splits[name].images
        return {name: by_seed([quality(one.restore(images), images) for one in trained])}

    def of_baseline(name: str) -> Table:
        return {f"test: {name}": dict(quality(baselines[name](inputs), splits["test"].images))}

    stages = {name: functools.partial(of_split, name) for name in splits}
    stages |= {name: functools.partial(of_baseline, name) for name in baselines}
    return joined(*(stage() for stage in _shown(stages)))


def left_out(
    train: Labelled, test: Labelled, *, latents: bool = True, prior: bool = True, pictures: bool = True
) -> list[str]:
    """Says in one line each what is not computed of a dataset, before anything is trained.

    Args:
      train: what is learnt from.
      test: what is judged.
      latents: whether the models' latents are to be probed.
      prior: whether the models have a prior, and with it samples to judge.
      pictures: whether pictures are compared with images; else predicted labels are, of images with a known one.
    """
    shape, labels = test.images.shape[1:], (train.labels, test.labels)
    found = [image_quality.ssim_needs(shape)] if pictures else []
    found += [representation.needs(shape, *labels)] if latents else []
    found += [sample_quality.needs(shape, *labels)] if prior else []
    notes = [f"left out: {reason}" for reason in found if reason]
    images, judged = (len(part.images) if pictures else _labelled(part) for part in (train, test))
    if judged < len(test.images):
        notes.append(f"left out: {len(test.images) - judged:,} of {len(test.images):,} test images, without a label")
    if images > judged:
        notes.append(
            f'left out: {images - judged:,} of {images:,} training images from the row "train", which is judged on as '
            'many as "test" has, evenly spread'
        )
    return notes


def quality(pictures: np.ndarray, images: np.ndarray) -> dict[str, float]:
    """Averages MSE, PSNR (dB) and, where images are large enough, SSIM over pairs of pictures and uint8 images.

    RGB images also have "psnr_y", the PSNR on their luma.
    """
    blocks = []
    for start in range(0, len(images), _BLOCK):
        picture, image = pictures[start : start + _BLOCK], as_float(images[start : start + _BLOCK])
        values = image_quality.summary(picture, image)
        if image.shape[-1] == 3:
            values["psnr_y"] = np.asarray(image_quality.psnr(image_quality.luma(picture), image_quality.luma(image)))
        blocks.append(values)
    return mean_of_examples({name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]})


def _shown(stages: Mapping[str, Callable[[], Table]]) -> Iterator[Callable[[], Table]]:
    """Yields the stages with a progress bar that names the one at work."""
    with parallel.bar(len(stages), "evaluation", " stages", at_once=True) as bar:
        for name, stage in stages.items():
            bar.set_description(f"evaluation: {name}")
            yield stage
            bar.update()


def linear_baseline(trained: Trained, train: Labelled) -> PCA | None:
    """Fits PCA with as many components as the model has latents; None where it would have no fewer than pixels."""
    components, pixels = trained.latents, math.prod(trained.image_shape)
    return pca.fit(train.images, components) if 0 < components < min(len(train.images), pixels) else None


def _reconstructions(
    trained: Sequence[Trained], train: Labelled, test: Labelled, settings: Settings, linear: PCA | None
) -> Table:
    """Rows of the reconstructions' quality, and of PCA's with as many components as the model has latents."""
    rows: Table = {"test": by_seed([quality(one.reconstruct(test.images), test.images) for one in trained])}
    if settings.pca and linear is None:
        linear = linear_baseline(trained[0], train)
    if linear is not None:
        name = f"test: PCA, {trained[0].latents} components"
        rows[name] = dict(quality(linear.reconstruct(test.images), test.images))
    return rows


def _likelihood(trained: Sequence[Trained], test: Labelled, settings: Settings) -> Table:
    if not settings.nll_samples or not trained[0].has_density:
        return {}
    images = test.images[: settings.nll_images]
    nll = -np.array([one.log_likelihood(images, settings.nll_samples).mean(dtype=np.float64) for one in trained])
    name = f"nll ({settings.nll_samples} latents, {len(images)} images)"
    figures: Row = {name: nll}
    if trained[0].model.likelihood.discrete:
        figures["bits_per_dimension"] = bits_per_dimension(nll, int(np.prod(images.shape[1:])))
    return {"test": figures}


def _representation(trained: Sequence[Trained], train: Labelled, test: Labelled, settings: Settings) -> Table:
    if not (settings.representation and trained[0].has_latents):
        return {}
    return {"test": by_seed([_of_codes(one, train, test) for one in trained])}


def _of_codes(one: Trained, train: Labelled, test: Labelled) -> dict[str, float]:
    codes = _flat(one.encode(test.images))
    row = {"active_units": float(active_units(codes))}
    if representation.needs(test.images.shape[1:], train.labels, test.labels) is None:
        known = _flat(one.encode(train.images)), np.asarray(train.labels), codes, np.asarray(test.labels)
        row |= {
            "knn": representation.knn_accuracy(*known),
            "linear_probe": representation.linear_probe_accuracy(*known),
        }
    return row


def _prior_match(trained: Sequence[Trained], test: Labelled) -> Table:
    if not trained[0].has_prior:
        return {}
    pairs = [_match(one, test) for one in trained]
    return {name: by_seed([pair[name] for pair in pairs]) for name in (CODES, FLOOR)}


def _match(one: Trained, test: Labelled) -> dict[str, dict[str, float]]:
    """Rows of the distances from prior samples of the codes, and of other prior samples: the floor."""
    key = rng.stream(rng.root_key(one.seed), "prior match")
    n, prior = len(test.images), one.model.prior
    draw = jax.jit(prior.sample, static_argnums=2)
    samples, others = (np.asarray(draw(one.params, rng.stream(key, name), n)) for name in ("samples", "floor"))
    rows = {}
    for name, points in {CODES: one.sample_posterior(test.images), FLOOR: others}.items():
        moments = prior_match.moments(points)
        rows[name] = prior_match.distances(rng.stream(key, "distances"), points, samples) | {
            "absolute_mean": float(np.abs(moments["mean"]).mean()),  # signed means would cancel
            "std": float(moments["std"].mean()),
            "kurtosis": float(moments["kurtosis"].mean()),
        }
    return rows


def _parzen(trained: Sequence[Trained], held_out: Labelled, test: Labelled, settings: Settings) -> Table:
    reason = parzen.needs(len(held_out.images), len(test.images))
    if reason or not settings.parzen_samples or not trained[0].has_prior:
        return {}
    rows = []
    for one in trained:
        samples = one.generate(settings.parzen_samples, "parzen")
        bandwidth = parzen.choose_bandwidth(samples, as_float(held_out.images[: parzen.VALIDATION]))
        values = parzen.log_likelihood(samples, as_float(test.images), bandwidth)
        mean, error = parzen.mean_and_standard_error(values)
        rows.append({"parzen": mean, "parzen_standard_error": error, "parzen_bandwidth": bandwidth})
    return {"test": by_seed(rows)}


def _samples(trained: Sequence[Trained], train: Labelled, test: Labelled, settings: Settings) -> Table:
    """Rows of samples and, as the floor, of as many training images, both compared with the test images."""
    reason = sample_quality.needs(test.images.shape[1:], train.labels, test.labels)
    if reason or not (settings.judge_samples and trained[0].has_prior):
        return {}
    labels = np.asarray(train.labels)
    reader = classifier.train(
        rng.stream(rng.root_key(0), "classifier"), train.images, labels, classes=int(labels.max()) + 1
    )
    count = len(test.images)
    features = reader.features(as_float(test.images))

    def figures(pictures: np.ndarray) -> dict[str, float]:
        distance = sample_quality.frechet_distance(features, reader.features(pictures))
        return {"frechet": distance, **sample_quality.class_balance(reader.logits(pictures))}

    return {
        "training images": dict(figures(as_float(train.images[:count]))),
        "samples": by_seed([figures(one.generate(count)) for one in trained]),
    }


def _labelled(part: Labelled) -> int:
    return 0 if part.labels is None else int((np.asarray(part.labels) >= 0).sum())


def _flat(codes: np.ndarray) -> np.ndarray:
    return codes.reshape(len(codes), -1)
