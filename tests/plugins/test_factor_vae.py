"""FactorVAE: a method of two optimisers, with a discriminator of latents."""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import rng
from aejax.methods.method import Method, Metrics, Params, Phase, several_optimizers
from aejax.methods.objectives import negative_elbo
from aejax.methods.variational import elbo
from aejax.models.latent_variable import LatentVariableModel, Terms
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.plugins.checks import SHAPE, check


def factor_vae(model: LatentVariableModel, discriminator: Discriminator, gamma: float) -> Method:
    """Kim and Mnih (2018, arXiv:1802.05983), algorithm 2, with the second half of a batch for the discriminator."""

    def init(key: Array, images: Array) -> Params:
        latents = jnp.zeros((1, model.prior.latents))
        return model.init(key, images) | {
            "discriminator": discriminator.init(rng.stream(key, "discriminator"), latents)
        }

    def judge(params: Params, latents: Array) -> Array:
        return discriminator.apply(params["discriminator"], latents)

    def terms_of(params: Params, images: Array, key: Array, half: int) -> Terms:
        return model.terms(params, jnp.split(images, 2)[half], rng.stream(key, "half", half))

    def variational(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        terms = terms_of(params, images, key, 0)
        values = negative_elbo(terms) + gamma * judge(params, terms.latents[:, 0])
        return values, {"loss": values}

    def adversarial(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        joint, other = (terms_of(params, images, key, half).latents[:, 0] for half in (0, 1))
        product = jax.random.permutation(rng.stream(key, "permutation"), other, independent=True)
        values = (jax.nn.softplus(-judge(params, joint)) + jax.nn.softplus(judge(params, product))) / 2
        return values, {"discriminator_loss": values}

    phases = (
        Phase("vae", variational, ("encoder", "decoder"), optax.adam(1e-2)),
        Phase("discriminator", adversarial, ("discriminator",), optax.adam(1e-3, 0.5, 0.9)),
    )
    return several_optimizers(init, phases, elbo(model))


def plugin() -> tuple[LatentVariableModel, Method]:
    encoder, decoder = GaussianEncoder(MLP((16,)), 2), DenseDecoder((16,), SHAPE)
    model = LatentVariableModel(GaussianPosterior(encoder), decoder, StandardNormal(latents=2))
    return model, factor_vae(model, Discriminator((16, 16)), 2.0)


def test_a_method_with_a_discriminator_of_its_own() -> None:
    check(*plugin())
