"""Optimisers from a run's options: learning rate by the step, clipping and weight decay."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import optax.contrib

from aejax.errors import UserError
from aejax.training.config import RunConfig, Schedule


def build(
    config: RunConfig,
    learning_rate: float | optax.Schedule,
    steps: int,
    *,
    b1: float | None = None,
    make: Callable[..., optax.GradientTransformation] = optax.adam,
) -> optax.GradientTransformation:
    """Builds an optimiser with the run's --schedule, --clip-norm and --weight-decay.

    Gradients are clipped by their global norm first (Pascanu et al. 2013, https://arxiv.org/abs/1211.5063, algorithm
    1). The weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101,
    algorithm 2): with Adam, the result is AdamW.

    Args:
      config: the options.
      learning_rate: the largest learning rate; or a schedule, step -> learning rate, in place of --schedule.
      steps: the number of training steps, which --schedule spreads over.
      b1: the decay of Adam's first moment; None: as `make` has it.
      make: learning rate -> the optimiser, whose updates must be proportional to the learning rate.

    Raises:
      UserError: for a learning rate that is a schedule, together with --schedule.
    """
    if callable(learning_rate):
        if config.schedule != "constant":
            raise UserError(
                f"--schedule {config.schedule}: the learning rate has a schedule already: leave the option out"
            )
        rate: optax.ScalarOrSchedule = learning_rate
    else:
        rate = scheduled(config.schedule, learning_rate, steps)
    options = {} if b1 is None else {"b1": b1}
    if config.weight_decay:
        # `make` turns the sign of its updates, hence the sign of the decay.
        optimizer = optax.chain(
            make(1.0, **options),
            optax.add_decayed_weights(-config.weight_decay),
            optax.scale_by_learning_rate(rate, flip_sign=False),
        )
    else:
        optimizer = make(rate, **options)
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def muon(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Builds Muon for kernels, whose updates are orthogonal matrices, and Adam for biases and other vectors.

    Jordan et al. (2024, https://kellerjordan.github.io/posts/muon), with the scale of Liu et al. (2025,
    https://arxiv.org/abs/2502.16982), equation 4, which makes its rates those of Adam. All axes of a kernel but the
    last are inputs. A step costs more than Adam's, and fewer are needed.
    """

    def axes(params: Any) -> Any:
        def of_leaf(x: Any) -> Any:
            if x.ndim < 2:
                return None
            return optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1)

        return jax.tree.map(of_leaf, params)

    return optax.contrib.muon(
        learning_rate, adam_learning_rate=learning_rate, muon_weight_dimension_numbers=axes, consistent_rms=0.2
    )


def burda_stages(rate: float, steps_per_epoch: int) -> optax.Schedule:
    """Returns rate * 10^(-i / 7) for 3^i epochs, i = 0 ... 7: Burda et al. (2015, arXiv:1509.00519), section 5."""
    ends = np.cumsum([3**i for i in range(7)]) * steps_per_epoch
    return optax.piecewise_constant_schedule(rate, {int(end): 10 ** (-1 / 7) for end in ends})


def scheduled(schedule: Schedule, peak: float, steps: int) -> optax.ScalarOrSchedule:
    """Returns the learning rate, or the learning rate by the step.

    Args:
      schedule: "constant"; "cosine", from the peak to 0 along half a cosine (Loshchilov and Hutter 2017,
        https://arxiv.org/abs/1608.03983, equation 5, without restarts); or "warmup_cosine", the same after a linear
        rise from 0 over 5% of the steps.
      peak: the largest learning rate.
      steps: the number of training steps.
    """
    match schedule:
        case "cosine":
            return optax.cosine_decay_schedule(peak, steps)
        case "warmup_cosine":
            return optax.warmup_cosine_decay_schedule(0.0, peak, steps // 20, steps)
    return peak
