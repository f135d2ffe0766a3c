"""GAN losses and the phases of both adversarial autoencoders against their twins, in value and in gradient."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest

from aejax import corruptions, rng
from aejax.methods import adversarial, gan_losses, semi_supervised_aae
from aejax.methods.adversarial import Adversary
from aejax.methods.gan_losses import GanLoss
from aejax.methods.semi_supervised_aae import Adversaries, Examples
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import ClassAndStylePosterior, DeterministicPosterior
from aejax.models.priors import ClassAndStylePrior, StandardNormal
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.outside import twins
from tests.outside.comparison import as_float64, flat, gradient, same

SHAPE, LATENTS, BATCH, CLASSES, STYLE = (2, 2, 1), 2, 5, 3, 2
KEY = jax.random.key(4)
ADVERSARY = Adversary(
    LatentVariableModel(
        DeterministicPosterior(LatentEncoder(MLP((3,), nn.tanh), LATENTS)),
        DenseDecoder((3,), SHAPE, nn.tanh),
        StandardNormal(latents=LATENTS),
    ),
    Discriminator((6,)),
)
ADVERSARIES = Adversaries(
    LatentVariableModel(
        ClassAndStylePosterior(LatentEncoder(MLP((4,), nn.tanh), CLASSES + STYLE), CLASSES),
        DenseDecoder((3,), SHAPE, nn.tanh),
        ClassAndStylePrior(latents=CLASSES + STYLE, classes=CLASSES),
    ),
    Discriminator((6,)),
    Discriminator((6,)),
    corruptions.Gaussian(0.0, 0.3),
)
GAMES = {"gan": gan_losses.gan(), "gan with R1": gan_losses.gan(0.7), "wgan-gp": gan_losses.wgan_gp()}

PENALISED = 1e-10  # ours adds 1e-12 under the root of the penalty's norm, for a gradient where it is 0


class Game(NamedTuple):
    """The twin of a game: the discriminator's loss, (layers, real, fake, epsilon), and the generator's."""

    discriminator: Any
    generator: Any


TWINS = {
    "gan": Game(lambda d, real, fake, epsilon: twins.gan_discriminator(d, real, fake), twins.gan_generator),
    "gan with R1": Game(
        lambda d, real, fake, epsilon: twins.gan_discriminator(d, real, fake, 0.7), twins.gan_generator
    ),
    "wgan-gp": Game(twins.wgan_critic, twins.wgan_generator),
}


def moved(params: Any) -> Any:
    """Makes params float64 numpy arrays with noise, so that no bias is 0."""
    leaves, structure = jax.tree.flatten(as_float64(params))
    keys = jax.random.split(jax.random.key(5), len(leaves))
    noisy = [leaf + 0.4 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.map(np.asarray, jax.tree.unflatten(structure, noisy))


def uniform(key: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.uniform(key, (BATCH, 1)))


def code(params: Any, x: np.ndarray) -> np.ndarray:
    """Encodes images (batch, pixels): a hidden layer with tanh, and the head."""
    encoder = params["encoder"]["params"]
    return twins.dense(encoder["head"], np.tanh(twins.dense(encoder["trunk"]["Dense_0"], x)))


def check(ours: Any, twin: Any, params: Any, part: str, tolerance: float = 1e-12) -> None:
    """Compares (loss per example) of both, and the gradients of their means along one part of params."""
    slopes = jax.jit(jax.grad(lambda own: ours({**params, part: own}).mean()))(params[part])
    same(jax.jit(ours)(params), twin(params), tolerance)
    same(flat(slopes), flat(gradient(lambda own: twin({**params, part: own}).mean(), params[part])), tolerance)


@pytest.mark.parametrize("name", GAMES)
def test_both_phases_of_the_game(name: str) -> None:
    gan, twin = GAMES[name], TWINS[name]
    with jax.enable_x64(True):
        images = jax.random.uniform(jax.random.key(0), (BATCH, *SHAPE))
        params = moved(ADVERSARY.init(jax.random.key(1), images))
        real = np.asarray(jax.random.normal(rng.stream(rng.stream(KEY, "prior"), "anywhere"), (BATCH, LATENTS)))
        epsilon = uniform(rng.stream(KEY, "penalty"))
        x = np.asarray(images).reshape(BATCH, -1)

        check(
            lambda p: adversarial.discriminator_loss(ADVERSARY, gan, p, images, KEY)[0],
            lambda p: twin.discriminator(p["discriminator"]["params"], real, code(p, x), epsilon),
            params,
            "discriminator",
            PENALISED,
        )
        check(
            lambda p: adversarial.generator_loss(ADVERSARY, gan, p, images, KEY)[0],
            lambda p: twin.generator(p["discriminator"]["params"], code(p, x)),
            params,
            "encoder",
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_the_four_phases_of_the_semi_supervised_autoencoder() -> None:
    """Makhzani et al. (2015), section 2.4: reconstruction, two games, and the cross-entropy of what has a label."""
    gans: tuple[GanLoss, GanLoss] = (GAMES["gan"], GAMES["wgan-gp"])
    with jax.enable_x64(True):
        images, labelled = jax.random.uniform(jax.random.key(0), (2, BATCH, *SHAPE))
        labels = np.array([0, 2, -1, 1, 2], np.int32)
        examples = Examples(images, labelled, labels)
        params = moved(ADVERSARIES.init(jax.random.key(1), examples))
        seen, seen_labelled = (
            np.asarray(ADVERSARIES.seen(x, rng.stream(KEY, name))).reshape(BATCH, -1)
            for x, name in ((images, "corruption"), (labelled, "labelled"))
        )
        real = np.asarray(ADVERSARIES.model.prior.sample({}, rng.stream(KEY, "prior"), BATCH), np.float64)
        assert (real[:, :CLASSES].sum(1) == 1).all()
        epsilon = uniform(rng.stream(KEY, "style_discriminator penalty"))
        x = np.asarray(images).reshape(BATCH, -1)

        def parts(p: Any) -> tuple[np.ndarray, np.ndarray]:
            z = code(p, seen)
            return softmax(z[:, :CLASSES]), z[:, CLASSES:]

        def reconstruction(p: Any) -> np.ndarray:
            return -twins.bernoulli_log_likelihood(twins.decode(p, np.concatenate(parts(p), axis=1)), x)

        def discrimination(p: Any) -> np.ndarray:
            (classes, style), on = parts(p), (p["class_discriminator"]["params"], p["style_discriminator"]["params"])
            return twins.gan_discriminator(on[0], real[:, :CLASSES], classes) + twins.wgan_critic(
                on[1], real[:, CLASSES:], style, epsilon
            )

        def generation(p: Any) -> np.ndarray:
            classes, style = parts(p)
            return twins.gan_generator(p["class_discriminator"]["params"], classes) + twins.wgan_generator(
                p["style_discriminator"]["params"], style
            )

        def classification(p: Any) -> np.ndarray:
            probabilities = softmax(code(p, seen_labelled)[:, :CLASSES])
            return np.where(labels >= 0, -np.log(probabilities[np.arange(BATCH), labels]), 0)

        ours = semi_supervised_aae
        check(lambda p: ours.reconstruction_loss(ADVERSARIES, p, examples, KEY)[0], reconstruction, params, "encoder")
        for part in ("class_discriminator", "style_discriminator"):
            loss = lambda p: ours.discriminator_loss(ADVERSARIES, gans, p, examples, KEY)[0]  # noqa: E731
            check(loss, discrimination, params, part, PENALISED)
        check(lambda p: ours.generator_loss(ADVERSARIES, gans, p, examples, KEY)[0], generation, params, "encoder")
        check(lambda p: ours.classification_loss(ADVERSARIES, p, examples, KEY)[0], classification, params, "encoder")
