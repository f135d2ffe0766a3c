"""Training steps: many of them as one compiled program, over the blocks of a feed."""

from collections.abc import Generator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.data.feeds import Block, Feed, Order, Tree
from aejax.methods.method import Method, State
from aejax.training import nonfinite
from aejax.training.config import OnNonFinite
from aejax.training.seeds import any_seed, over_seeds


class Progress(NamedTuple):
    """What training carries from step to step, and what a checkpoint holds. Every array has the seeds as first axis.

    Attributes:
      state: the method's own.
      sums: the sum of each metric over the epoch's steps so far, (seeds,); skipped steps do not count.
      skipped: int32 (seeds,), the number of steps of the epoch that were skipped, because a metric was not finite.
      consecutive: int32 (seeds,), how many of the most recent steps were not finite.
      failed: int32 (seeds,), the step that was not finite and ended training, or -1.
    """

    state: State
    sums: dict[str, Array]
    skipped: Array
    consecutive: Array
    failed: Array


class Steps:
    """Takes a run's steps in order, by one compiled program, over the blocks of its feed. To be closed.

    Attributes:
      feed: the training images.
      progress: after the steps taken so far.
      step: the next one.
    """

    def __init__(
        self,
        method: Method,
        feed: Feed,
        root: Array,
        progress: Progress,
        first: int,
        last: int,
        on_nonfinite: OnNonFinite = "stop",
    ) -> None:
        """Compiles steps `first` ... `last - 1` of the seeds whose root keys are `root`, (seeds,)."""
        self.feed, self.progress, self.step = feed, progress, first
        self._root = root
        self._blocks: Generator[Block] = feed.blocks(root, first, last)
        self._block = next(self._blocks)
        program = compile_steps(method, feed, root.shape[0], on_nonfinite)
        self._run_steps = program.lower(*self._arguments(0)).compile()

    def advance(self, at_most: int) -> int:
        """Takes up to `at_most` steps, but none of another epoch or block; returns the number taken, at least 1."""
        if self.step == self._block.stop:
            self._block = next(self._blocks)
        per_epoch = self.feed.steps_per_epoch
        epoch_end = (self.step // per_epoch + 1) * per_epoch
        count = min(at_most, epoch_end - self.step, self._block.stop - self.step)
        self.progress = self._run_steps(*self._arguments(count))
        self.step += count
        return count

    def failed(self) -> bool:
        """Whether a step that was not finite has ended training. Waits for the steps taken."""
        return bool(np.max(self.progress.failed) >= 0)

    def close(self) -> None:
        """Ends the feed's reading."""
        self._blocks.close()

    def _arguments(self, count: int) -> tuple[Progress, Tree, Order, Array, np.int32, np.int32]:
        block = self._block
        return self.progress, block.images, block.order, self._root, np.int32(self.step), np.int32(count)


def initial_progress(method: Method, feed: Feed, root: Array) -> Progress:
    """The progress before step 0 of the seeds whose root keys are `root`, (seeds,). Traced."""
    return over_seeds(lambda one: _initial_progress_of_one(method, feed, one), root.shape[0], (0,))(root)


def _initial_progress_of_one(method: Method, feed: Feed, root: Array) -> Progress:
    images = feed.zeros()
    state = method.init(rng.stream(root, "initialisation"), images)
    # A weakly typed state would become strongly typed in the first step, and the second would be compiled anew.
    state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype) if x.weak_type else x, state)
    metrics = jax.eval_shape(method.step, state, images, root)[1]
    sums = {name: jnp.zeros((), metric.dtype) for name, metric in metrics.items()}
    return Progress(state, sums, skipped=jnp.int32(0), consecutive=jnp.int32(0), failed=jnp.int32(-1))


def initialise(method: Method, feed: Feed, root: Array) -> Progress:
    """Computes `initial_progress` on the feed's devices."""
    program = jax.jit(
        lambda root: initial_progress(method, feed, root),
        out_shardings=NamedSharding(feed.mesh, PartitionSpec()),
        compiler_options=unoptimised(feed.mesh),
    )
    return program(root)


def unoptimised(mesh: Mesh) -> dict[str, int] | None:
    """Compiler options for a program that is run once: on a CPU, optimising it takes far longer than running it."""
    return {"xla_backend_optimization_level": 0} if mesh.devices.flat[0].platform == "cpu" else None


def compile_steps(method: Method, feed: Feed, seeds: int = 1, on_nonfinite: OnNonFinite = "stop") -> jax.stages.Wrapped:
    """One program for any number of steps: (progress, images, order, root, step, count) -> progress.

    Images and order are those of a block of the feed. Progress, order and root have the seeds as their first axis; all
    seeds stop where one of them has to.

    Takes steps `step` ... `step + count - 1`, which must lie in one epoch and in that block. Stops early at a step with
    a metric that is not finite; or skips such steps, each seed its own, and stops after too many in a row. The progress
    passed in is donated: its memory holds the result.
    """
    patience = nonfinite.PATIENCE[on_nonfinite]

    def run_steps(progress: Progress, images: Tree, order: Order, root: Array, step: Array, count: Array) -> Progress:
        is_first = step % feed.steps_per_epoch == 0
        sums, skipped = jax.tree.map(lambda x: jnp.where(is_first, 0, x), (progress.sums, progress.skipped))
        progress = progress._replace(sums=sums, skipped=skipped)

        def keep_going(carry: tuple[Array, Array, Progress]) -> Array:
            i, stop, _ = carry
            return (i < count) & ~stop

        def one_step(carry: tuple[Array, Array, Progress]) -> tuple[Array, Array, Progress]:
            i, _, progress = carry
            batch = feed.augmented(feed.batch(images, order, step + i), root, step + i)
            state, metrics = method.step(progress.state, batch, rng.stream(root, "step", step + i))
            finite = jnp.stack([jnp.isfinite(value) for value in metrics.values()]).all()
            consecutive = jnp.where(finite, 0, progress.consecutive + 1)
            fails = consecutive >= patience
            if on_nonfinite == "skip":
                state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), state, progress.state)
            # The step that ends training counts, so that the sums tell which of its metrics were not finite.
            sums = {name: progress.sums[name] + jnp.where(finite | fails, value, 0) for name, value in metrics.items()}
            failed = jnp.where(fails, step + i, -1)
            # Nothing that differs between seeds may be in the condition, or each step would select among carries.
            stop = any_seed(fails, seeds)
            return i + 1, stop, Progress(state, sums, progress.skipped + ~finite, consecutive, failed)

        return jax.lax.while_loop(keep_going, one_step, (jnp.int32(0), jnp.bool(False), progress))[2]

    over_all = over_seeds(run_steps, seeds, (0, *feed.seed_axes, 0, None, None))
    return jax.jit(over_all, donate_argnums=0, out_shardings=NamedSharding(feed.mesh, PartitionSpec()))
