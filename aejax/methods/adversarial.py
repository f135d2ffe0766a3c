"""Adversarial autoencoders: a discriminator on the codes makes them follow a prior.

Makhzani et al. (2015, arXiv:1511.05644), section 2. One step has three phases, each with its own optimiser and its own
parameters: reconstruction updates encoder and decoder, the discriminator learns to tell prior samples from codes, and
the encoder, as the generator, learns to fool it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aejax import rng
from aejax.methods import gan_losses
from aejax.methods.gan_losses import GanLoss
from aejax.methods.method import Method, Metrics, Params, Phase, several_optimizers
from aejax.methods.reconstruction import reconstruction_loss
from aejax.models.latent_variable import LatentVariableModel


class LabelledImages(NamedTuple):
    """Images with the labels that the discriminator is given.

    Attributes:
      images: (batch, height, width, channels), in a dataset uint8 arrays of numpy.
      labels: int32 (batch,), 0 ... classes - 1, or -1 where the label is unknown.
    """

    images: Array | np.ndarray
    labels: Array | np.ndarray


Examples = Array | LabelledImages


class Optimizers(NamedTuple):
    """One for each phase; different rates make the two-time-scale rule of Heusel et al. (2017, arXiv:1706.08500)."""

    reconstruction: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation


@dataclass(frozen=True)
class Adversary:
    """A discriminator of codes against samples of the model's prior; its params stand under "discriminator".

    Attributes:
      model: whose codes it judges.
      network: codes (batch, latents) -> outputs (batch,), larger for samples of the prior.
      label_conditioned: the discriminator also sees the label, as a one-hot vector with an extra entry for "unknown",
        which ties each class to its own part of the prior (section 2.3). Examples are then `LabelledImages`.
    """

    model: LatentVariableModel
    network: nn.Module
    label_conditioned: bool = False

    def init(self, key: Array, examples: Examples) -> Params:
        """Returns the initial params of the model and of the discriminator."""
        images, labels = split_labels(examples)
        codes = jnp.zeros((1, self.model.prior.latents))
        inputs = self._inputs(codes, None if labels is None else labels[:1])
        discriminator = self.network.init(rng.stream(key, "discriminator"), inputs)
        return {**self.model.init(key, images), "discriminator": discriminator}

    def judge(self, params: Params, codes: Array, labels: Array | None) -> Array:
        """Computes the discriminator's outputs (batch,) for codes (batch, latents)."""
        outputs: Any = self.network.apply(params["discriminator"], self._inputs(codes, labels))
        return outputs

    def sample_prior(self, params: Params, key: Array, n: int, labels: Array | None) -> Array:
        """Draws (n, latents); with labels, from each label's part of the prior, or from all of it where unknown."""
        prior = self.model.prior
        anywhere = prior.sample(params, rng.stream(key, "anywhere"), n)
        if not self.label_conditioned or labels is None:
            return anywhere
        own = prior.sample_part(params, rng.stream(key, "class"), jnp.maximum(labels, 0))
        return jnp.where(labels[:, None] >= 0, own, anywhere)

    def _inputs(self, codes: Array, labels: Array | None) -> Array:
        if not self.label_conditioned or labels is None:
            return codes
        parts = self.model.prior.parts
        one_hot = jax.nn.one_hot(jnp.where(labels >= 0, labels, parts), parts + 1, dtype=codes.dtype)
        return jnp.concatenate([codes, one_hot], axis=1)


def aae(adversary: Adversary, optimizers: Optimizers, gan_loss: GanLoss | None = None) -> Method:
    """Makes the adversarial autoencoder.

    Args:
      adversary: the model, with the discriminator of its codes.
      optimizers: of the three phases, which follow each other in a step as in the paper's section 2.
      gan_loss: the losses of discriminator and generator; None: `gan_losses.gan()`.

    Returns:
      A method with the metrics "loss" (the reconstruction's negative log-likelihood in nats per image), the same per
      pixel under the likelihood's name and "generator_loss". In evaluation there is also "mse" per pixel, in training
      "discriminator_loss", "discriminator_accuracy" (over all pairs of a prior sample and a code, how often the prior
      sample's output is the larger one; chance is one half) and each phase's gradient norm.
    """
    gan, model = gan_loss or gan_losses.gan(), adversary.model

    def reconstruction(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        images, _ = split_labels(examples)
        values, metrics = reconstruction_loss(model, params, images, rng.stream(key, "reconstruction"))
        name = model.likelihood.name  # alone, as what is not reported need not be computed at each step
        return values, {"loss": values, name: metrics[name]}

    def discrimination(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        return discriminator_loss(adversary, gan, params, examples, rng.stream(key, "adversarial"))

    def generation(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        return generator_loss(adversary, gan, params, examples, rng.stream(key, "adversarial"))

    def evaluate(params: Params, examples: Examples, key: Array, step: Array) -> tuple[Array, Metrics]:
        images, labels = split_labels(examples)
        values, metrics = reconstruction_loss(model, params, images, rng.stream(key, "codes"))
        codes = model.sample_posterior(params, images, rng.stream(key, "codes"))
        return values, metrics | {"generator_loss": gan.generator(adversary.judge(params, codes, labels))}

    phases = (
        Phase("reconstruction", reconstruction, ("encoder", "decoder"), optimizers.reconstruction),
        Phase("discriminator", discrimination, ("discriminator",), optimizers.discriminator),
        Phase("generator", generation, ("encoder",), optimizers.generator),
    )
    return several_optimizers(adversary.init, phases, evaluate)


def discriminator_loss(
    adversary: Adversary, gan: GanLoss, params: Params, examples: Examples, key: Array
) -> tuple[Array, Metrics]:
    """Computes the discriminator's loss on the codes and one fresh prior sample for each: (batch,), and metrics."""
    images, labels = split_labels(examples)
    codes = adversary.model.sample_posterior(params, images, rng.stream(key, "codes"))
    samples = adversary.sample_prior(params, rng.stream(key, "prior"), len(images), labels)
    on_real, on_fake = (adversary.judge(params, z, labels) for z in (samples, codes))
    values = gan.real(on_real) + gan.fake(on_fake)
    penalty = gan.penalty(lambda z: adversary.judge(params, z, labels), samples, codes, rng.stream(key, "penalty"))
    # By order, since a critic's outputs have no threshold.
    right = (1 + jnp.sign(on_real[:, None] - on_fake)).mean(axis=1) / 2
    return values + penalty, {"discriminator_loss": values, "discriminator_accuracy": right}


def generator_loss(
    adversary: Adversary, gan: GanLoss, params: Params, examples: Examples, key: Array
) -> tuple[Array, Metrics]:
    """Computes the encoder's loss as the generator of codes: (batch,), and metrics."""
    # The codes that the discriminator has just seen, so that the compiler computes them once.
    images, labels = split_labels(examples)
    codes = adversary.model.sample_posterior(params, images, rng.stream(key, "codes"))
    values = gan.generator(adversary.judge(params, codes, labels))
    return values, {"generator_loss": values}


def split_labels(examples: Examples) -> tuple[Array, Array | None]:
    """Returns the images, and the labels where there are any."""
    if isinstance(examples, LabelledImages):
        return jnp.asarray(examples.images), jnp.asarray(examples.labels)
    return examples, None
