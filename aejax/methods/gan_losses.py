"""GAN losses: those of a discriminator and a generator, and the discriminator's gradient penalties.

In an adversarial autoencoder the samples of the prior are the real ones and the encoder's codes are the fake ones.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

GanLossName = Literal["gan", "wgan_gp"]
Discriminator = Callable[[Array], Array]


class GanLoss(NamedTuple):
    """The losses as functions of the discriminator's outputs, each (batch,) -> (batch,), and its penalty.

    Attributes:
      real: the discriminator's loss on real samples.
      fake: the discriminator's loss on fake ones.
      generator: the generator's loss on fake ones.
      penalty: (discriminator, real samples, fake samples, key) -> (batch,), added to the discriminator's loss.
    """

    real: Callable[[Array], Array]
    fake: Callable[[Array], Array]
    generator: Callable[[Array], Array]
    penalty: Callable[[Discriminator, Array, Array, Array], Array]


def gan(r1: float = 0.0) -> GanLoss:
    """Returns the losses of Goodfellow et al. (2014, arXiv:1406.2661), with the non-saturating generator, of logits.

    Where real and fake cannot be told apart, the discriminator's sum is 2 ln 2 and the generator's loss ln 2.

    Args:
      r1: the weight of half the squared gradient at real samples, the R1 penalty of Mescheder et al. (2018,
        arXiv:1801.04406).
    """

    def penalty(discriminator: Discriminator, real: Array, fake: Array, key: Array) -> Array:
        return r1 / 2 * jnp.square(_gradients(discriminator, real)).sum(axis=1)

    return GanLoss(
        real=lambda logits: jax.nn.softplus(-logits),
        fake=jax.nn.softplus,
        generator=lambda logits: jax.nn.softplus(-logits),
        penalty=penalty if r1 else _no_penalty,
    )


def wgan_gp(weight: float = 10.0) -> GanLoss:
    """Returns the losses of a critic whose gradient between real and fake samples is kept at norm 1 (WGAN-GP).

    Gulrajani et al. (2017, arXiv:1704.00028), algorithm 1.
    """

    def penalty(discriminator: Discriminator, real: Array, fake: Array, key: Array) -> Array:
        t = jax.random.uniform(key, (len(real), 1))
        gradients = _gradients(discriminator, t * real + (1 - t) * fake)
        norms = jnp.sqrt(jnp.square(gradients).sum(axis=1) + 1e-12)
        return weight * jnp.square(norms - 1)

    return GanLoss(lambda outputs: -outputs, lambda outputs: outputs, lambda outputs: -outputs, penalty)


def by_name(name: GanLossName, r1: float = 0.0) -> GanLoss:
    """Returns the losses that an option names, with their usual weights; r1 belongs to "gan" alone."""
    return wgan_gp() if name == "wgan_gp" else gan(r1)


def _no_penalty(discriminator: Discriminator, real: Array, fake: Array, key: Array) -> Array:
    return jnp.zeros(len(real))


def _gradients(discriminator: Discriminator, samples: Array) -> Array:
    """Computes the gradient of each output with respect to its own sample: (batch, d)."""
    return jax.grad(lambda z: discriminator(z).sum())(samples)
