"""The losses of an adversarial game's two players, and the discriminator's gradient penalties."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Critic = Literal["gan", "wgan_gp"]


class Game(NamedTuple):
    """The two players' losses as functions of logits, each (batch,) -> (batch,), and the discriminator's penalty.

    Attributes:
      on_prior: the discriminator's loss on prior samples.
      on_codes: the discriminator's loss on codes.
      generator: the encoder's loss on codes.
      penalty: (discriminate, prior samples, codes, key) -> (batch,), added to the discriminator's loss.
    """

    on_prior: Callable[[Array], Array]
    on_codes: Callable[[Array], Array]
    generator: Callable[[Array], Array]
    penalty: Callable[[Callable[[Array], Array], Array, Array, Array], Array]


def _no_penalty(discriminate: Callable[[Array], Array], samples: Array, codes: Array, key: Array) -> Array:
    return jnp.zeros(len(samples))


def gan(r1: float = 0.0) -> Game:
    """Goodfellow et al. (2014) with the non-saturating generator, in logits: 2 ln 2 for the discriminator and ln 2 for
    the generator where codes and prior cannot be told apart.

    r1 weighs half the squared gradient at prior samples, the R1 penalty of Mescheder et al. (2018).
    """

    def penalty(discriminate: Callable[[Array], Array], samples: Array, codes: Array, key: Array) -> Array:
        return r1 / 2 * jnp.square(_gradients(discriminate, samples)).sum(axis=1)

    return Game(
        on_prior=lambda logits: jax.nn.softplus(-logits),
        on_codes=jax.nn.softplus,
        generator=lambda logits: jax.nn.softplus(-logits),
        penalty=penalty if r1 else _no_penalty,
    )


def wgan_gp(weight: float = 10.0) -> Game:
    """Gulrajani et al. (2017), algorithm 1: a critic whose gradient between samples and codes is kept at norm 1."""

    def penalty(discriminate: Callable[[Array], Array], samples: Array, codes: Array, key: Array) -> Array:
        t = jax.random.uniform(key, (len(samples), 1))
        gradients = _gradients(discriminate, t * samples + (1 - t) * codes)
        norms = jnp.sqrt(jnp.square(gradients).sum(axis=1) + 1e-12)
        return weight * jnp.square(norms - 1)

    return Game(lambda logits: -logits, lambda logits: logits, lambda logits: -logits, penalty)


def by_name(critic: Critic, r1: float = 0.0) -> Game:
    """The game with its usual weights; r1 is of "gan" alone."""
    return wgan_gp() if critic == "wgan_gp" else gan(r1)


def _gradients(discriminate: Callable[[Array], Array], codes: Array) -> Array:
    """Of each logit with respect to its own code: (batch, latents)."""
    return jax.grad(lambda z: discriminate(z).sum())(codes)
