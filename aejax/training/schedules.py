"""Learning rates by the step, named as on a command line."""

from typing import Literal

import optax

Schedule = Literal["constant", "cosine", "warmup_cosine"]


def scheduled(schedule: Schedule, peak: float, steps: int) -> optax.ScalarOrSchedule:
    """The learning rate by the step, over a training of so many steps.

    Args:
      schedule: constant; "cosine", from the peak to 0 along half a cosine (Loshchilov and Hutter 2017, equation 5,
        without restarts); or "warmup_cosine", the same after a linear rise from 0 over 5% of the steps.
      peak: the largest learning rate.
      steps: in all.
    """
    match schedule:
        case "cosine":
            return optax.cosine_decay_schedule(peak, steps)
        case "warmup_cosine":
            return optax.warmup_cosine_decay_schedule(0.0, peak, steps // 20, steps)
    return peak
