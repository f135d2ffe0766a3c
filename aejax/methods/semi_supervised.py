"""Semi-supervised and clustering adversarial autoencoders (Makhzani et al. 2016, sections 2.4 and 2.5).

The code has two parts, a softmax over classes and a style; a discriminator makes each follow its own prior, one-hot
vectors of uniform classes and N(0, I). With labels for some images the encoder also learns to classify them; without,
the classes become clusters.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

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

Corruption = Callable[[Array, Array], Array]


class Examples(NamedTuple):
    """A batch, or a dataset of as many rows.

    Attributes:
      images: to autoencode, (batch, height, width, channels).
      labelled: images with known classes, (batch, height, width, channels): few, repeated to as many rows.
      labels: of `labelled`, int32 (batch,); -1 where there is none.
    """

    images: Array | np.ndarray
    labelled: Array | np.ndarray
    labels: Array | np.ndarray


class Model(NamedTuple):
    """The networks; params are {"encoder", "decoder", "class_discriminator", "style_discriminator"}.

    Attributes:
      encoder: images -> (batch, classes + style): logits of the classes, and the style.
      decoder: (batch, classes + style) -> outputs (batch, height, width, channels).
      class_discriminator: (batch, classes), probabilities or one-hot -> logits (batch,).
      style_discriminator: (batch, style) -> logits (batch,).
      classes: or clusters, how many.
      style: latents of the style.
      pixels: what the decoder's outputs are.
      corrupt: (key, images) -> what the encoder sees of them in training; None: the images themselves.
    """

    encoder: nn.Module
    decoder: nn.Module
    class_discriminator: nn.Module
    style_discriminator: nn.Module
    classes: int
    style: int
    pixels: Pixels = BERNOULLI
    corrupt: Corruption | None = None

    def init(self, key: Array, images: Array) -> Params:
        """The initial params for images of this shape."""
        code = jnp.zeros((1, self.classes + self.style))
        parts = {
            "encoder": (self.encoder, images[:1]),
            "decoder": (self.decoder, code),
            "class_discriminator": (self.class_discriminator, code[:, : self.classes]),
            "style_discriminator": (self.style_discriminator, code[:, self.classes :]),
        }
        return {name: network.init(rng.stream(key, name), example) for name, (network, example) in parts.items()}

    def encode(self, params: Params, images: Array) -> tuple[Array, Array]:
        """Logits of the classes (batch, classes), and the style (batch, style)."""
        code: Any = self.encoder.apply(params["encoder"], images)
        return code[:, : self.classes], code[:, self.classes :]

    def decode(self, params: Params, classes: Array, style: Array) -> Array:
        """Probabilities of classes or one-hot (batch, classes), style (batch, style) -> outputs."""
        outputs: Any = self.decoder.apply(params["decoder"], jnp.concatenate([classes, style], axis=1))
        return outputs

    def seen(self, key: Array, images: Array) -> Array:
        """What the encoder sees of images in training."""
        return images if self.corrupt is None else self.corrupt(key, images)

    def discriminators(self, params: Params) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        """That of classes and that of style: its part of the code -> logits (batch,) that the prior drew it."""

        def of_classes(classes: Array) -> Array:
            logits: Any = self.class_discriminator.apply(params["class_discriminator"], classes)
            return logits

        def of_style(style: Array) -> Array:
            logits: Any = self.style_discriminator.apply(params["style_discriminator"], style)
            return logits

        return of_classes, of_style


class Optimizers(NamedTuple):
    """One for each phase."""

    reconstruction: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation
    classification: optax.GradientTransformation


class SemiSupervisedState(NamedTuple):
    params: Params
    opt_states: Optimizers  # of each phase, the optimiser's state


_AUTOENCODER, _ENCODER = ("encoder", "decoder"), ("encoder",)
_DISCRIMINATORS = ("class_discriminator", "style_discriminator")


def aae(model: Model, optimizers: Optimizers, class_game: Game | None = None, style_game: Game | None = None) -> Method:
    """The three phases of the paper's section 2.4, the second with its two sides, one after the other in a step.

    Args:
      model: the networks.
      optimizers: of each phase.
      class_game: the losses of the game over the classes; None: `gan()`.
      style_game: those of the game over the style; None: `gan()`.

    Returns:
      A method of `Examples` with the metrics "loss" (the reconstruction's negative log-likelihood in nats per image),
      the same per pixel under the pixels' name, "discriminator_loss" and "generator_loss" (sums over the two games, of
      two `gan` 4 ln 2 and 2 ln 2 where nothing can be told apart), "classification_loss" (cross-entropy in nats over
      the labelled images, 0 where there are none) and each phase's gradient norm. In evaluation, of `images` and with
      `labels` as theirs: "loss", the same per pixel, and "error", 1 where the most probable class is not the label.
    """
    games = class_game or gan(), style_game or gan()

    def init(key: Array, examples: Examples) -> SemiSupervisedState:
        params = model.init(key, jnp.asarray(examples.images))
        names = (_AUTOENCODER, _DISCRIMINATORS, _ENCODER, _ENCODER)
        states = [optimizer.init(part(params, own)) for optimizer, own in zip(optimizers, names, strict=True)]
        return SemiSupervisedState(params, Optimizers(*states))

    def step(state: SemiSupervisedState, examples: Examples, key: Array) -> tuple[SemiSupervisedState, Metrics]:
        images, labelled, labels = map(jnp.asarray, examples)
        seen = model.seen(rng.stream(key, "corruption"), images)

        def reconstruction(params: Params) -> tuple[Array, Metrics]:
            logits, style = model.encode(params, seen)
            values = model.pixels.loss(model.decode(params, jax.nn.softmax(logits), style), images)
            return values, {"loss": values, model.pixels.name: values / math.prod(images.shape[1:])}

        def discrimination(params: Params) -> tuple[Array, Metrics]:
            logits, style = model.encode(params, seen)
            drawn = prior_samples(model, rng.stream(key, "prior"), len(images))
            values, penalties = jnp.zeros(len(images)), jnp.zeros(len(images))
            codes_of = jax.nn.softmax(logits), style
            sides = zip(_DISCRIMINATORS, games, model.discriminators(params), drawn, codes_of, strict=True)
            for name, game, discriminate, samples, codes in sides:
                values += game.on_prior(discriminate(samples)) + game.on_codes(discriminate(codes))
                penalties += game.penalty(discriminate, samples, codes, rng.stream(key, f"{name} penalty"))
            return values + penalties, {"discriminator_loss": values}

        def generation(params: Params) -> tuple[Array, Metrics]:
            logits, style = model.encode(params, seen)
            of_classes, of_style = model.discriminators(params)
            values = games[0].generator(of_classes(jax.nn.softmax(logits))) + games[1].generator(of_style(style))
            return values, {"generator_loss": values}

        def classification(params: Params) -> tuple[Array, Metrics]:
            logits, _ = model.encode(params, model.seen(rng.stream(key, "labelled"), labelled))
            known = labels >= 0
            entropies = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
            values = jnp.where(known, entropies, 0)
            return values, {"classification_loss": values}

        params, opt_states = state.params, []
        metrics: Metrics = {}
        phases = (
            (reconstruction, _AUTOENCODER),
            (discrimination, _DISCRIMINATORS),
            (generation, _ENCODER),
            (classification, _ENCODER),
        )
        for phase, (loss, names), optimizer, opt_state in zip(
            Optimizers._fields, phases, optimizers, state.opt_states, strict=True
        ):
            params, opt_state, more = update(phase, loss, names, optimizer, params, opt_state)
            opt_states.append(opt_state)
            metrics |= more
        return SemiSupervisedState(params, Optimizers(*opt_states)), metrics

    def evaluate(state: SemiSupervisedState, examples: Examples, key: Array) -> Metrics:
        images, _, labels = map(jnp.asarray, examples)
        logits, style = model.encode(state.params, images)
        outputs = model.decode(state.params, jax.nn.softmax(logits), style)
        values, size = model.pixels.loss(outputs, images), math.prod(images.shape[1:])
        mse = losses.squared_error(model.pixels.picture(outputs), images) / size
        error = (logits.argmax(axis=1) != labels).astype(jnp.float32)
        return {"loss": values, model.pixels.name: values / size, "mse": mse, "error": error}

    return Method(init, step, evaluate)


def prior_samples(model: Model, key: Array, n: int) -> tuple[Array, Array]:
    """One-hot vectors of uniform classes (n, classes), and styles (n, style) from N(0, I)."""
    classes = jax.random.randint(rng.stream(key, "classes"), (n,), 0, model.classes)
    style = priors.standard_normal(model.style).sample(rng.stream(key, "style"), n)
    return jax.nn.one_hot(classes, model.classes), style


def encode(model: Model) -> Callable[[SemiSupervisedState, Array, Array], tuple[Array, Array]]:
    """(state, images, key) -> logits of the classes (batch, classes) and style (batch, style)."""
    return lambda state, images, key: model.encode(state.params, images)


def generate(model: Model) -> Callable[[SemiSupervisedState, Array, Array], Array]:
    """(state, classes (n,) integers, style (n, style)) -> pictures in [0, 1], (n, height, width, channels)."""

    def apply(state: SemiSupervisedState, classes: Array, style: Array) -> Array:
        return model.pixels.picture(model.decode(state.params, jax.nn.one_hot(classes, model.classes), style))

    return apply
