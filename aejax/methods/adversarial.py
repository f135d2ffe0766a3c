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
import numpy as np
import optax
from jax import Array

from aejax import losses, priors, rng
from aejax.methods.games import Game, gan
from aejax.methods.method import Method, Metrics, Params, part, update
from aejax.pixels import BERNOULLI, Pixels
from aejax.priors import Prior

Kind = Literal["deterministic", "gaussian", "universal"]


class Labelled(NamedTuple):
    """Images with the labels that the discriminator is told.

    Attributes:
      images: (batch, height, width, channels), in a dataset uint8 arrays of numpy.
      labels: int32 (batch,) in 0 ... 9, or -1 where the label is not told.
    """

    images: Array | np.ndarray
    labels: Array | np.ndarray


Examples = Array | Labelled


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
      labelled: whether the discriminator is told labels, which join its input as one of eleven (the last: not told), so
        that each class of images is drawn to its own part of the prior (section 2.3). Examples are then `Labelled`.
    """

    encoder: nn.Module
    decoder: nn.Module
    discriminator: nn.Module
    prior: Prior
    kind: Kind = "deterministic"
    pixels: Pixels = BERNOULLI
    noise: int = 8
    labelled: bool = False

    def init(self, key: Array, examples: Examples) -> Params:
        """The initial params for images of this shape."""
        images, labels = _parts(examples)
        codes = jnp.zeros((1, self.prior.latents))
        inputs = (images, jnp.zeros((len(images), self.noise))) if self.kind == "universal" else (images,)
        return {
            "encoder": self.encoder.init(rng.stream(key, "encoder"), *inputs),
            "decoder": self.decoder.init(rng.stream(key, "decoder"), codes),
            "discriminator": self.discriminator.init(
                rng.stream(key, "discriminator"), self._told(codes, None if labels is None else labels[:1])
            ),
        }

    def encode(self, params: Params, examples: Examples, key: Array) -> Array:
        """Codes (batch, latents): samples of q(z | x), where the encoder is not deterministic."""
        images, _ = _parts(examples)
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

    def discriminate(self, params: Params, codes: Array, labels: Array | None = None) -> Array:
        """Codes (batch, latents) and, for a labelled model, labels (batch,) -> logits (batch,)."""
        logits: Any = self.discriminator.apply(params["discriminator"], self._told(codes, labels))
        return logits

    def sample_prior(self, key: Array, n: int, labels: Array | None = None) -> Array:
        """(n, latents); for a labelled model from each label's own part, and from all of it where that is not told."""
        anywhere = self.prior.sample(rng.stream(key, "anywhere"), n)
        if not self.labelled or labels is None:
            return anywhere
        assert self.prior.sample_class is not None
        own = self.prior.sample_class(rng.stream(key, "class"), jnp.maximum(labels, 0))
        return jnp.where(labels[:, None] >= 0, own, anywhere)

    def _told(self, codes: Array, labels: Array | None) -> Array:
        """What the discriminator sees."""
        if not self.labelled or labels is None:
            return codes
        told = jnp.where(labels >= 0, labels, priors.CLASSES)
        return jnp.concatenate([codes, jax.nn.one_hot(told, priors.CLASSES + 1, dtype=codes.dtype)], axis=1)


class Optimizers(NamedTuple):
    """One for each phase; rates that differ make the two-time-scale rule of Heusel et al. (2017)."""

    reconstruction: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation


class AdversarialState(NamedTuple):
    params: Params
    opt_states: Optimizers  # of each phase, the optimiser's state


