"""Autoencoders with discrete latents: a map of codes for each image, and a learnt prior over such maps."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aejax import rng
from aejax.models.likelihoods import Bernoulli, Likelihood
from aejax.models.posteriors import Params
from aejax.models.priors import Prior
from aejax.models.quantizers import Quantizer
from aejax.nn import causal_transformer
from aejax.nn.causal_transformer import CausalTransformer


@dataclass(frozen=True, kw_only=True)
class CodePrior(Prior):
    """A distribution over maps of codes, read row by row, by a causal transformer.

    Attributes:
      quantizer: the model's own.
      network: with the quantiser's size as its vocabulary, and as many positions as a map.
    """

    has_density = False
    quantizer: Quantizer
    network: CausalTransformer

    def init(self, key: Array, images: Array) -> Params:
        return self.network.init(key, jnp.zeros((1, self.network.length), jnp.int32))

    def sample(self, params: Params, key: Array, n: int) -> Array:
        indices = causal_transformer.sample(self.network, params["prior"], key, n)
        return self.quantizer.codes(params, indices).reshape(n, self.latents)

    def log_prob_of_indices(self, params: Params, indices: Array) -> Array:
        """Computes log p of maps in nats: integers (batch, height, width) -> (batch,)."""
        return causal_transformer.log_prob(self.network, params["prior"], indices.reshape(len(indices), -1))


class Quantized(NamedTuple):
    """A batch of images between encoder and decoder.

    Attributes:
      vectors: of the encoder, (batch, height, width, features).
      codes: with the gradient of `vectors`, of the same shape.
      indices: of the codes, (batch, height, width).
    """

    vectors: Array
    codes: Array
    indices: Array


@dataclass(frozen=True)
class VectorQuantizedModel:
    """VQ-VAE: van den Oord et al. (2017, arXiv:1711.00937), section 3.

    Its params are {"encoder", "decoder", "prior"} and, for a quantiser that has one, "codebook". An image's latents are
    its map of codes, flattened to (latents,).

    Attributes:
      encoder: images (batch, height, width, channels) -> maps (batch, *map_shape, features).
      decoder: such maps -> outputs (batch, height, width, channels * likelihood.outputs_per_value).
      quantizer: vectors -> codes.
      prior: over maps of codes.
      map_shape: height and width of a map.
      likelihood: p(x | codes), from the decoder's outputs.
    """

    encoder: nn.Module
    decoder: nn.Module
    quantizer: Quantizer
    prior: CodePrior
    map_shape: tuple[int, int]
    likelihood: Likelihood = field(default_factory=Bernoulli)

    has_density = False

    def init(self, key: Array, images: Array) -> Params:
        """Returns the initial params for images of this shape, (batch, height, width, channels)."""
        maps = jnp.zeros((1, *self.map_shape, self.quantizer.features))
        params = {
            "encoder": self.encoder.init(rng.stream(key, "encoder"), images),
            "decoder": self.decoder.init(rng.stream(key, "decoder"), maps),
            "prior": self.prior.init(rng.stream(key, "prior"), images),
        }
        codebook = self.quantizer.init(rng.stream(key, "codebook"))
        return {**params, "codebook": codebook} if jax.tree.leaves(codebook) else params

    def own(self, params: Params) -> Params:
        """Returns the model's part of params."""
        return {name: part for name, part in params.items() if name in ("encoder", "decoder", "prior", "codebook")}

    def quantize(self, params: Params, images: Array) -> Quantized:
        """Encodes and quantises images (batch, height, width, channels)."""
        vectors: Any = self.encoder.apply(params["encoder"], images)
        codes = self.quantizer.quantize(params, vectors)
        return Quantized(vectors, codes, self.quantizer.indices(params, vectors))

    def encode(self, params: Params, images: Array) -> Array:
        """Returns the codes of each image: (batch, latents)."""
        return self.quantize(params, images).codes.reshape(len(images), -1)

    def sample_posterior(self, params: Params, images: Array, key: Array) -> Array:
        """Returns the codes of each image, (batch, latents): the posterior is a single point."""
        return self.encode(params, images)

    def outputs(self, params: Params, images: Array, key: Array) -> Array:
        """Computes the decoder's outputs for images: (batch, height, width, channels)."""
        return self.decode(params, self.encode(params, images))

    def decode(self, params: Params, latents: Array) -> Array:
        """Maps codes (batch, latents) to outputs (batch, height, width, channels * likelihood.outputs_per_value)."""
        maps = latents.reshape(-1, *self.map_shape, self.quantizer.features)
        outputs: Any = self.decoder.apply(params["decoder"], maps)
        return outputs

    def pictures(self, params: Params, latents: Array) -> Array:
        """Decodes codes (batch, latents) to expected pixels in [0, 1], (batch, height, width, channels)."""
        return self.likelihood.mean(self.decode(params, latents))

    def reconstruct(self, params: Params, images: Array) -> Array:
        """Encodes and decodes images: pixels in [0, 1] of the images' shape."""
        return self.pictures(params, self.encode(params, images))

    def generate(self, params: Params, key: Array, n: int) -> Array:
        """Decodes n maps drawn from the prior: (n, height, width, channels) in [0, 1]."""
        return self.pictures(params, self.prior.sample(params, key, n))


def vector_quantized(
    encoder: nn.Module,
    decoder: nn.Module,
    quantizer: Quantizer,
    map_shape: tuple[int, int],
    likelihood: Likelihood,
    *,
    width: int = 64,
    layers: int = 2,
) -> VectorQuantizedModel:
    """Returns the model with a prior of this `width` and number of `layers`; see `VectorQuantizedModel`."""
    length = math.prod(map_shape)
    network = CausalTransformer(quantizer.size, length, width, layers)
    prior = CodePrior(latents=length * quantizer.features, quantizer=quantizer, network=network)
    return VectorQuantizedModel(encoder, decoder, quantizer, prior, map_shape, likelihood)
