"""A contender that trains on either feed, with one seed or several at once: `fit` without its log and checkpoints."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.data import load
from aejax.data.feeds import Feed
from aejax.training.config import RunConfig
from aejax.training.devices import make_mesh
from aejax.training.loop import compile_steps, start
from aejax.training.seeds import over_seeds, roots
from aejax.training.splits import open_feed
from experiments.benchmark_jax import SYSTEMS, device_of
from experiments.benchmark_worker import Contender

_LAST = 2**31 - 1
_BLOCKS_AHEAD = 4  # that the streaming feed may have ready or on their way


def build(spec: Mapping[str, Any]) -> Contender:
    """The contender of spec["system"], with spec["seeds"] seeds at once, None for one without the axis.

    A measurement goes on where the last one ended, and so pays for the shuffling of the epochs that it begins. On the
    streaming feed it starts with nothing read ahead, as every epoch of a run that waits for its images does.
    """
    system, seeds = SYSTEMS[spec["system"]], spec["seeds"]
    feed = _feed(spec, make_mesh(spec["devices"], spec["batch_size"], dense=system.dense))
    method = system.method(feed.image_shape)
    root = rng.root_key(spec["seed"]) if seeds is None else roots(spec["seed"], seeds)
    begin = functools.partial(start, method, feed)
    if seeds is not None:
        begin = over_seeds(begin, seeds, (0,))
    progress = jax.jit(begin, out_shardings=NamedSharding(feed.mesh, PartitionSpec()))(root)
    steps = compile_steps(method, feed, seeds)
    blocks = feed.blocks(root, 0, _LAST)
    current, step = next(blocks), 0

    def prepare() -> None:
        nonlocal current, step
        if spec["feed"] == "streaming":
            for _ in range(_BLOCKS_AHEAD):
                step, current = current.stop, next(blocks)

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

    return Contender(block, *device_of(feed.mesh), prepare)


def _feed(spec: Mapping[str, Any], mesh: Mesh) -> Feed:
    """Of spec["images"], an .npy file; or, where that is None, of spec["dataset"] as it lies on the disk."""
    config = RunConfig(feed=spec["feed"], workers=spec["workers"])
    if spec["images"] is not None:
        images = np.load(spec["images"])
    else:
        where = (spec["data_dir"], spec["raw_dir"], spec["image_size"])
        images = load(spec["dataset"], spec["split"], *where, most_bytes=0).images
    return open_feed(config, images, spec["batch_size"], mesh)
