"""One step of every method under JAX's own checks: no key is used twice, and no NaN arises on the way."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from aejax.nn.dense import MLP, Autoencoder, DenseDecoder, GaussianEncoder, LatentEncoder, UniversalEncoder

from aejax import corruptions, divergences, pixels, priors
from aejax.methods import adversarial, games, objectives, reconstruction, semi_supervised, variational
from aejax.methods.method import Method
from aejax.nn.discriminator import Discriminator
from experiments.benchmark.contenders.jax_systems import SYSTEMS

SHAPE = (4, 4, 1)
ADAM = optax.adam(1e-3)
KERNEL = divergences.inverse_multiquadratic(2)


def batch(shape: tuple[int, ...]) -> jax.Array:
    """With black and white pixels, where logarithms and square roots have their poles."""
    return jnp.clip(2 * jax.random.uniform(jax.random.key(1), (4, *shape)) - 0.5, 0, 1)


IMAGES = batch(SHAPE)


def autoencoder(**options: Any) -> tuple[Method, Any]:
    network = Autoencoder(LatentEncoder(MLP((8,)), 2), DenseDecoder((8,), SHAPE))
    return reconstruction.autoencoder(network, ADAM, **options), IMAGES


def model(of: pixels.Pixels = pixels.BERNOULLI, **options: Any) -> variational.Model:
    outputs = (*SHAPE[:2], SHAPE[2] * of.outputs_per_value)
    return variational.Model(GaussianEncoder(MLP((8,)), 2), DenseDecoder((8,), outputs), of, **options)


def vae(objective: objectives.Objective = objectives.negative_elbo, **options: Any) -> tuple[Method, Any]:
    of = options.pop("of", model())
    return variational.vae(of, ADAM, objective, **options), IMAGES


def aae(
    kind: adversarial.Kind = "deterministic", game: games.Game | None = None, labelled: bool = False, **options: Any
) -> tuple[Method, Any]:
    encoder = {
        "deterministic": LatentEncoder(MLP((8,)), 2),
        "gaussian": GaussianEncoder(MLP((8,)), 2),
        "universal": UniversalEncoder(MLP((8,)), 2, 8),
    }[kind]
    discriminator = Discriminator((8, 8), options.pop("spectral_norm", False))
    prior = options.pop("prior", priors.mixture_on_ring())
    networks = adversarial.Model(encoder, DenseDecoder((8,), SHAPE), discriminator, prior, kind, labelled=labelled)
    examples = adversarial.Labelled(IMAGES, jnp.array([0, 3, -1, 9])) if labelled else IMAGES
    return adversarial.aae(networks, adversarial.Optimizers(ADAM, ADAM, ADAM), game, **options), examples


def semi(labels: list[int], corrupt: Any = None) -> tuple[Method, Any]:
    coders = LatentEncoder(MLP((8,)), 3 + 2), DenseDecoder((8,), SHAPE)
    networks = semi_supervised.Model(*coders, Discriminator((8,)), Discriminator((8,)), 3, 2, corrupt=corrupt)
    examples = semi_supervised.Examples(IMAGES, IMAGES[::-1], jnp.array(labels))
    return semi_supervised.aae(networks, semi_supervised.Optimizers(ADAM, ADAM, ADAM, ADAM)), examples


def system(name: str) -> Callable[[], tuple[Method, Any]]:
    return lambda: (SYSTEMS[name].method((12, 12, 1)), batch((12, 12, 1)))


CASES: dict[str, Callable[[], tuple[Method, Any]]] = {
    **{name: system(name) for name in SYSTEMS},
    "masking": lambda: autoencoder(corrupt=corruptions.masking()),
    "salt and pepper": lambda: autoencoder(corrupt=corruptions.salt_and_pepper()),
    "speckle": lambda: autoencoder(corrupt=corruptions.speckle()),
    "Gaussian pixels": lambda: autoencoder(pixels=pixels.GAUSSIAN),
    "beta-VAE": lambda: vae(kl_weight=4.0),
    "annealed KL, drawn pixels": lambda: vae(
        kl_weight=optax.linear_schedule(0.0, 1.0, 3), transform=corruptions.binarize
    ),
    "IWAE": lambda: vae(objectives.negative_iwae, samples=3),
    "DReG": lambda: (variational.doubly_reparameterized(model(), ADAM, 3), IMAGES),
    "free bits": lambda: vae(objectives.free_bits(0.5)),
    "WAE-MMD": lambda: vae(objectives.wae_mmd(10.0, KERNEL)),
    "WAE-MMD, Gaussian kernel": lambda: vae(objectives.wae_mmd(10.0, divergences.gaussian_kernel(2**0.5))),
    "InfoVAE": lambda: vae(objectives.info_vae(0.5, 10.0, KERNEL)),
    "beta-TCVAE": lambda: vae(objectives.beta_tc(6.0, 100)),
    "continuous Bernoulli": lambda: vae(of=model(pixels.CONTINUOUS_BERNOULLI)),
    "learnt Gaussian": lambda: vae(of=model(pixels.GAUSSIAN_LEARNT)),
    "lesson's mistake": lambda: vae(of=model(log_variance_as_log_std=True)),
    "AAE, Gaussian encoder": lambda: aae("gaussian"),
    "AAE, universal encoder": lambda: aae("universal", prior=priors.swiss_roll()),
    "AAE, R1": lambda: aae(game=games.gan(1.0)),
    "AAE, WGAN-GP": lambda: aae(game=games.wgan_gp()),
    "AAE, spectral norm": lambda: aae(spectral_norm=True),
    "AAE, labels": lambda: aae(labelled=True),
    "AAE without adversary": lambda: aae(adversarial=False),
    "semi-supervised": lambda: semi([0, 2, 1, 0], corruptions.gaussian(0.0, 0.3)),
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
    phases = 1 if name == "AAE without adversary" else len(getattr(state, "opt_states", [state]))
    assert sum(metric.endswith("gradient_norm") for metric in metrics) == phases


def test_the_checks_notice_a_key_used_twice_and_a_nan() -> None:
    def twice(key: jax.Array) -> jax.Array:
        return jax.random.normal(key) + jax.random.normal(key)

    with jax.debug_key_reuse(True), pytest.raises(Exception, match=r"reuse|consumed"):
        jax.jit(twice)(jax.random.key(0))
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        jax.jit(jnp.log)(-1.0)
