"""Priors over latents: how to sample and, where there is one, a density.

Each is a frozen dataclass. Its functions take the params of the whole model, so that a prior can have parameters of its
own, under params["prior"], or use the posterior's.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses, rng
from aejax.models.posteriors import Params


@dataclass(frozen=True, kw_only=True)
class Prior(abc.ABC):
    """The base class: a distribution p(z) of latents.

    Attributes:
      latents: the number of latents.
      has_density: whether `log_prob` is defined.
      parts: the number of classes that have a part of the prior of their own; 0: it has no parts.
    """

    latents: int
    has_density: ClassVar[bool] = True
    parts: ClassVar[int] = 0

    def init(self, key: Array, images: Array) -> Params:
        """Returns the prior's own initial params for images (batch, height, width, channels); {} where it has none."""
        return {}

    @abc.abstractmethod
    def sample(self, params: Params, key: Array, n: int) -> Array:
        """Draws (n, latents)."""

    def log_prob(self, params: Params, latents: Array) -> Array:
        """Computes log p(z) in nats: (..., latents) -> (...)."""
        raise TypeError(f"{type(self).__name__} has no density: it cannot be the prior of an ELBO")

    def gaussian_kl(self, params: Params, mean: Array, log_variance: Array) -> Array | None:
        """Computes KL(N(mean, variance) || prior) of each latent in nats, (batch, latents) twice -> the same.

        Returns None where there is no closed form that is a sum over latents.
        """
        return None

    def sample_part(self, params: Params, key: Array, labels: Array) -> Array:
        """Draws from each label's own part of the prior: integers (n,) -> (n, latents)."""
        raise TypeError(f"{type(self).__name__} has no parts")


@dataclass(frozen=True, kw_only=True)
class StandardNormal(Prior):
    """N(0, I)."""

    def sample(self, params: Params, key: Array, n: int) -> Array:
        return jax.random.normal(key, (n, self.latents))

    def log_prob(self, params: Params, latents: Array) -> Array:
        return losses.gaussian_log_density(latents)

    def gaussian_kl(self, params: Params, mean: Array, log_variance: Array) -> Array:
        return losses.gaussian_kl(mean, log_variance)


@dataclass(frozen=True, kw_only=True)
class _Planar(Prior):
    """A prior in the plane with ten parts, which are sampled uniformly."""

    latents: int = 2
    parts: ClassVar[int] = 10

    def sample(self, params: Params, key: Array, n: int) -> Array:
        labels = jax.random.randint(rng.stream(key, "class"), (n,), 0, self.parts)
        return self.sample_part(params, rng.stream(key, "point"), labels)

    @abc.abstractmethod
    def centre_line(self, labels: Array, shares: Array) -> Array:
        """Finds points on the centre line of each label's part, to plot walks through a class.

        Args:
          labels: integers (n,).
          shares: (n,) in [0, 1], the probability of the class that lies before the point on the line.

        Returns:
          (n, 2).
        """


@dataclass(frozen=True, kw_only=True)
class MixtureOnRing(_Planar):
    """Ten Gaussians on a ring in the plane, one for each class, stretched along the radius.

    Makhzani et al. (2015, arXiv:1511.05644), figures 2B and 4A. Class c is centred at `radius` times (cos, sin) of
    2 pi c / 10. Its standard deviations are `along` and `across` the radius, in latent units.
    """

    radius: float = 4.0
    along: float = 1.0
    across: float = 0.25

    def _directions(self) -> tuple[Array, Array]:
        """Returns the unit vectors along and across the radius of each class: (classes, 2) each."""
        angles = 2 * math.pi * jnp.arange(self.parts) / self.parts
        directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        return directions, jnp.stack([-directions[:, 1], directions[:, 0]], axis=1)

    def sample_part(self, params: Params, key: Array, labels: Array) -> Array:
        directions, normals = self._directions()
        noise = jax.random.normal(key, (len(labels), 2))
        offsets = self.along * noise[:, :1] * directions[labels] + self.across * noise[:, 1:] * normals[labels]
        return self.radius * directions[labels] + offsets

    def centre_line(self, labels: Array, shares: Array) -> Array:
        directions, _ = self._directions()
        return (self.radius + self.along * jax.scipy.special.ndtri(shares))[:, None] * directions[labels]

    def log_prob(self, params: Params, latents: Array) -> Array:
        # Each component in its own axes.
        directions, normals = self._directions()
        offsets = latents[..., None, :] - self.radius * directions
        parts = [(offsets * directions).sum(-1) / self.along, (offsets * normals).sum(-1) / self.across]
        components = losses.gaussian_log_density(jnp.stack(parts, axis=-1)) - math.log(self.along * self.across)
        return jax.nn.logsumexp(components, axis=-1) - math.log(self.parts)


@dataclass(frozen=True, kw_only=True)
class SwissRoll(_Planar):
    """A spiral in the plane: Makhzani et al. (2015, arXiv:1511.05644), figure 4B. It has no density in closed form.

    The distance from the centre grows evenly with the angle, from 0 to `radius` over `turns`. Points are even along the
    length, and `noise` is the standard deviation around it, in latent units. Class c is the c-th tenth of the length.
    """

    has_density: ClassVar[bool] = False
    turns: float = 2.0
    radius: float = 4.0
    noise: float = 0.1

    def centre_line(self, labels: Array, shares: Array) -> Array:
        # The length grows with the square of the angle, but for the first part of a turn.
        share = jnp.sqrt((labels + shares) / self.parts)
        angle = 2 * math.pi * self.turns * share
        return self.radius * share[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)

    def sample_part(self, params: Params, key: Array, labels: Array) -> Array:
        points = self.centre_line(labels, jax.random.uniform(rng.stream(key, "along"), (len(labels),)))
        return points + self.noise * jax.random.normal(rng.stream(key, "around"), points.shape)


@dataclass(frozen=True, kw_only=True)
class ClassAndStylePrior(Prior):
    """One-hot vectors of uniform classes, then a style from N(0, I): (classes + style,) latents.

    Makhzani et al. (2015, arXiv:1511.05644), section 2.4. It has no density, since classes are discrete.
    """

    has_density: ClassVar[bool] = False
    classes: int

    @property
    def style(self) -> int:
        """The number of latents of the style."""
        return self.latents - self.classes

    def sample(self, params: Params, key: Array, n: int) -> Array:
        classes = jax.random.randint(rng.stream(key, "classes"), (n,), 0, self.classes)
        style = jax.random.normal(rng.stream(key, "style"), (n, self.style))
        return jnp.concatenate([jax.nn.one_hot(classes, self.classes), style], axis=1)


def by_name(name: str, latents: int) -> Prior:
    """Returns the prior that an option names: "normal", or in the plane "mixture" or "swiss_roll"."""
    makers: dict[str, Callable[[], Prior]] = {
        "normal": lambda: StandardNormal(latents=latents),
        "mixture": MixtureOnRing,
        "swiss_roll": SwissRoll,
    }
    return makers[name]()
