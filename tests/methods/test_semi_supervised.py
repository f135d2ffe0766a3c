"""The semi-supervised adversarial autoencoder: who may move what, and that labels teach it classes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax.methods.gan_losses import wgan_gp
from aejax.methods.semi_supervised_aae import Adversaries, Examples, Optimizers, aae
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import ClassAndStylePosterior
from aejax.models.priors import ClassAndStylePrior
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder

IMAGE = (2, 2, 1)
KEY = jax.random.key(0)
DISCRIMINATORS = {"class_discriminator", "style_discriminator"}


def small_adversaries() -> Adversaries:
    posterior = ClassAndStylePosterior(LatentEncoder(MLP((16,)), 3 + 2), classes=3)
    prior = ClassAndStylePrior(latents=3 + 2, classes=3)
    model = LatentVariableModel(posterior, DenseDecoder((16,), IMAGE), prior)
    return Adversaries(model, Discriminator((8,)), Discriminator((8,)))


def optimizers(**rates: float) -> Optimizers:
    return Optimizers(*(optax.adam(rates.get(name, 0.0)) for name in Optimizers._fields))


@pytest.fixture
def examples() -> Examples:
    """Three kinds of images, told apart by which pixel is bright."""
    labels = jnp.arange(12) % 3
    images = jnp.clip(jax.nn.one_hot(labels, 4) + 0.2 * jax.random.normal(KEY, (12, 4)), 0, 1).reshape(12, *IMAGE)
    return Examples(images, images, labels)


@pytest.mark.parametrize(
    ("phase", "moves"),
    [
        ("reconstruction", {"encoder", "decoder"}),
        ("discriminator", DISCRIMINATORS),
        ("generator", {"encoder"}),
        ("classification", {"encoder"}),
    ],
)
def test_a_phase_moves_its_own_parameters_alone(examples: Examples, phase: str, moves: set[str]) -> None:
    method = aae(small_adversaries(), optimizers(**{phase: 1e-2}))
    state = method.init(KEY, examples)
    stepped, metrics = jax.jit(method.step)(state, examples, jax.random.key(2))
    changed = {
        name
        for name, params in state.params.items()
        if any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (params, stepped.params[name])), strict=True))
    }
    assert changed == moves
    assert all(np.isfinite(value) for value in metrics.values())


def test_without_labels_classification_moves_nothing(examples: Examples) -> None:
    unlabelled = examples._replace(labels=jnp.full(12, -1))
    method = aae(small_adversaries(), optimizers(classification=1e-2))
    state = method.init(KEY, unlabelled)
    stepped, metrics = jax.jit(method.step)(state, unlabelled, KEY)
    assert metrics["classification_loss"] == 0
    jax.tree.map(np.testing.assert_array_equal, stepped.params, state.params)


def test_labels_teach_it_the_classes(examples: Examples) -> None:
    method = aae(
        small_adversaries(), optimizers(reconstruction=1e-3, discriminator=1e-3, generator=1e-3, classification=1e-2)
    )
    state = method.init(KEY, examples)

    def step(state: Any, key: Array) -> Any:
        return method.step(state, examples, key)

    state, metrics = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(KEY, 500)))(state)
    assert metrics["classification_loss"][-1] < 0.2 < metrics["classification_loss"][0]
    values = method.evaluate(state, examples, KEY)
    assert {value.shape for value in values.values()} == {(12,)}
    np.testing.assert_array_equal(values["error"], 0)
    wrong = method.evaluate(state, examples._replace(labels=(examples.labels + 1) % 3), KEY)
    np.testing.assert_array_equal(wrong["error"], 1)


def test_prior_samples_are_uniform_one_hot_vectors_and_standard_normal_styles() -> None:
    adversaries = small_adversaries()
    classes, style = adversaries.split(adversaries.model.prior.sample({}, KEY, 6000))
    assert style.shape == (6000, 2)
    np.testing.assert_array_equal(jnp.sort(classes, axis=1), np.tile([0, 0, 1], (6000, 1)))
    np.testing.assert_allclose(classes.mean(axis=0), 1 / 3, atol=0.03)
    np.testing.assert_allclose([style.mean(), style.std()], [0, 1], atol=0.03)
    assert abs(np.corrcoef(classes[:, 0], style[:, 0])[0, 1]) < 0.05  # drawn from streams of their own


def test_the_encoder_sees_corrupted_images_and_the_target_is_clean(examples: Examples) -> None:
    adversaries = small_adversaries()
    model, posterior = adversaries.model, adversaries.posterior
    corrupted = dataclasses.replace(adversaries, corruption=lambda key, images: jnp.zeros_like(images))
    method = aae(corrupted, optimizers())
    state = method.init(KEY, examples)
    _, metrics = method.step(state, examples, KEY)
    logits, style = posterior.logits_and_style(state.params, jnp.zeros_like(examples.images))
    outputs = model.decode(state.params, jnp.concatenate([jax.nn.softmax(logits), style], axis=1))
    expected = model.likelihood.neg_log_prob(outputs, examples.images).mean()
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


def test_a_class_and_a_style_are_decoded(examples: Examples) -> None:
    adversaries = small_adversaries()
    state = aae(adversaries, optimizers()).init(KEY, examples)
    codes = jnp.concatenate([jax.nn.one_hot(jnp.array([0, 1, 2, 0]), 3), jnp.zeros((4, 2))], axis=1)
    pictures = adversaries.model.pictures(state.params, codes)
    assert pictures.shape == (4, *IMAGE)
    np.testing.assert_allclose(pictures[0], pictures[3], rtol=1e-6)
    assert (pictures[0] != pictures[1]).any()


def test_the_critics_penalty_moves_the_discriminators_and_is_no_part_of_their_loss(examples: Examples) -> None:
    with_penalty, without = (
        aae(small_adversaries(), optimizers(discriminator=1e-3), wgan_gp(weight), wgan_gp(weight))
        for weight in (10.0, 0.0)
    )
    state = with_penalty.init(KEY, examples)
    (moved, penalised), (otherwise, plain) = (
        jax.jit(method.step)(state, examples, KEY) for method in (with_penalty, without)
    )
    np.testing.assert_allclose(penalised["discriminator_loss"], plain["discriminator_loss"], rtol=1e-6)
    for name in DISCRIMINATORS:
        pairs = zip(*(jax.tree.leaves(s.params[name]) for s in (moved, otherwise)), strict=True)
        assert any((a != b).any() for a, b in pairs), name
