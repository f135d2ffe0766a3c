"""One step of every method under JAX's own checks: no key is used twice, and no NaN arises on the way."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from aejax import corruptions, divergences
from aejax.methods import adversarial, gan_losses, objectives, reconstruction, semi_supervised_aae, variational
from aejax.methods.gan_losses import GanLoss
from aejax.methods.method import Method, with_ema
from aejax.models import likelihoods, priors
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import Bernoulli, Likelihood
from aejax.models.posteriors import (
    ClassAndStylePosterior,
    DeterministicPosterior,
    GaussianPosterior,
    Posterior,
    UniversalPosterior,
)
from aejax.models.priors import ClassAndStylePrior, Prior, StandardNormal
from aejax.nn import build
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import Autoencoder, GaussianEncoder, LatentEncoder, UniversalEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from experiments import aae as aae_experiment
from experiments import autoencoder as autoencoder_experiment
from experiments import denoise, super_resolution
from experiments import vae as vae_experiment
from tests.experiments.conftest import parsed

SHAPE, LARGE = (4, 4, 1), (12, 12, 1)
ADAM = optax.adam(1e-3)
KERNEL = divergences.inverse_multiquadratic(2)


def batch(shape: tuple[int, ...]) -> jax.Array:
    """With black and white pixels, where logarithms and square roots have their poles."""
    return jnp.clip(2 * jax.random.uniform(jax.random.key(1), (4, *shape)) - 0.5, 0, 1)


IMAGES = batch(SHAPE)
POSTERIORS: dict[str, Posterior] = {
    "deterministic": DeterministicPosterior(LatentEncoder(MLP((8,)), 2)),
    "gaussian": GaussianPosterior(GaussianEncoder(MLP((8,)), 2)),
    "universal": UniversalPosterior(UniversalEncoder(MLP((8,)), 2, 8)),
}


def autoencoder(**options: Any) -> tuple[Method, Any]:
    network = Autoencoder(LatentEncoder(MLP((8,)), 2), DenseDecoder((8,), SHAPE))
    return reconstruction.autoencoder(ImageToImage(network, **options), ADAM), IMAGES


def model(
    likelihood: Likelihood | None = None, kind: str = "gaussian", prior: Prior | None = None
) -> LatentVariableModel:
    likelihood = likelihood or Bernoulli()
    outputs = (*SHAPE[:2], SHAPE[2] * likelihood.outputs_per_value)
    prior = prior or StandardNormal(latents=2)
    return LatentVariableModel(POSTERIORS[kind], DenseDecoder((8,), outputs), prior, likelihood)


def vae(
    objective: objectives.Objective = objectives.negative_elbo, likelihood: Likelihood | None = None, **options: Any
) -> tuple[Method, Any]:
    return variational.vae(model(likelihood), ADAM, objective, **options), IMAGES


def aae(
    kind: str = "deterministic",
    gan: GanLoss | None = None,
    prior: Prior | None = None,
    labelled: bool = False,
    spectral_norm: bool = False,
) -> tuple[Method, Any]:
    of = model(kind=kind, prior=prior or priors.MixtureOnRing())
    adversary = adversarial.Adversary(of, Discriminator((8, 8), spectral_norm), label_conditioned=labelled)
    examples = adversarial.LabelledImages(IMAGES, jnp.array([0, 3, -1, 9])) if labelled else IMAGES
    return adversarial.aae(adversary, adversarial.Optimizers(ADAM, ADAM, ADAM), gan), examples


def semi(labels: list[int], corruption: Any = None) -> tuple[Method, Any]:
    posterior = ClassAndStylePosterior(LatentEncoder(MLP((8,)), 3 + 2), 3)
    of = LatentVariableModel(posterior, DenseDecoder((8,), SHAPE), ClassAndStylePrior(latents=5, classes=3))
    adversaries = semi_supervised_aae.Adversaries(of, Discriminator((8,)), Discriminator((8,)), corruption)
    optimizers = semi_supervised_aae.Optimizers(ADAM, ADAM, ADAM, ADAM)
    examples = semi_supervised_aae.Examples(IMAGES, IMAGES[::-1], jnp.array(labels))
    return semi_supervised_aae.aae(adversaries, optimizers), examples


def reconstructing(module: Any, *options: object) -> tuple[Method, Any]:
    """An experiment's model, with the method that it is learnt by."""
    return reconstruction.autoencoder(module.build_model(parsed(module, *options), LARGE), ADAM), batch(LARGE)


def of_vae(*options: object) -> tuple[Method, Any]:
    config = parsed(vae_experiment, "--batch-size", 4, *options)
    return vae_experiment.build_method(config, vae_experiment.build_model(config, LARGE), 8), batch(LARGE)


def of_aae(*options: object) -> tuple[Method, Any]:
    config = parsed(aae_experiment, "--hidden", 8, "--discriminator-hidden", 8, *options)
    return aae_experiment.build_method(config, aae_experiment.build_model(config, LARGE), "AAE", 8), batch(LARGE)


