"""The training loop: compiled chunks of steps, then evaluation and a checkpoint after each epoch."""

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from aejax import rng
from aejax.data.feeds import Feed, Order, Tree
from aejax.methods.method import Method, State
from aejax.training import batches, nonfinite, processes
from aejax.training.config import OnNonFinite
from aejax.training.interruption import Interrupted, Request
from aejax.training.runs import Run
from aejax.training.seeds import any_seed, mean_and_sd, over_seeds, roots

# Python wakes this often, in seconds, to move the bar and to see whether it is asked to stop.
_CHUNK_SECONDS = 1.0
_FIRST_CHUNK = 8


class Progress(NamedTuple):
    """What training carries from step to step, and what a checkpoint holds.

    Attributes:
      state: the method's own.
      sums: of each metric over the steps of the epoch so far, scalars; without those that were left out.
      skipped: int32 (), how many steps of the epoch were left out, since a metric was not finite.
      in_a_row: int32 (), how many such steps the last ones were.
      failed: int32 (), the step of such kind that ended training, or -1.
    """

    state: State
    sums: dict[str, Array]
    skipped: Array
    in_a_row: Array
    failed: Array


def fit(
    method: Method,
    feed: Feed,
    run: Run,
    *,
    epochs: int,
    seed: int,
    seeds: int | None = None,
    evaluations: Mapping[str, Tree],
    on_epoch: Callable[[State, int], None] | None = None,
) -> State:
    """Trains, from the run's latest checkpoint if it has one.

    Args:
      method: what is learnt.
      feed: the training images.
      run: where metrics and checkpoints go. Metrics of the split "train" are means over the epoch's steps as they went.
        Where it skips steps that are not finite, these count neither there nor in the state, whose next step is another
        batch's, but as "skipped_steps".
      epochs: in all, those of earlier starts included.
      seed: root of all randomness.
      seeds: trains that many runs, with the seeds `seed`, `seed` + 1, ..., in one program; metrics become means over
        them, with their sample standard deviation as name + "_sd", and every array of the state gets them as its first
        axis. None: one run, without the axis.
      evaluations: by the name of the split, uint8 images (n, height, width, channels), or a tree like the feed's, to
        evaluate after each epoch. The lowest "loss" on the first one marks the best checkpoint.
      on_epoch: called as (state, step) after each epoch, to draw pictures.

    Returns:
      The state after the last epoch.

    Raises:
      NonFiniteError: at the first step with a NaN or infinite metric, or where the run skips them at the last of ten in
        a row; the checkpoints stay as they are.
      Interrupted: after Ctrl-C or SIGTERM, with everything saved.
    """
    root = rng.root_key(seed) if seeds is None else roots(seed, seeds)
    replicated = NamedSharding(feed.mesh, PartitionSpec())
    begin, evaluate_batch = functools.partial(start, method, feed), method.evaluate
    if seeds is not None:
        begin = over_seeds(begin, seeds, (0,))
        evaluate_batch = over_seeds(evaluate_batch, seeds, (0, None, None), out_axes=1)
    initial = jax.jit(begin, out_shardings=replicated, compiler_options=run_once(feed.mesh))
    step, progress = run.checkpoints.restore(_abstract(initial, root, replicated)) or (0, initial(root))
    run.log.rewind(step)

    per_epoch = feed.steps_per_epoch
    last_step = epochs * per_epoch
    if step and processes.first():
        what = "complete" if step >= last_step else "resuming"
        print(f"{run.path}: {what}, at step {step} of {last_step}", file=sys.stderr)
    if step >= last_step:
        return progress.state
    blocks = feed.blocks(root, step, last_step)
    block = next(blocks)
    example = (progress, block.images, block.order, root, np.int32(0), np.int32(0))
    steps = compile_steps(method, feed, seeds, run.on_nonfinite).lower(*example).compile()
    evaluate = batches.over_images(evaluate_batch, feed.mesh)
    chunk = _FIRST_CHUNK
    bar = tqdm(total=last_step, initial=step, unit="step", disable=not processes.first())

    with contextlib.closing(blocks), bar:
        while step < last_step:
            epoch = step // per_epoch
            end = (epoch + 1) * per_epoch
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            while step < end:
                chunk, signal_number = _agreed(chunk, run.stop)
                if signal_number:
                    break
                began = time.perf_counter()
                if step == block.stop:
                    block = next(blocks)
                count = min(chunk, end - step, block.stop - step)
                progress = steps(progress, block.images, block.order, root, np.int32(step), np.int32(count))
                failed = np.max(progress.failed) >= 0
                seconds = time.perf_counter() - began
                if failed:
                    raise nonfinite.describe(run, feed, progress.failed, progress.sums, seed)
                step += count
                bar.update(count)
                run.log.scalar("images_per_second", count * feed.batch_size / seconds, step)
                chunk = max(1, int(count * _CHUNK_SECONDS / seconds))
            if step < end:
                run.checkpoints.save(step, progress, None)
                run.checkpoints.wait()
                raise Interrupted(signal_number, step)

            metrics = {"train": mean_and_sd(_means(progress, per_epoch, run.on_nonfinite))}
            if (skipped := int(np.sum(progress.skipped))) and processes.first():
                bar.write(f"epoch {epoch + 1}: {skipped} steps were not finite, and left out", file=sys.stderr)
            for split, images in evaluations.items():
                values = evaluate(progress.state, images)
                metrics[split] = mean_and_sd({name: v.mean(axis=0, dtype=np.float64) for name, v in values.items()})
            run.log.write(step, epoch + 1, metrics)
            judged_by = metrics[next(iter(evaluations), "train")]["loss"]
            run.checkpoints.save(step, progress, judged_by)
            bar.set_postfix({split: f"{values['loss']:.5g}" for split, values in metrics.items()})
            if on_epoch is not None:
                on_epoch(progress.state, step)
    run.checkpoints.wait()
    return progress.state


