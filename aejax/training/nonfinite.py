"""Steps whose loss or gradient is NaN or infinite: training ends there, or goes on without them."""

import math

import jax
import numpy as np

from aejax import rng
from aejax.data.feeds import Feed
from aejax.training import processes
from aejax.training.config import OnNonFinite
from aejax.training.runs import Run, write_json

PATIENCE: dict[OnNonFinite, int] = {"stop": 1, "skip": 10}
"""So many such steps in a row end training."""


class NonFiniteError(Exception):
    """A metric was NaN or infinite; the message says at which step, and which checkpoint is the last good one."""


def describe(run: Run, feed: Feed, failed: jax.Array, sums: dict[str, jax.Array], seed: int) -> NonFiniteError:
    """The error for a step that ended training; what is needed to repeat it goes to nonfinite.json in the run's folder.

    Args:
      run: is named, with its last good checkpoint.
      feed: says which images the step saw.
      failed: the step or -1: (), or (seeds,) for the seeds `seed`, `seed` + 1, ..., the first of which is described.
      sums: of the metrics up to that step and with it, shaped as `failed`.
      seed: of the run.
    """
    steps = np.atleast_1d(np.asarray(failed))
    which = int(np.argmax(steps >= 0))
    step, seed = int(steps[which]), seed + which
    metrics = [name for name, total in sums.items() if not math.isfinite(np.atleast_1d(np.asarray(total))[which])]
    images = feed.indices(rng.root_key(seed), step).tolist()
    if processes.first():
        write_json(run.path / "nonfinite.json", {"step": step, "seed": seed, "metrics": metrics, "images": images})
    kept = run.checkpoints.steps()
    good = f"the last good checkpoint, of step {max(kept)}, is kept" if kept else "no checkpoint had been saved before"
    again, remedy = "", ", or --on-nonfinite skip"
    if run.on_nonfinite == "skip":
        again, remedy = f", as {PATIENCE['skip'] - 1} before it that were left out", ""
    return NonFiniteError(
        f"{' and '.join(metrics)} not finite at step {step} of seed {seed} in {run.path}{again} (which images it saw: "
        f"nonfinite.json there); {good}; try a lower learning rate, --clip-norm 1{remedy}"
    )
