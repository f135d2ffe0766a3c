"""A contender that trains on any feed, with one seed or several at once, as `fit` does without log and checkpoints."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.data.feeds import Feed, device_feed
from aejax.data.streaming import streaming_feed
from aejax.training.config import RunConfig
from aejax.training.devices import make_mesh
from aejax.training.seeds import roots
from aejax.training.steps import compile_steps, initial_progress
from experiments.benchmark.contenders.jax_systems import SYSTEMS, device_of
from experiments.benchmark.harness.worker import Contender

# resident: all images on the devices; streaming: read from a file while training; memory: moved from the host's memory.
FeedName = Literal["resident", "streaming", "memory"]

_LAST = 2**31 - 1
_BLOCKS_AHEAD = 3  # the most that the streaming feed prefetches


def spec_of(
    config: RunConfig, batch_size: int, images: Path, *, system: str, feed: FeedName, seeds: int
) -> dict[str, Any]:
    """The `spec` of `build`, as JSON values: the arguments, and what the configuration says of devices and seeds."""
    return {
        "side": "jax_feeds",
        "system": system,
        "feed": feed,
        "images": str(images),
        "batch_size": batch_size,
        "devices": config.devices,
        "seed": config.seed,
        "seeds": seeds,
    }


def build(spec: Mapping[str, Any]) -> Contender:
    """The contender of spec["system"], with spec["seeds"] seeds at once.

    It trains on spec["images"], an .npy file, by spec["feed"], a FeedName.

    A measurement goes on where the last one ended, and pays for the shuffling of each epoch that it begins. With a
    streaming feed, each measurement starts with an empty prefetch queue and covers whole blocks. Otherwise images that
    were prefetched before the clock started would count as free.
    """
    system, seeds = SYSTEMS[spec["system"]], spec["seeds"]
    feed = _feed(spec, make_mesh(spec["devices"], spec["batch_size"], dense=system.dense))
    method = system.method(feed.image_shape)
    root = roots(spec["seed"], seeds)
    begin = functools.partial(initial_progress, method, feed)
    progress = jax.jit(begin, out_shardings=NamedSharding(feed.mesh, PartitionSpec()))(root)
    steps = compile_steps(method, feed, seeds)
    blocks = feed.blocks(root, 0, _LAST)
    current, step = next(blocks), 0
    unit = current.stop if spec["feed"] != "resident" else 1

    def prepare() -> None:
        nonlocal current, step
        if spec["feed"] != "resident":
            for _ in range(_BLOCKS_AHEAD):
                current = next(blocks)
            step = current.stop

    def block(count: int) -> None:
        nonlocal progress, current, step
        end = step + count
        while step < end:
            if step == current.stop:
                current = next(blocks)
            epoch_end = (step // feed.steps_per_epoch + 1) * feed.steps_per_epoch
            now = min(end, current.stop, epoch_end) - step
            progress = steps(progress, current.images, current.order, root, np.int32(step), np.int32(now))
            step += now
        jax.block_until_ready(progress)
        if (failed := int(np.max(progress.failed))) >= 0:
            raise FloatingPointError(f"a metric was NaN or infinite at step {failed}")

    return Contender(block, *device_of(feed.mesh), prepare, unit)


def _feed(spec: Mapping[str, Any], mesh: Mesh) -> Feed:
    images = np.load(spec["images"], mmap_mode="r" if spec["feed"] == "streaming" else None)
    open_feed = device_feed if spec["feed"] == "resident" else streaming_feed
    return open_feed(images, spec["batch_size"], mesh)
