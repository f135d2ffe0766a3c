"""Semi-supervised and clustering adversarial autoencoders.

Makhzani et al. (2015, arXiv:1511.05644), sections 2.4 and 2.5. The code has two parts, a softmax over classes and a
style. A discriminator makes each follow its own prior, one-hot vectors of uniform classes and N(0, I). With labels for
some images the encoder also learns to classify them; without, the classes become clusters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aejax import losses, rng
from aejax.corruptions import Corruption
from aejax.methods import gan_losses
from aejax.methods.gan_losses import GanLoss
from aejax.methods.method import Loss, Method, Metrics, Params, Phase, several_optimizers
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import ClassAndStylePosterior


class Examples(NamedTuple):
    """A batch, or a dataset with the same number of rows in each array.

    Attributes:
      images: to autoencode, (batch, height, width, channels).
      labelled: images with known classes, (batch, height, width, channels); where they are few, they are repeated.
      labels: of `labelled`, int32 (batch,); -1 where there is none.
    """

    images: Array | np.ndarray
    labelled: Array | np.ndarray
    labels: Array | np.ndarray


class Optimizers(NamedTuple):
    """One for each phase."""

    reconstruction: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation
    classification: optax.GradientTransformation


@dataclass(frozen=True)
class Adversaries:
    """A discriminator for each part of the code; params stand under "class_discriminator" and "style_discriminator".

    Attributes:
      model: with the posterior and the prior of classes and style.
      classes: a network (batch, classes), probabilities or one-hot -> outputs (batch,).
      style: a network (batch, style) -> outputs (batch,).
      corruption: (key, images) -> what the encoder sees of images in training; None: the images themselves.
    """

    model: LatentVariableModel
    classes: nn.Module
    style: nn.Module
    corruption: Corruption | None = None

    @property
    def posterior(self) -> ClassAndStylePosterior:
        assert isinstance(self.model.posterior, ClassAndStylePosterior)
        return self.model.posterior

    def init(self, key: Array, examples: Examples) -> Params:
        """Returns the initial params of the model and of the discriminators."""
        codes = self.split(jnp.zeros((1, self.model.prior.latents)))
        networks = {"class_discriminator": self.classes, "style_discriminator": self.style}
        return self.model.init(key, jnp.asarray(examples.images)[:1]) | {
            name: network.init(rng.stream(key, name), code)
            for (name, network), code in zip(networks.items(), codes, strict=True)
        }

    def seen(self, images: Array, key: Array) -> Array:
        """Returns what the encoder sees of images in training."""
        return images if self.corruption is None else self.corruption(key, images)

    def codes(self, params: Params, images: Array, key: Array) -> Array:
        """Encodes corrupted images. Phases that share the key share the codes, so that these are computed once."""
        return self.posterior.mean(params, self.seen(images, rng.stream(key, "corruption")))

    def split(self, codes: Array) -> tuple[Array, Array]:
        """Splits codes (batch, classes + style) into classes and style."""
        return codes[:, : self.posterior.classes], codes[:, self.posterior.classes :]

    def discriminators(self, params: Params) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        """Returns those of classes and of style: part of the code -> outputs (batch,)."""

        def on_classes(classes: Array) -> Array:
            outputs: Any = self.classes.apply(params["class_discriminator"], classes)
            return outputs

        def on_style(style: Array) -> Array:
            outputs: Any = self.style.apply(params["style_discriminator"], style)
            return outputs

        return on_classes, on_style


def aae(
    adversaries: Adversaries,
    optimizers: Optimizers,
    class_gan: GanLoss | None = None,
    style_gan: GanLoss | None = None,
) -> Method:
    """Makes the semi-supervised adversarial autoencoder, or the clustering one where no label is known.

    Args:
      adversaries: the model, with its two discriminators.
      optimizers: of the four phases.
      class_gan: the losses of the adversary of the classes; None: `gan_losses.gan()`.
      style_gan: those of the adversary of the style; None: `gan_losses.gan()`.

    Returns:
      A method of `Examples` with the metrics "loss" (the reconstruction's negative log-likelihood in nats per image),
      the same per pixel under the likelihood's name, "discriminator_loss" and "generator_loss" (sums over the two
      adversaries; with cross-entropy 4 ln 2 and 2 ln 2 where nothing can be told apart), "classification_loss" (the
      cross-entropy in nats over the labelled images, 0 where there are none) and each phase's gradient norm. In
      evaluation, where `labels` are those of `images`: "loss", the same per pixel, "mse" and "error", 1 where the most
      probable class is not the label.
    """
    gans = class_gan or gan_losses.gan(), style_gan or gan_losses.gan()

    def discrimination(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        return discriminator_loss(adversaries, gans, params, examples, key)

    def generation(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        return generator_loss(adversaries, gans, params, examples, key)

    discriminators = "class_discriminator", "style_discriminator"
    phases = (
        Phase("reconstruction", _of(adversaries, reconstruction_loss), _AUTOENCODER, optimizers.reconstruction),
        Phase("discriminator", discrimination, discriminators, optimizers.discriminator),
        Phase("generator", generation, ("encoder",), optimizers.generator),
        Phase("classification", _of(adversaries, classification_loss), ("encoder",), optimizers.classification),
    )
    return several_optimizers(adversaries.init, phases, _of(adversaries, evaluation_loss))


def reconstruction_loss(
    adversaries: Adversaries, params: Params, examples: Examples, key: Array
) -> tuple[Array, Metrics]:
    """Computes -log p(x | classes, style) in nats per example: (batch,), and metrics."""
    images, model = jnp.asarray(examples.images), adversaries.model
    values = model.likelihood.neg_log_prob(model.decode(params, adversaries.codes(params, images, key)), images)
    return values, {"loss": values, model.likelihood.name: values / math.prod(images.shape[1:])}


def discriminator_loss(
    adversaries: Adversaries, gans: tuple[GanLoss, GanLoss], params: Params, examples: Examples, key: Array
) -> tuple[Array, Metrics]:
    """Computes the loss of both discriminators, on the codes and one prior sample for each: (batch,), and metrics."""
    images = jnp.asarray(examples.images)
    fake = adversaries.split(adversaries.codes(params, images, key))
    real = adversaries.split(adversaries.model.prior.sample(params, rng.stream(key, "prior"), len(images)))
    values, penalties = jnp.zeros(len(images)), jnp.zeros(len(images))
    names, discriminators = ("class_discriminator", "style_discriminator"), adversaries.discriminators(params)
    for name, gan, discriminate, r, f in zip(names, gans, discriminators, real, fake, strict=True):
        values += gan.real(discriminate(r)) + gan.fake(discriminate(f))
        penalties += gan.penalty(discriminate, r, f, rng.stream(key, f"{name} penalty"))
    return values + penalties, {"discriminator_loss": values}


def generator_loss(
    adversaries: Adversaries, gans: tuple[GanLoss, GanLoss], params: Params, examples: Examples, key: Array
) -> tuple[Array, Metrics]:
    """Computes the encoder's loss as the generator of classes and style: (batch,), and metrics."""
    codes = adversaries.codes(params, jnp.asarray(examples.images), key)
    on_classes, on_style = adversaries.discriminators(params)
    classes, style = adversaries.split(codes)
    values = gans[0].generator(on_classes(classes)) + gans[1].generator(on_style(style))
    return values, {"generator_loss": values}