def residual() -> tuple[Method, Any]:
    trunk, decoder = build.trunk_and_decoder("residual", (8, 8, 1), 2, width=2)
    network = Autoencoder(LatentEncoder(trunk, 2), decoder)
    return reconstruction.autoencoder(ImageToImage(network), ADAM), batch((8, 8, 1))


CASES: dict[str, Callable[[], tuple[Method, Any]]] = {
    "autoencoder": lambda: reconstructing(autoencoder_experiment),
    "denoiser": lambda: reconstructing(denoise, "--network", "tutorial"),
    "super-resolver": lambda: reconstructing(super_resolution, "--network", "tutorial"),
    "VAE": lambda: of_vae("--width", 2, "--latents", 3),
    "tutorial's VAE": lambda: of_vae("--recipe", "tutorial", "--hidden", 8),
    "convolutional VAE": lambda: of_vae("--recipe", "conv"),
    "AAE": of_aae,
    "residual network": residual,
    "masking": lambda: autoencoder(corruption=corruptions.Masking()),
    "salt and pepper": lambda: autoencoder(corruption=corruptions.SaltAndPepper()),
    "speckle": lambda: autoencoder(corruption=corruptions.Speckle()),
    "Gaussian pixels": lambda: autoencoder(likelihood=likelihoods.Gaussian()),
    "EMA": lambda: (with_ema(autoencoder()[0], 0.9), IMAGES),
    "beta-VAE": lambda: vae(objectives.beta_elbo(4.0)),
    "annealed KL, drawn pixels": lambda: vae(
        objectives.beta_elbo(optax.linear_schedule(0.0, 1.0, 3)), transform=corruptions.binarize
    ),
    "IWAE": lambda: vae(objectives.negative_iwae, samples=3),
    "DReG": lambda: (variational.doubly_reparameterized(model(), ADAM, 3), IMAGES),
    "free bits": lambda: vae(objectives.free_bits(0.5)),
    "WAE-MMD": lambda: vae(objectives.wae_mmd(10.0, KERNEL)),
    "WAE-MMD, Gaussian kernel": lambda: vae(objectives.wae_mmd(10.0, divergences.gaussian_kernel(2**0.5))),
    "InfoVAE": lambda: vae(objectives.info_vae(0.5, 10.0, KERNEL)),
    "beta-TCVAE": lambda: vae(objectives.beta_tc(6.0, 100)),
    "continuous Bernoulli": lambda: vae(likelihood=likelihoods.ContinuousBernoulli()),
    "learnt Gaussian": lambda: vae(likelihood=likelihoods.GaussianLearnt()),
    "discretized logistic": lambda: vae(likelihood=likelihoods.DiscretizedLogistic()),
    "tutorial's mistake": lambda: vae(objectives.tutorial_mistake),
    "AAE, Gaussian encoder": lambda: aae("gaussian"),
    "AAE, universal encoder": lambda: aae("universal", prior=priors.SwissRoll()),
    "AAE, R1": lambda: aae(gan=gan_losses.gan(1.0)),
    "AAE, WGAN-GP": lambda: aae(gan=gan_losses.wgan_gp()),
    "AAE, spectral norm": lambda: aae(spectral_norm=True),
    "AAE, labels": lambda: aae(labelled=True),
    "AAE without adversary": lambda: (reconstruction.autoencoder(model(kind="deterministic"), ADAM), IMAGES),
    "semi-supervised": lambda: semi([0, 2, 1, 0], corruptions.Gaussian(0.0, 0.3)),
    "clusters": lambda: semi([-1, -1, -1, -1]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_and_an_evaluation_use_no_key_twice_and_make_no_nan(name: str) -> None:
    method, examples = CASES[name]()

    def everything(first: jax.Array, second: jax.Array, third: jax.Array) -> Any:
        state = method.init(first, examples)
        state, metrics = method.step(state, examples, second)
        return state, metrics, method.evaluate(state, examples, third)

    with jax.debug_key_reuse(True), jax.debug_nans(True):
        state, metrics, values = jax.jit(everything)(jax.random.key(2), jax.random.key(3), jax.random.key(4))
    assert all(jnp.isfinite(value).all() for value in jax.tree.leaves((state, metrics, values)))
    # Training watches the metrics alone: a gradient that is not in them could go wrong unseen.
    optimizers = getattr(state, "inner", state).opt_state
    phases = len(optimizers) if isinstance(optimizers, dict) else 1
    assert sum(metric.endswith("gradient_norm") for metric in metrics) == phases


def test_the_checks_notice_a_key_used_twice_and_a_nan() -> None:
    def twice(key: jax.Array) -> jax.Array:
        return jax.random.normal(key) + jax.random.normal(key)

    with jax.debug_key_reuse(True), pytest.raises(Exception, match=r"reuse|consumed"):
        jax.jit(twice)(jax.random.key(0))
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        jax.jit(jnp.log)(-1.0)
