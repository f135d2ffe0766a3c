"""Priors over latents: each is a way to sample and, where it has one, a density."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import Array

from aejax import losses


class Prior(NamedTuple):
    """A distribution of latents.

    Attributes:
      latents: how many there are.
      sample: (key, n) -> (n, latents).
      log_prob: (..., latents) -> (...), in nats.
    """

    latents: int
    sample: Callable[[Array, int], Array]
    log_prob: Callable[[Array], Array]


def standard_normal(latents: int) -> Prior:
    """N(0, I)."""
    return Prior(latents, lambda key, n: jax.random.normal(key, (n, latents)), losses.gaussian_log_density)
