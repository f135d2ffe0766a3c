"""Priors over latents: each is a way to sample and, where it has one, a density."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses, rng

CLASSES = 10


class Prior(NamedTuple):
    """A distribution of latents.

    Attributes:
      latents: how many there are.
      sample: (key, n) -> (n, latents).
      log_prob: (..., latents) -> (...), in nats; None where there is no closed form.
      sample_class: (key, labels (n,), integers in 0 ... 9) -> (n, latents), the part of the prior that belongs to each
        label; None where it has no parts.
      axis: (labels (n,), shares (n,) in 0 ... 1) -> (n, latents), on the middle line of each label's part the place
        that has so much of the part before it; None where it has no parts.
    """

    latents: int
    sample: Callable[[Array, int], Array]
    log_prob: Callable[[Array], Array] | None = None
    sample_class: Callable[[Array, Array], Array] | None = None
    axis: Callable[[Array, Array], Array] | None = None


def standard_normal(latents: int) -> Prior:
    """N(0, I)."""
    return Prior(latents, lambda key, n: jax.random.normal(key, (n, latents)), losses.gaussian_log_density)


def mixture_on_ring(radius: float = 4.0, along: float = 1.0, across: float = 0.25) -> Prior:
    """Ten Gaussians on a ring in the plane, one per class, stretched along the radius.

    Makhzani et al. (2016), figures 2B and 4A: a mixture of ten 2-D Gaussians. Class c is centred at `radius` times
    (cos, sin) of 2 pi c / 10, with the standard deviations `along` and `across` the radius, in latent units.
    """
    angles = 2 * math.pi * jnp.arange(CLASSES) / CLASSES
    directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)  # (classes, 2)
    normals = jnp.stack([-directions[:, 1], directions[:, 0]], axis=1)

    def sample_class(key: Array, labels: Array) -> Array:
        noise = jax.random.normal(key, (len(labels), 2))
        offsets = along * noise[:, :1] * directions[labels] + across * noise[:, 1:] * normals[labels]
        return radius * directions[labels] + offsets

    def axis(labels: Array, shares: Array) -> Array:
        return (radius + along * jax.scipy.special.ndtri(shares))[:, None] * directions[labels]

    def log_prob(z: Array) -> Array:
        # Each component in its own axes.
        offsets = z[..., None, :] - radius * directions
        rotated = jnp.stack([(offsets * directions).sum(-1) / along, (offsets * normals).sum(-1) / across], axis=-1)
        components = losses.gaussian_log_density(rotated) - math.log(along * across)
        return jax.nn.logsumexp(components, axis=-1) - math.log(CLASSES)

    return Prior(2, _of_uniform_classes(sample_class), log_prob, sample_class, axis)


def swiss_roll(turns: float = 2.0, radius: float = 4.0, noise: float = 0.1) -> Prior:
    """A spiral in the plane: Makhzani et al. (2016), figure 4B.

    The distance from the centre grows evenly with the angle, from 0 to `radius` over `turns`; points are even along the
    length, and `noise` is the standard deviation around it, in latent units. Class c is the c-th tenth of the length.
    """

    def axis(labels: Array, shares: Array) -> Array:
        # The length grows with the square of the angle, but for the first part of a turn.
        share = jnp.sqrt((labels + shares) / CLASSES)
        angle = 2 * math.pi * turns * share
        return radius * share[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)

    def sample_class(key: Array, labels: Array) -> Array:
        points = axis(labels, jax.random.uniform(rng.stream(key, "along"), (len(labels),)))
        return points + noise * jax.random.normal(rng.stream(key, "around"), points.shape)

    return Prior(2, _of_uniform_classes(sample_class), None, sample_class, axis)


def _of_uniform_classes(sample_class: Callable[[Array, Array], Array]) -> Callable[[Array, int], Array]:
    def sample(key: Array, n: int) -> Array:
        labels = jax.random.randint(rng.stream(key, "class"), (n,), 0, CLASSES)
        return sample_class(rng.stream(key, "point"), labels)

    return sample