def start(method: Method, feed: Feed, root: Array) -> Progress:
    """The progress before step 0. Traced."""
    images = feed.zeros()
    state = method.init(rng.stream(root, "initialisation"), images)
    # A weakly typed state would become strongly typed in the first step, and the second would be compiled anew.
    state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype) if x.weak_type else x, state)
    metrics = jax.eval_shape(method.step, state, images, root)[1]
    sums = {name: jnp.zeros((), metric.dtype) for name, metric in metrics.items()}
    return Progress(state, sums, skipped=jnp.int32(0), in_a_row=jnp.int32(0), failed=jnp.int32(-1))


def run_once(mesh: Mesh) -> dict[str, int] | None:
    """Compiler options for a program that is run once: on a CPU, optimising it takes far longer than running it."""
    return {"xla_backend_optimization_level": 0} if mesh.devices.flat[0].platform == "cpu" else None


def compile_steps(
    method: Method, feed: Feed, seeds: int | None = None, on_nonfinite: OnNonFinite = "stop"
) -> jax.stages.Wrapped:
    """One program for any number of steps: (progress, images, order, root, step, count) -> progress.

    Images and order are those of a block of the feed.

    With `seeds`, progress, order and root have them as their first axis; all stop where one of them has to.

    Takes steps `step` ... `step + count - 1`, which must lie in one epoch and in that block; stops early at a step
    with a metric that is not finite, or leaves such steps out, each seed its own, and stops after too many in a row.
    The progress passed in is donated: its memory holds the result.
    """
    patience = nonfinite.PATIENCE[on_nonfinite]

    def steps(progress: Progress, images: Tree, order: Order, root: Array, step: Array, count: Array) -> Progress:
        begins = step % feed.steps_per_epoch == 0
        sums, skipped = jax.tree.map(lambda x: jnp.where(begins, 0, x), (progress.sums, progress.skipped))
        progress = progress._replace(sums=sums, skipped=skipped)

        def more(carry: tuple[Array, Array, Progress]) -> Array:
            return (carry[0] < count) & ~carry[1]

        def one(carry: tuple[Array, Array, Progress]) -> tuple[Array, Array, Progress]:
            i, _, before = carry
            batch = feed.batch(images, order, step + i)
            state, metrics = method.step(before.state, batch, rng.stream(root, "step", step + i))
            finite = jnp.stack([jnp.isfinite(value) for value in metrics.values()]).all()
            in_a_row = jnp.where(finite, 0, before.in_a_row + 1)
            fails = in_a_row >= patience
            if on_nonfinite == "skip":
                state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), state, before.state)
            # The step that ends training counts, so that the sums tell which of its metrics were not finite.
            sums = {name: before.sums[name] + jnp.where(finite | fails, value, 0) for name, value in metrics.items()}
            failed = jnp.where(fails, step + i, -1)
            # Nothing that differs between seeds may be in the condition, or each step would select among carries.
            stop = any_seed(fails, seeds)
            return i + 1, stop, Progress(state, sums, before.skipped + ~finite, in_a_row, failed)

        return jax.lax.while_loop(more, one, (jnp.int32(0), jnp.bool(False), progress))[2]

    if seeds is not None:
        steps = over_seeds(steps, seeds, (0, *feed.seed_axes, 0, None, None))
    return jax.jit(steps, donate_argnums=0, out_shardings=NamedSharding(feed.mesh, PartitionSpec()))


def _agreed(chunk: int, stop: Request) -> tuple[int, int]:
    """Process 0's chunk, as all must take the same steps, and the signal that any process has got, or 0."""
    of_each = processes.gather(chunk, stop.signal_number or 0)
    return int(of_each[0, 0]), int(of_each[:, 1].max())


def _abstract(initial: Callable[[Array], Progress], root: Array, sharding: NamedSharding) -> Progress:
    shapes = jax.eval_shape(initial, root)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def _means(progress: Progress, steps: int, on_nonfinite: OnNonFinite) -> dict[str, np.ndarray]:
    """Of each metric over the epoch's steps: float64, as the sums are shaped; NaN where all steps were left out."""
    skipped = np.asarray(progress.skipped)
    with np.errstate(invalid="ignore"):
        means = {name: np.asarray(total, np.float64) / (steps - skipped) for name, total in progress.sums.items()}
    return means | {"skipped_steps": skipped} if on_nonfinite == "skip" else means
