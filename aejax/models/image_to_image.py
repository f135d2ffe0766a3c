"""Models of images without a prior: the autoencoder and, with a corrupted input, denoiser and super-resolver."""

from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aejax.corruptions import Corruption
from aejax.models.likelihoods import Bernoulli, Likelihood
from aejax.models.posteriors import Params


@dataclass(frozen=True)
class ImageToImage:
    """A network of images whose outputs have the images' shape; its params are those of the network.

    Attributes:
      network: inputs -> outputs (batch, height, width, channels * likelihood.outputs_per_value). A network with the
        submodules `encoder` and `decoder` has latents of any shape, (batch, ...).
      likelihood: the meaning of the outputs.
      corruption: (key, images) -> the network's inputs; None: the images themselves.
    """

    network: nn.Module
    likelihood: Likelihood = field(default_factory=Bernoulli)
    corruption: Corruption | None = None

    @property
    def has_latents(self) -> bool:
        """Whether `encode` and `decode` are defined."""
        bound: Any = self.network.bind({})
        return hasattr(bound, "encoder") and hasattr(bound, "decoder")

    def init(self, key: Array, images: Array) -> Params:
        """Returns the initial params for images of this shape, (batch, height, width, channels)."""
        inputs = jax.eval_shape(self.corrupt, images, key)
        return self.network.init(key, jnp.zeros(inputs.shape, inputs.dtype))

    def own(self, params: Params) -> Params:
        """Returns the model's part of params: all of them."""
        return params

    def corrupt(self, images: Array, key: Array) -> Array:
        """Returns what the network sees of images; equal keys give equal noise."""
        return images if self.corruption is None else self.corruption(key, images)

    def outputs(self, params: Params, images: Array, key: Array) -> Array:
        """Computes the outputs for corrupted images: (batch, height, width, channels)."""
        outputs: Any = self.network.apply(params, self.corrupt(images, key))
        return outputs

    def restore(self, params: Params, inputs: Array) -> Array:
        """Maps inputs as they are, not corrupted any further, to expected pixels in [0, 1]."""
        outputs: Any = self.network.apply(params, inputs)
        return self.likelihood.mean(outputs)

    def encode(self, params: Params, images: Array) -> Array:
        """Maps images to the encoder's latents, (batch, ...)."""
        latents: Any = self.network.apply(params, images, method=lambda network, x: network.encoder(x))
        return latents

    def decode(self, params: Params, latents: Array) -> Array:
        """Maps the encoder's latents to outputs."""
        outputs: Any = self.network.apply(params, latents, method=lambda network, z: network.decoder(z))
        return outputs

    def pictures(self, params: Params, latents: Array) -> Array:
        """Decodes latents to expected pixels in [0, 1]."""
        return self.likelihood.mean(self.decode(params, latents))

    def reconstruct(self, params: Params, images: Array) -> Array:
        """Maps images, as they are, to expected pixels in [0, 1]."""
        return self.restore(params, images)
