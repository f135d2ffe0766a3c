"""Adversarial autoencoders (Makhzani et al. 2016): a discriminator on the codes makes them follow a prior.

One step has three phases, each with its own optimiser and its own parameters: reconstruction updates encoder and
decoder, the discriminator learns to tell prior samples from codes, and the encoder, as the generator, to fool it.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import losses, rng
from aejax.methods.method import Method, Metrics, Params
from aejax.pixels import BERNOULLI, Pixels
from aejax.priors import Prior

Kind = Literal["deterministic", "gaussian", "universal"]
Critic = Literal["gan", "wgan_gp"]


class Model(NamedTuple):
    """The three networks; params are {"encoder": ..., "decoder": ..., "discriminator": ...}.

    Attributes:
      encoder: of a kind: "deterministic", images -> codes (batch, latents); "gaussian", images -> mean and
        log-variance; "universal", (images, noise (batch, noise)) -> codes.
      decoder: codes -> outputs (batch, height, width, channels).
      discriminator: codes -> logits (batch,) that they were drawn from the prior.
      prior: what the codes are to follow.
      kind: of the encoder.
      pixels: what the decoder's outputs are.
      noise: how many noise inputs a universal encoder has.
    """

    encoder: nn.Module
    decoder: nn.Module
    discriminator: nn.Module
    prior: Prior
    kind: Kind = "deterministic"
    pixels: Pixels = BERNOULLI
    noise: int = 8

    def init(self, key: Array, images: Array) -> Params:
        """The initial params for images of this shape."""
        codes = jnp.zeros((1, self.prior.latents))
        inputs = (images, jnp.zeros((len(images), self.noise))) if self.kind == "universal" else (images,)
        return {
            "encoder": self.encoder.init(rng.stream(key, "encoder"), *inputs),
            "decoder": self.decoder.init(rng.stream(key, "decoder"), codes),
            "discriminator": self.discriminator.init(rng.stream(key, "discriminator"), codes),
        }

    def encode(self, params: Params, images: Array, key: Array) -> Array:
        """Codes (batch, latents): samples of q(z | x), where the encoder is not deterministic."""
        if self.kind == "universal":
            noise = jax.random.normal(key, (len(images), self.noise))
            codes: Any = self.encoder.apply(params["encoder"], images, noise)
            return codes
        answer: Any = self.encoder.apply(params["encoder"], images)
        if self.kind == "deterministic":
            return answer
        mean, log_variance = answer
        return mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)

    def decode(self, params: Params, codes: Array) -> Array:
        """Codes (batch, latents) -> outputs (batch, height, width, channels)."""
        outputs: Any = self.decoder.apply(params["decoder"], codes)
        return outputs

    def discriminate(self, params: Params, codes: Array) -> Array:
        """Codes (batch, latents) -> logits (batch,)."""
        logits: Any = self.discriminator.apply(params["discriminator"], codes)
        return logits


class Optimizers(NamedTuple):
    """One for each phase; rates that differ make the two-time-scale rule of Heusel et al. (2017)."""

    reconstruction: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation


class AdversarialState(NamedTuple):
    params: Params
    opt_states: Optimizers  # of each phase, the optimiser's state


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


def aae(model: Model, optimizers: Optimizers, game: Game | None = None, *, adversarial: bool = True) -> Method:
    """The adversarial autoencoder.

    Args:
      model: the networks and the prior.
      optimizers: of the three phases, which follow each other in a step as in the paper's section 2.
      game: the players' losses; None: `gan()`.
      adversarial: False leaves the second and third phase out, and a plain autoencoder.

    Returns:
      A method with the metrics "loss" (the reconstruction's negative log-likelihood in nats per image), the same per
      pixel under the pixels' name and, in training, "discriminator_loss", "generator_loss" and
      "discriminator_accuracy" (the share of prior samples and codes that it tells apart; one half is chance). In
      evaluation there are "mse" per pixel and "generator_loss".
    """
    game = game or gan()

    def init(key: Array, images: Array) -> AdversarialState:
        params = model.init(key, images)
        autoencoder, discriminator, encoder = (
            _part(params, names) for names in (_AUTOENCODER, _DISCRIMINATOR, _ENCODER)
        )
        return AdversarialState(
            params,
            Optimizers(
                optimizers.reconstruction.init(autoencoder),
                optimizers.discriminator.init(discriminator),
                optimizers.generator.init(encoder),
            ),
        )

    def step(state: AdversarialState, images: Array, key: Array) -> tuple[AdversarialState, Metrics]:
        def reconstruction(params: Params) -> tuple[Array, Metrics]:
            return reconstruction_loss(model, params, images, rng.stream(key, "reconstruction"))

        def discriminator(params: Params) -> tuple[Array, Metrics]:
            return discriminator_loss(model, game, params, images, rng.stream(key, "adversarial"))

        def generator(params: Params) -> tuple[Array, Metrics]:
            return generator_loss(model, game, params, images, rng.stream(key, "adversarial"))

        params, states = state
        params, first, metrics = _update(reconstruction, _AUTOENCODER, optimizers.reconstruction, params, states[0])
        if not adversarial:
            return AdversarialState(params, states._replace(reconstruction=first)), metrics
        params, second, more = _update(discriminator, _DISCRIMINATOR, optimizers.discriminator, params, states[1])
        params, third, most = _update(generator, _ENCODER, optimizers.generator, params, states[2])
        return AdversarialState(params, Optimizers(first, second, third)), metrics | more | most

    def evaluate(state: AdversarialState, images: Array, key: Array) -> Metrics:
        codes = model.encode(state.params, images, rng.stream(key, "codes"))
        outputs = model.decode(state.params, codes)
        size = math.prod(images.shape[1:])
        values = model.pixels.loss(outputs, images)
        mse = losses.squared_error(model.pixels.picture(outputs), images) / size
        fooled = game.generator(model.discriminate(state.params, codes))
        return {"loss": values, model.pixels.name: values / size, "mse": mse, "generator_loss": fooled}

    return Method(init, step, evaluate)


_AUTOENCODER, _DISCRIMINATOR, _ENCODER = ("encoder", "decoder"), ("discriminator",), ("encoder",)


def _update(
    loss: Callable[[Params], tuple[Array, Metrics]],
    names: tuple[str, ...],
    optimizer: optax.GradientTransformation,
    params: Params,
    opt_state: optax.OptState,
) -> tuple[Params, optax.OptState, Metrics]:
    """One phase: the parameters of these names follow the gradient of the mean loss, all others stay."""

    def mean_loss(own: Params) -> tuple[Array, Metrics]:
        values, metrics = loss({**params, **own})
        return values.mean(), metrics

    own = _part(params, names)
    gradients, metrics = jax.grad(mean_loss, has_aux=True)(own)
    updates, opt_state = optimizer.update(gradients, opt_state, own)
    means = {name: jnp.mean(values) for name, values in metrics.items()}
    return {**params, **optax.apply_updates(own, updates)}, opt_state, means


def reconstruction_loss(model: Model, params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
    """-log p(x | z) with z from the encoder, in nats per example: (batch,), and metrics."""
    outputs = model.decode(params, model.encode(params, images, key))
    values = model.pixels.loss(outputs, images)
    return values, {"loss": values, model.pixels.name: values / math.prod(images.shape[1:])}


def discriminator_loss(model: Model, game: Game, params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
    """The discriminator's loss, on as many fresh prior samples as there are codes: (batch,), and metrics."""
    codes = model.encode(params, images, rng.stream(key, "codes"))
    samples = model.prior.sample(rng.stream(key, "prior"), len(images))
    on_prior, on_codes = model.discriminate(params, samples), model.discriminate(params, codes)
    values = game.on_prior(on_prior) + game.on_codes(on_codes)
    penalty = game.penalty(lambda z: model.discriminate(params, z), samples, codes, rng.stream(key, "penalty"))
    right = ((on_prior > 0).astype(jnp.float32) + (on_codes < 0).astype(jnp.float32)) / 2
    return values + penalty, {"discriminator_loss": values, "discriminator_accuracy": right}


def generator_loss(model: Model, game: Game, params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
    """The encoder's loss as the generator of codes: (batch,), and metrics."""
    # The codes that the discriminator has just seen, so that the compiler computes them once.
    codes = model.encode(params, images, rng.stream(key, "codes"))
    values = game.generator(model.discriminate(params, codes))
    return values, {"generator_loss": values}


def encode(model: Model) -> Callable[[AdversarialState, Array, Array], Array]:
    """(state, images, key) -> codes (batch, latents)."""
    return lambda state, images, key: model.encode(state.params, images, key)


def reconstruct(model: Model) -> Callable[[AdversarialState, Array, Array], Array]:
    """(state, images, key) -> pictures in [0, 1]."""

    def apply(state: AdversarialState, images: Array, key: Array) -> Array:
        return model.pixels.picture(model.decode(state.params, model.encode(state.params, images, key)))

    return apply


def generate(model: Model) -> Callable[[AdversarialState, Array, int], Array]:
    """(state, key, n) -> n pictures in [0, 1] of codes drawn from the prior."""
    return lambda state, key, n: model.pixels.picture(model.decode(state.params, model.prior.sample(key, n)))


def _part(params: Params, names: tuple[str, ...]) -> Params:
    return {name: params[name] for name in names}


def _gradients(discriminate: Callable[[Array], Array], codes: Array) -> Array:
    """Of each logit with respect to its own code: (batch, latents)."""
    return jax.grad(lambda z: discriminate(z).sum())(codes)
