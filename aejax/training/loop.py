"""The training loop: compiled chunks of steps, then evaluation and a checkpoint after each epoch.

`train` is the bare loop; `fit` adds what a run in a folder has: checkpoints, metrics, evaluation and a progress bar.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from aejax import batching
from aejax.data.feeds import Feed, Tree
from aejax.errors import UserError
from aejax.methods.method import Method, State
from aejax.tables import mean_and_sd
from aejax.training import contract, distributed, fingerprints, nonfinite
from aejax.training.config import OnNonFinite
from aejax.training.interruption import Interrupted, StopRequest
from aejax.training.runs import Run
from aejax.training.seeds import over_seeds, roots
from aejax.training.steps import Progress, Steps, initial_progress, initialise, unoptimised

# Python wakes this often, in seconds, to move the bar and to see whether it is asked to stop.
_CHUNK_SECONDS = 1.0
_FIRST_CHUNK = 8


def fit(
    method: Method,
    feed: Feed,
    run: Run,
    *,
    epochs: int,
    seed: int,
    seeds: int = 1,
    evaluations: Mapping[str, Tree],
    on_epoch: Callable[[list[State], int], None] | None = None,
) -> list[State]:
    """Trains in a run's folder, from the run's latest checkpoint if it has one.

    Args:
      method: what is learnt, and how.
      feed: the training images.
      run: the folder for metrics and checkpoints. Metrics of the split "train" are means over the epoch's steps, each
        before its update. A skipped step changes neither metrics nor state, and counts as one of "skipped_steps".
      epochs: passes over the training images in all, including those of earlier starts.
      seed: root of all randomness.
      seeds: trains `seed`, `seed` + 1, ... in one program; recorded metrics are then means, with name + "_sd".
      evaluations: arrays like the feed's to evaluate after each epoch, by the name of their split. The lowest "loss" on
        the first one marks the best checkpoint.
      on_epoch: called as (one state per seed, step) after each epoch, to draw pictures.

    Returns:
      The state after the last epoch of each seed.

    Raises:
      NonFiniteError: at the first step with a NaN or infinite metric, or at the tenth in a row of a run that skips.
      Interrupted: after Ctrl-C or SIGTERM, with everything saved.
      UserError: if the run was begun with another method or has been trained for more epochs.
    """
    contract.check(method, feed)
    run.confirm(fingerprints.of_training(method, feed, seed, seeds))
    root = roots(seed, seeds)
    last_step = epochs * feed.steps_per_epoch
    step, progress = restore_or_start(method, feed, run, root, last_step)
    evaluate = _evaluation(method, feed, seeds, evaluations)
    # Stopped between an epoch's last step and the end of its evaluation, a run has no metrics of that epoch.
    unevaluated = step > 0 and step % feed.steps_per_epoch == 0 and not _has_metrics(run, step)
    if step >= last_step and not unevaluated:
        return _one_per_seed(progress.state, seeds, feed.mesh)
    with tqdm(total=last_step, initial=step, unit="step", disable=not distributed.first()) as bar:
        if unevaluated:
            with run.stop.deferred():
                finish_epoch(progress, step, feed, run, bar, evaluate)
        if step < last_step:
            steps = Steps(method, feed, root, progress, step, last_step, run.on_nonfinite)
            with contextlib.closing(steps), run.stop.deferred():
                chunk = _FIRST_CHUNK
                while steps.step < last_step:
                    bar.set_description(f"epoch {steps.step // feed.steps_per_epoch + 1}/{epochs}")
                    chunk = run_epoch(steps, run, bar, seed, chunk)
                    finish_epoch(steps.progress, steps.step, feed, run, bar, evaluate)
                    if on_epoch is not None:
                        on_epoch(_one_per_seed(steps.progress.state, seeds, feed.mesh), steps.step)
                run.checkpoints.wait()
            progress = steps.progress
    run.checkpoints.wait()
    return _one_per_seed(progress.state, seeds, feed.mesh)


def train(method: Method, feed: Feed, root: Array, steps: int) -> State:
    """Trains without a folder, a progress bar or an evaluation: the state that `fit` reaches after as many steps.

    Args:
      method: what is learnt, and how.
      feed: the training images.
      root: the run's root key, `rng.root_key(seed)`.
      steps: the number of steps in all.

    Raises:
      NonFiniteError: at the first step with a NaN or infinite metric.
    """
    progress = initialise(method, feed, root[None])
    if not steps:
        return _one_per_seed(progress.state, 1, feed.mesh)[0]
    with contextlib.closing(Steps(method, feed, root[None], progress, 0, steps)) as loop:
        while loop.step < steps:
            loop.advance(steps - loop.step)
            if loop.failed():
                names = " and ".join(nonfinite.names(loop.progress.sums, 0))
                raise nonfinite.NonFiniteError(f"{names} not finite at step {int(loop.progress.failed[0])}")
    return _one_per_seed(loop.progress.state, 1, feed.mesh)[0]


def restore_or_start(method: Method, feed: Feed, run: Run, root: Array, last_step: int) -> tuple[int, Progress]:
    """The step and progress of the run's latest checkpoint, or of its beginning where it has none."""
    replicated = NamedSharding(feed.mesh, PartitionSpec())
    shapes = jax.eval_shape(lambda: initial_progress(method, feed, root))
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated), shapes)
    restored = run.checkpoints.restore(like)
    step, progress = restored or (0, initialise(method, feed, root))
    if restored is None:
        contract.check_finite(getattr(progress.state, "params", ()))
    if step > last_step:
        raise UserError(
            f"{run.path} has been trained for {step // feed.steps_per_epoch} epochs: set --epochs to at least that, or "
            "choose another --name"
        )
    run.log.rewind(step, feed.steps_per_epoch)
    if step and distributed.first():
        what = "complete" if step >= last_step else "resuming"
        print(f"{run.path}: {what}, at step {step} of {last_step}", file=sys.stderr)
    return step, progress


