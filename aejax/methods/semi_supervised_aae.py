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
from aejax.methods.method import Method, Metrics, Params, Phase, several_optimizers
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
      model: with a `ClassAndStylePosterior` posterior and prior.
      classes: a network (batch, classes), probabilities or one-hot -> outputs (batch,).
      style: a network (batch, style) -> outputs (batch,).
    """

    model: LatentVariableModel
    classes: nn.Module
    style: nn.Module

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
    *,
    corruption: Corruption | None = None,
) -> Method:
    """Makes the semi-supervised adversarial autoencoder, or the clustering one where no label is known.

    Args:
      adversaries: the model, with its two discriminators.
      optimizers: of the four phases.
      class_gan: the losses of the adversary of the classes; None: `gan_losses.gan()`.
      style_gan: those of the adversary of the style; None: `gan_losses.gan()`.
      corruption: (key, images) -> what the encoder sees of images in training; None: the images themselves.

    Returns:
      A method of `Examples` with the metrics "loss" (the reconstruction's negative log-likelihood in nats per image),
      the same per pixel under the likelihood's name, "discriminator_loss" and "generator_loss" (sums over the two
      adversaries; with cross-entropy 4 ln 2 and 2 ln 2 where nothing can be told apart), "classification_loss" (the
      cross-entropy in nats over the labelled images, 0 where there are none) and each phase's gradient norm. In
      evaluation, where `labels` are those of `images`: "loss", the same per pixel, "mse" and "error", 1 where the most
      probable class is not the label.
    """
    gans = class_gan or gan_losses.gan(), style_gan or gan_losses.gan()
    model, posterior = adversaries.model, adversaries.posterior

    def codes_of(params: Params, images: Array, key: Array) -> Array:
        """What the encoder makes of the corrupted images: the same in all phases, so that it is computed once."""
        seen = images if corruption is None else corruption(rng.stream(key, "corruption"), images)
        return posterior.mean(params, seen)

    def reconstruction(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        images = jnp.asarray(examples.images)
        values = model.likelihood.neg_log_prob(model.decode(params, codes_of(params, images, key)), images)
        return values, {"loss": values, model.likelihood.name: values / math.prod(images.shape[1:])}

    def discrimination(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        images = jnp.asarray(examples.images)
        fake = adversaries.split(codes_of(params, images, key))
        real = adversaries.split(model.prior.sample(params, rng.stream(key, "prior"), len(images)))
        values, penalties = jnp.zeros(len(images)), jnp.zeros(len(images))
        names = "class_discriminator", "style_discriminator"
        for name, gan, discriminate, r, f in zip(
            names, gans, adversaries.discriminators(params), real, fake, strict=True
        ):
            values += gan.real(discriminate(r)) + gan.fake(discriminate(f))
            penalties += gan.penalty(discriminate, r, f, rng.stream(key, f"{name} penalty"))
        return values + penalties, {"discriminator_loss": values}

    def generation(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        classes, style = adversaries.split(codes_of(params, jnp.asarray(examples.images), key))
        on_classes, on_style = adversaries.discriminators(params)
        values = gans[0].generator(on_classes(classes)) + gans[1].generator(on_style(style))
        return values, {"generator_loss": values}

    def classification(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        labelled, labels = jnp.asarray(examples.labelled), jnp.asarray(examples.labels)
        seen = labelled if corruption is None else corruption(rng.stream(key, "labelled"), labelled)
        logits, _ = posterior.logits_and_style(params, seen)
        entropies = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
        values = jnp.where(labels >= 0, entropies, 0)
        return values, {"classification_loss": values}

    def evaluate(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        images, labels = jnp.asarray(examples.images), jnp.asarray(examples.labels)
        logits, style = posterior.logits_and_style(params, images)
        outputs = model.decode(params, jnp.concatenate([jax.nn.softmax(logits), style], axis=1))
        values, size = model.likelihood.neg_log_prob(outputs, images), math.prod(images.shape[1:])
        mse = losses.squared_error(model.likelihood.mean(outputs), images) / size
        error = (logits.argmax(axis=1) != labels).astype(jnp.float32)
        return values, {model.likelihood.name: values / size, "mse": mse, "error": error}

    phases = (
        Phase("reconstruction", reconstruction, ("encoder", "decoder"), optimizers.reconstruction),
        Phase(
            "discriminator", discrimination, ("class_discriminator", "style_discriminator"), optimizers.discriminator
        ),
        Phase("generator", generation, ("encoder",), optimizers.generator),
        Phase("classification", classification, ("encoder",), optimizers.classification),
    )
    return several_optimizers(adversaries.init, phases, evaluate)
