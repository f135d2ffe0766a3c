"""VQ-VAE (van den Oord et al. 2017, https://arxiv.org/abs/1711.00937), and the same with finite scalars.

The codebook follows the running means of the vectors that chose each code (appendix A.1). A code that few choose is put
onto a vector of the batch, so that none stays unused. The prior over codes learns in the same run, from codes that
still move; the paper trains it afterwards. Its gradient reaches nothing but the prior.
"""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import rng
from aejax.methods.method import Method, Metrics, Params, Phase, Statistics, several_optimizers
from aejax.methods.reconstruction import reconstruction_loss
from aejax.models.quantizers import Codebook
from aejax.models.vector_quantized import VectorQuantizedModel


def vector_quantized(
    model: VectorQuantizedModel,
    optimizer: optax.GradientTransformation,
    prior_optimizer: optax.GradientTransformation,
    *,
    commitment: float = 0.25,
    decay: float = 0.99,
    revival: float = 0.01,
) -> Method:
    """Makes the method of three parts: autoencoder, codebook, prior.

    Args:
      model: with its quantiser and prior.
      optimizer: of encoder and decoder.
      prior_optimizer: of the prior over codes.
      commitment: weight of the squared distance between vectors and their codes: beta of equation 3.
      decay: of the codebook's running means, per step.
      revival: a code is put onto a vector of the batch when its share of vectors falls below this part of an even one.

    Returns:
      A method whose metrics are "distortion", -log p(x | codes), and "rate", -log p(codes), in nats per image. In
      evaluation "loss" is their sum, an upper bound on -log p(x). In training it is what the autoencoder minimises, and
      with a codebook there are "commitment" and "perplexity": the number of codes in use, e to the entropy of their
      shares.
    """

    def autoencoder(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        quantized = model.quantize(params, images)
        outputs = model.decode(params, quantized.codes)
        distortion = model.likelihood.neg_log_prob(outputs, images)
        metrics = {"distortion": distortion}
        if isinstance(model.quantizer, Codebook):
            gap = quantized.vectors - jax.lax.stop_gradient(quantized.codes)
            metrics["commitment"] = jnp.square(gap).sum(axis=(1, 2, 3))
            values = distortion + commitment * metrics["commitment"]
            return values, {"loss": values, **metrics}
        return distortion, {"loss": distortion, **metrics}

    def of_codes(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        rate = -model.prior.log_prob_of_indices(params, model.quantize(params, images).indices)
        return rate, {"rate": rate}

    def evaluate(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        distortion, metrics = reconstruction_loss(model, params, images, key)
        rate, _ = of_codes(params, images, key, step)
        return distortion + rate, {"distortion": distortion, "rate": rate, **metrics}

    phases = (
        Phase("autoencoder", autoencoder, ("encoder", "decoder"), optimizer),
        Phase("prior", of_codes, ("prior",), prior_optimizer),
    )
    learnt = isinstance(model.quantizer, Codebook)
    return several_optimizers(
        model.init, phases, evaluate, statistics=running_means(model, decay, revival) if learnt else None
    )


def running_means(model: VectorQuantizedModel, decay: float, revival: float) -> Statistics:
    """Returns the codebook's update: equations 6 to 8 of appendix A.1, then the revival of codes that few choose."""

    def init(key: Array, params: Params, images: Array) -> dict[str, Array]:
        codebook = params["codebook"]
        return {"counts": jnp.ones(len(codebook)), "sums": jnp.copy(codebook)}

    def update(
        params: Params, running: dict[str, Array], images: Array, key: Array, step: Array
    ) -> tuple[Params, dict[str, Array], Metrics]:
        quantized = model.quantize(params, images)
        vectors = jax.lax.stop_gradient(quantized.vectors).reshape(-1, model.quantizer.features)
        chosen = jax.nn.one_hot(quantized.indices.reshape(-1), model.quantizer.size)
        counts = optax.incremental_update(chosen.sum(axis=0), running["counts"], 1 - decay)
        sums = optax.incremental_update(chosen.T @ vectors, running["sums"], 1 - decay)

        even = counts.sum() / len(counts)
        dead = (counts < revival * even)[:, None]
        fresh = jax.random.choice(rng.stream(key, "revival"), vectors, (len(counts),))
        counts = jnp.where(dead[:, 0], even, counts)
        sums = jnp.where(dead, even * fresh, sums)
        shares = chosen.mean(axis=0)
        perplexity = jnp.exp(-jnp.sum(jax.scipy.special.xlogy(shares, shares)))
        codebook = sums / counts[:, None]
        return {**params, "codebook": codebook}, {"counts": counts, "sums": sums}, {"perplexity": perplexity}

    return Statistics(init, update)