def classification_loss(
    adversaries: Adversaries, params: Params, examples: Examples, key: Array
) -> tuple[Array, Metrics]:
    """Computes the cross-entropy of the labelled images, 0 where a label is unknown: (batch,), and metrics."""
    labels = jnp.asarray(examples.labels)
    seen = adversaries.seen(jnp.asarray(examples.labelled), rng.stream(key, "labelled"))
    logits, _ = adversaries.posterior.logits_and_style(params, seen)
    entropies = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    values = jnp.where(labels >= 0, entropies, 0)
    return values, {"classification_loss": values}


def evaluation_loss(adversaries: Adversaries, params: Params, examples: Examples, key: Array) -> tuple[Array, Metrics]:
    """Computes the reconstruction's loss of images that are not corrupted, and whether their class is wrong."""
    images, labels = jnp.asarray(examples.images), jnp.asarray(examples.labels)
    model, size = adversaries.model, math.prod(images.shape[1:])
    logits, style = adversaries.posterior.logits_and_style(params, images)
    outputs = model.decode(params, jnp.concatenate([jax.nn.softmax(logits), style], axis=1))
    values = model.likelihood.neg_log_prob(outputs, images)
    mse = losses.squared_error(model.likelihood.mean(outputs), images) / size
    error = (logits.argmax(axis=1) != labels).astype(jnp.float32)
    return values, {model.likelihood.name: values / size, "mse": mse, "error": error}


_AUTOENCODER = ("encoder", "decoder")


def _of(adversaries: Adversaries, loss: Callable[..., tuple[Array, Metrics]]) -> Loss:
    """Returns a loss of (params, examples, key, step) for these adversaries."""
    return lambda params, examples, key, step: loss(adversaries, params, examples, key)