def aae(model: Model, optimizers: Optimizers, game: Game | None = None, *, adversarial: bool = True) -> Method:
    """The adversarial autoencoder.

    Args:
      model: the networks and the prior.
      optimizers: of the three phases, which follow each other in a step as in the paper's section 2.
      game: the players' losses; None: `gan()`.
      adversarial: False leaves the second and third phase out, and a plain autoencoder.

    Returns:
      A method with the metrics "loss" (the reconstruction's negative log-likelihood in nats per image), the same per
      pixel under the pixels' name and, in training, "discriminator_loss", "generator_loss", "discriminator_accuracy"
      (how often the larger output is the prior sample's, over all pairs of one and a code; one half is chance) and each
      phase's gradient norm. In evaluation there are "mse" per pixel and "generator_loss".
    """
    game = game or gan()

    def init(key: Array, images: Examples) -> AdversarialState:
        params = model.init(key, images)
        autoencoder, discriminator, encoder = (
            part(params, names) for names in (_AUTOENCODER, _DISCRIMINATOR, _ENCODER)
        )
        return AdversarialState(
            params,
            Optimizers(
                optimizers.reconstruction.init(autoencoder),
                optimizers.discriminator.init(discriminator),
                optimizers.generator.init(encoder),
            ),
        )

    def step(state: AdversarialState, images: Examples, key: Array) -> tuple[AdversarialState, Metrics]:
        def reconstruction(params: Params) -> tuple[Array, Metrics]:
            return reconstruction_loss(model, params, images, rng.stream(key, "reconstruction"))

        def discriminator(params: Params) -> tuple[Array, Metrics]:
            return discriminator_loss(model, game, params, images, rng.stream(key, "adversarial"))

        def generator(params: Params) -> tuple[Array, Metrics]:
            return generator_loss(model, game, params, images, rng.stream(key, "adversarial"))

        phases = ((reconstruction, _AUTOENCODER), (discriminator, _DISCRIMINATOR), (generator, _ENCODER))
        params, opt_states = state.params, list(state.opt_states)
        metrics: Metrics = {}
        for i, (loss, names) in enumerate(phases if adversarial else phases[:1]):
            phase, optimizer = Optimizers._fields[i], optimizers[i]
            params, opt_states[i], more = update(phase, loss, names, optimizer, params, opt_states[i])
            metrics |= more
        return AdversarialState(params, Optimizers(*opt_states)), metrics

    def evaluate(state: AdversarialState, examples: Examples, key: Array) -> Metrics:
        images, labels = _parts(examples)
        codes = model.encode(state.params, images, rng.stream(key, "codes"))
        outputs = model.decode(state.params, codes)
        size = math.prod(images.shape[1:])
        values = model.pixels.loss(outputs, images)
        mse = losses.squared_error(model.pixels.picture(outputs), images) / size
        fooled = game.generator(model.discriminate(state.params, codes, labels))
        return {"loss": values, model.pixels.name: values / size, "mse": mse, "generator_loss": fooled}

    return Method(init, step, evaluate)


_AUTOENCODER, _DISCRIMINATOR, _ENCODER = ("encoder", "decoder"), ("discriminator",), ("encoder",)


def reconstruction_loss(model: Model, params: Params, examples: Examples, key: Array) -> tuple[Array, Metrics]:
    """-log p(x | z) with z from the encoder, in nats per example: (batch,), and metrics."""
    images, _ = _parts(examples)
    outputs = model.decode(params, model.encode(params, images, key))
    values = model.pixels.loss(outputs, images)
    return values, {"loss": values, model.pixels.name: values / math.prod(images.shape[1:])}


def discriminator_loss(
    model: Model, game: Game, params: Params, examples: Examples, key: Array
) -> tuple[Array, Metrics]:
    """The discriminator's loss, on as many fresh prior samples as there are codes: (batch,), and metrics."""
    images, labels = _parts(examples)
    codes = model.encode(params, images, rng.stream(key, "codes"))
    samples = model.sample_prior(rng.stream(key, "prior"), len(images), labels)
    on_prior, on_codes = (model.discriminate(params, z, labels) for z in (samples, codes))
    values = game.on_prior(on_prior) + game.on_codes(on_codes)
    penalty = game.penalty(lambda z: model.discriminate(params, z, labels), samples, codes, rng.stream(key, "penalty"))
    # By order, since a critic's outputs have no threshold.
    right = (1 + jnp.sign(on_prior[:, None] - on_codes)).mean(axis=1) / 2
    return values + penalty, {"discriminator_loss": values, "discriminator_accuracy": right}


def generator_loss(model: Model, game: Game, params: Params, examples: Examples, key: Array) -> tuple[Array, Metrics]:
    """The encoder's loss as the generator of codes: (batch,), and metrics."""
    # The codes that the discriminator has just seen, so that the compiler computes them once.
    images, labels = _parts(examples)
    codes = model.encode(params, images, rng.stream(key, "codes"))
    values = game.generator(model.discriminate(params, codes, labels))
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


def _parts(examples: Examples) -> tuple[Array, Array | None]:
    """Images, and labels where there are any."""
    if isinstance(examples, Labelled):
        return jnp.asarray(examples.images), jnp.asarray(examples.labels)
    return examples, None
