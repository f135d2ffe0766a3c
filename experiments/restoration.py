"""What denoising and super-resolution share: training a network to undo a corruption, and judging what it restores."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from aejax import plots
from aejax.corruptions import Corruption
from aejax.data.feeds import as_float
from aejax.evaluation import image_quality
from aejax.methods import reconstruction
from aejax.methods.method import TrainState, clipped
from aejax.pixels import Pixels
from aejax.training.batches import over_images
from aejax.training.config import RunConfig, above, at_least
from aejax.training.loop import fit
from aejax.training.optimizers import Schedule, scheduled
from aejax.training.report import mean_of_examples
from aejax.training.runs import Run
from aejax.training.splits import Splits, open_feed

_BLOCK = 5000  # images whose quality is computed at once, which bounds the memory


@dataclass(frozen=True, kw_only=True)
class RestorationConfig(RunConfig):
    epochs: int | None = at_least(1, None)
    """passes over the training images; None: the network's own"""
    batch_size: int | None = at_least(1, None)
    """images per step, over all devices; None: the network's own"""
    learning_rate: float | None = above(0, None)
    """of Adam; None: the network's own"""
    schedule: Schedule | None = None  # type: ignore[assignment]
    """of the learning rate: constant; falling to 0 along a cosine; or rising for 5% of the steps before it falls. None:
    the network's own"""


Baseline = Callable[[np.ndarray], np.ndarray]
"""Degraded images, float32 in [0, 1], to restored ones."""


class Restorer(NamedTuple):
    """A trained network. All take uint8 images (n, height, width, channels).

    Attributes:
      degrade: clean images -> what the network gets to see, with noise that is the same at every call.
      restore: clean images -> what it makes of that, in [0, 1].
      apply: inputs -> what it makes of them as they are.
      evaluate: clean images -> the method's metrics, one value per image each.
    """

    degrade: Callable[[np.ndarray], np.ndarray]
    restore: Callable[[np.ndarray], np.ndarray]
    apply: Callable[[np.ndarray], np.ndarray]
    evaluate: Callable[[np.ndarray], dict[str, np.ndarray]]


def train(
    config: RestorationConfig,
    run: Run,
    data: Splits,
    mesh: Mesh,
    network: nn.Module,
    corrupt: Corruption,
    pixels: Pixels,
) -> Restorer:
    """Trains the network to undo the corruption, or takes it from the run's checkpoint."""
    assert config.epochs
    assert config.batch_size
    assert config.learning_rate
    assert config.schedule
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    steps = config.epochs * feed.steps_per_epoch
    rate = scheduled(config.schedule, config.learning_rate, steps)
    optimizer = clipped(optax.adam(rate), config.clip_norm)
    method = reconstruction.autoencoder(network, optimizer, corrupt, pixels)
    restore = over_images(reconstruction.reconstruct(network, corrupt, pixels), mesh)
    examples = data.test.one_per_class()

    def draw(states: list[TrainState], step: int) -> None:
        pictures = np.concatenate([restore(states[0], examples), as_float(examples)])
        run.log.picture("restorations", plots.tile(pictures, columns=len(examples)), step)

    def degraded(state: None, images: Array, key: Array) -> Array:
        return corrupt(key, images)

    (state,) = fit(
        method,
        feed,
        run,
        epochs=config.epochs,
        seed=config.seed,
        evaluations={"held_out": data.held_out.images},
        on_epoch=draw,
    )
    return Restorer(
        functools.partial(over_images(degraded, mesh), None),
        functools.partial(restore, state),
        functools.partial(over_images(reconstruction.reconstruct(network, pixels=pixels), mesh), state),
        functools.partial(over_images(method.evaluate, mesh), state),
    )


def quality(pictures: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """MSE, PSNR and SSIM, and PSNR on Y for RGB: float pictures and uint8 images -> one value per image each."""
    blocks = []
    for start in range(0, len(images), _BLOCK):
        picture, image = pictures[start : start + _BLOCK], as_float(images[start : start + _BLOCK])
        values = image_quality.summary(picture, image)
        if image.shape[-1] == 3:
            values["psnr_y"] = np.asarray(image_quality.psnr(image_quality.luma(picture), image_quality.luma(image)))
        blocks.append(values)
    return {name: np.concatenate([values[name] for values in blocks]) for name in blocks[0]}


def table(restorer: Restorer, data: Splits, baselines: Mapping[str, Baseline]) -> dict[str, dict[str, float]]:
    """The means of all metrics on each split, and of the baselines on the test split."""
    rows = {}
    for split, dataset in data._asdict().items():
        values = restorer.evaluate(dataset.images) | quality(restorer.restore(dataset.images), dataset.images)
        rows[split] = mean_of_examples(values)
    inputs = restorer.degrade(data.test.images)
    for name, baseline in baselines.items():
        rows[f"test: {name}"] = mean_of_examples(quality(baseline(inputs), data.test.images))
    return rows