def run_epoch(steps: Steps, run: Run, bar: tqdm, seed: int, chunk: int) -> int:
    """Takes the rest of an epoch's steps, `chunk` at a time at first; returns the chunk to go on with.

    Raises:
      NonFiniteError: as `fit` does.
      Interrupted: once a checkpoint of the last step taken is on the disk.
    """
    per_epoch = steps.feed.steps_per_epoch
    end = (steps.step // per_epoch + 1) * per_epoch
    while steps.step < end:
        chunk, signal_number = _agreed(chunk, run.stop)
        if signal_number:
            run.checkpoints.save(steps.step, steps.progress, None)
            run.checkpoints.wait()
            raise Interrupted(signal_number, steps.step)
        began = time.perf_counter()
        count = steps.advance(chunk)
        failed = steps.failed()  # waits for the steps
        seconds = time.perf_counter() - began
        if failed:
            raise nonfinite.describe(run, steps.feed, steps.progress.failed, steps.progress.sums, seed)
        bar.update(count)
        run.log.scalar("images_per_second", count * steps.feed.batch_size / seconds, steps.step)
        chunk = max(1, int(count * _CHUNK_SECONDS / seconds))
    return chunk


def finish_epoch(
    progress: Progress,
    step: int,
    feed: Feed,
    run: Run,
    bar: tqdm,
    evaluate: Callable[[State], Iterator[tuple[str, dict[str, float]]]],
) -> None:
    """Evaluates after the epoch that ends before `step`, records its metrics and saves a checkpoint.

    Raises:
      Interrupted: in the middle of an evaluation, once a checkpoint is on the disk.
    """
    epoch = step // feed.steps_per_epoch
    metrics = {"train": mean_and_sd(_means(progress, feed.steps_per_epoch, run.on_nonfinite))}
    if (skipped := int(np.sum(progress.skipped))) and distributed.first():
        bar.write(f"epoch {epoch}: {skipped} steps were not finite, and left out", file=sys.stderr)
    try:
        # Several processes evaluate together, and must not part in the middle of it.
        with run.stop.immediate() if distributed.count() == 1 else contextlib.nullcontext():
            evaluated = dict(evaluate(progress.state))
    except Interrupted as stopped:
        run.checkpoints.save(step, progress, None)
        run.checkpoints.wait()
        raise Interrupted(stopped.signal_number, step) from None
    judged_by = next(iter(evaluated.values()), metrics["train"])
    metrics |= evaluated
    run.log.write(step, epoch, metrics)
    run.checkpoints.save(step, progress, judged_by["loss"])
    bar.set_postfix({split: f"{values['loss']:.5g}" for split, values in metrics.items()})


def _one_per_seed(states: State, seeds: int, mesh: Mesh) -> list[State]:
    """States with the seeds as their first axis -> a list of states without it."""
    program = jax.jit(
        lambda tree: [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(seeds)],
        out_shardings=NamedSharding(mesh, PartitionSpec()),
        compiler_options=unoptimised(mesh),
    )
    return program(states)


def _evaluation(
    method: Method, feed: Feed, seeds: int, evaluations: Mapping[str, Tree]
) -> Callable[[State], Iterator[tuple[str, dict[str, float]]]]:
    """States with the seeds' axis -> the name of each split and the means of its metrics, one split after the other."""
    evaluate = batching.over_images(over_seeds(method.evaluate, seeds, (0, None, None), out_axes=1), feed.mesh)

    def run(states: State) -> Iterator[tuple[str, dict[str, float]]]:
        for split, images in evaluations.items():
            values = evaluate(states, images)
            yield split, mean_and_sd({name: v.mean(axis=0, dtype=np.float64) for name, v in values.items()})

    return run


def _has_metrics(run: Run, step: int) -> bool:
    """What process 0 says, which alone writes them."""
    return bool(distributed.gather(run.log.has(step))[0, 0])


def _agreed(chunk: int, stop: StopRequest) -> tuple[int, int]:
    """Process 0's chunk, as all must take the same steps, and the signal that any process has got, or 0."""
    of_each = distributed.gather(chunk, stop.signal_number or 0)
    return int(of_each[0, 0]), int(of_each[:, 1].max())


def _means(progress: Progress, steps: int, on_nonfinite: OnNonFinite) -> dict[str, np.ndarray]:
    """The mean of each metric over the epoch's steps: float64 (seeds,); NaN where all steps were skipped."""
    skipped = np.asarray(progress.skipped)
    with np.errstate(invalid="ignore"):
        means = {name: np.asarray(total, np.float64) / (steps - skipped) for name, total in progress.sums.items()}
    return means | {"skipped_steps": skipped} if on_nonfinite == "skip" else means
