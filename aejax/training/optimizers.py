"""Optimisers as a configuration describes them: schedule, clipping and weight decay, in one place."""

from collections.abc import Callable
from typing import Any, Literal

import optax

Schedule = Literal["constant", "cosine", "warmup_cosine"]


def build(config: Any, learning_rate: Any, steps: int, *, b1: float = 0.9, make: Callable = optax.adam) -> Any:
    rate = learning_rate if callable(learning_rate) else scheduled(config.schedule, learning_rate, steps)
    optimizer = make(rate, b1) if make is optax.adam else make(rate)
    return optimizer if config.clip_norm is None else optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def scheduled(schedule: Schedule, peak: float, steps: int) -> optax.ScalarOrSchedule:
    match schedule:
        case "cosine":
            return optax.cosine_decay_schedule(peak, steps)
        case "warmup_cosine":
            return optax.warmup_cosine_decay_schedule(0.0, peak, steps // 20, steps)
    return peak
