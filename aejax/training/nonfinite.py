"""Steps whose loss or gradient is NaN or infinite: training ends there, or goes on without them."""

import math

import jax
import numpy as np

from aejax import rng
from aejax.data.feeds import Feed
from aejax.training import distributed
from aejax.training.config import OnNonFinite
from aejax.training.runs import Run, write_json

PATIENCE: dict[OnNonFinite, int] = {"stop": 1, "skip": 10}
"""So many such steps in a row end training."""


class NonFiniteError(Exception):
    """A metric was NaN or infinite; the message says at which step, and which checkpoint is the last good one."""


def names(sums: dict[str, jax.Array], seed: int) -> list[str]:
    """The metrics whose sum, (seeds,), is not finite for the seed of this index."""
    return [name for name, total in sums.items() if not math.isfinite(np.asarray(total)[seed])]


def describe(run: Run, feed: Feed, failed: jax.Array, sums: dict[str, jax.Array], seed: int) -> NonFiniteError:
    """The error for a step that ended training; what is needed to repeat it goes to nonfinite.json in the run's folder.

    Args:
      run: is named, with its last good checkpoint.
      feed: says which images the step saw.
      failed: the step or -1, (seeds,). The first seed that failed is described.
      sums: the sums of the metrics up to and including that step, (seeds,).
      seed: the run's first seed.
    """
    steps = np.asarray(failed)
    which = int(np.argmax(steps >= 0))
    step, seed = int(steps[which]), seed + which
    metrics = names(sums, which)
    images = feed.indices(rng.root_key(seed), step).tolist()
    if distributed.first():
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
