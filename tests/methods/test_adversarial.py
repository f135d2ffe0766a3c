"""The adversarial autoencoder: who may move what, and that the discriminator learns and the codes come to match."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from aejax.methods.games import Game, gan, wgan_gp
from jax import Array

from aejax import priors
from aejax.methods import adversarial
from aejax.methods.adversarial import Labelled, Model, Optimizers, aae
from aejax.methods.method import Method
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder, UniversalEncoder
from aejax.nn.mlp import MLP, DenseDecoder

IMAGE = (2, 2, 1)
KEY = jax.random.key(0)
ENCODERS = {
    "deterministic": lambda: LatentEncoder(MLP((8,)), 2),
    "gaussian": lambda: GaussianEncoder(MLP((8,)), 2),
    "universal": lambda: UniversalEncoder(MLP((8,)), 2, 8),
}


def small_model(kind: Any = "deterministic", spectral_norm: bool = False) -> Model:
    decoder, discriminator = DenseDecoder((8,), IMAGE), Discriminator((16, 16), spectral_norm)
    return Model(ENCODERS[kind](), decoder, discriminator, priors.standard_normal(2), kind)


def optimizers(reconstruction: float = 1e-2, discriminator: float = 1e-2, generator: float = 1e-2) -> Optimizers:
    return Optimizers(*(optax.adam(rate) for rate in (reconstruction, discriminator, generator)))


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(1), (16, *IMAGE))


def is_zero(tree: Any) -> bool:
    return all(bool((leaf == 0).all()) for leaf in jax.tree.leaves(tree))


LOSSES = {
    "reconstruction": adversarial.reconstruction_loss,
    "discriminator": lambda *arguments: adversarial.discriminator_loss(arguments[0], gan(), *arguments[1:]),
    "generator": lambda *arguments: adversarial.generator_loss(arguments[0], gan(), *arguments[1:]),
}


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(
    ("phase", "moves"),
    [("reconstruction", {"encoder", "decoder"}), ("discriminator", {"discriminator"}), ("generator", {"encoder"})],
)
def test_a_phase_moves_its_own_parameters_alone(images: Array, kind: Any, phase: str, moves: set[str]) -> None:
    """Only that phase's optimiser has a rate, and only its parameters change in a step."""
    model = small_model(kind)
    method = aae(model, optimizers(**{name: 1e-2 if name == phase else 0.0 for name in Optimizers._fields}))
    state = method.init(KEY, images)
    stepped, _ = jax.jit(method.step)(state, images, jax.random.key(2))
    for part, params in state.params.items():
        difference = jax.tree.map(lambda a, b: a - b, params, stepped.params[part])
        assert is_zero(difference) == (part not in moves), part


def test_reconstruction_has_no_gradient_for_the_discriminator(images: Array) -> None:
    model = small_model()
    params = model.init(KEY, images)
    gradients = jax.grad(lambda p: LOSSES["reconstruction"](model, p, images, KEY)[0].sum())(params)
    assert is_zero(gradients["discriminator"])
    assert not is_zero(gradients["encoder"])
    assert not is_zero(gradients["decoder"])


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_the_game_has_no_gradient_for_the_decoder(images: Array, phase: str) -> None:
    model = small_model()
    params = model.init(KEY, images)
    gradients = jax.grad(lambda p: LOSSES[phase](model, p, images, KEY)[0].sum())(params)
    assert is_zero(gradients["decoder"])


def test_phases_follow_each_other_on_the_updated_parameters(images: Array) -> None:
    """A step is three steps with one rate each, taken in the paper's order with the same key."""
    model, key = small_model(), jax.random.key(2)
    together = aae(model, optimizers())
    state = together.init(KEY, images)
    expected = state.params
    for phase in Optimizers._fields:
        alone = aae(model, optimizers(**{name: 1e-2 if name == phase else 0.0 for name in Optimizers._fields}))
        expected = alone.step(state._replace(params=expected), images, key)[0].params
    found = together.step(state, images, key)[0].params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)


def test_prior_samples_are_fresh_at_every_step(images: Array) -> None:
    seen = []
    normal = priors.standard_normal(2)

    def sample(key: Array, n: int) -> Array:
        seen.append(normal.sample(key, n))
        return seen[-1]

    model = small_model()._replace(prior=normal._replace(sample=sample))
    params = model.init(KEY, images)
    for seed in (1, 2, 1):
        adversarial.discriminator_loss(model, gan(), params, images, jax.random.key(seed))
    np.testing.assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).all()


def train(method: Method, images: Array, steps: int) -> tuple[Any, dict[str, np.ndarray]]:
    def step(state: Any, key: Array) -> Any:
        return method.step(state, images, key)

    state = method.init(KEY, images)
    state, metrics = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(jax.random.key(3), steps)))(state)
    return state, jax.device_get(metrics)


@pytest.fixture(scope="module")
def game() -> dict[str, Any]:
    """A long game on images of two kinds, with the adversary and without."""
    images = jnp.concatenate([jnp.full((128, *IMAGE), 0.1), jnp.full((128, *IMAGE), 0.9)])
    images = jnp.clip(images + 0.1 * jax.random.normal(KEY, images.shape), 0, 1)
    model = small_model("universal")
    rates = optimizers(1e-3, 1e-3, 2e-3)
    with_adversary = train(aae(model, rates, gan(r1=0.1)), images, 6000)
    without = train(aae(model, rates, adversarial=False), images, 6000)
    return {"model": model, "images": images, "with": with_adversary, "without": without}


def test_the_discriminator_learns_and_the_game_then_moves_to_2_ln_2(game: dict[str, Any]) -> None:
    metrics = game["with"][1]
    accuracy, loss = metrics["discriminator_accuracy"], metrics["discriminator_loss"]
    assert accuracy[:500].max() > 0.7  # it learns
    assert loss[:500].min() < 1.3
    assert abs(accuracy[-500:].mean() - 0.5) < 0.08
    assert abs(loss[-500:].mean() - 2 * np.log(2)) < 0.06


def test_codes_match_the_prior_with_the_adversary_and_not_without(game: dict[str, Any]) -> None:
    def mismatch(state: Any) -> float:
        codes = np.asarray(game["model"].encode(state.params, game["images"], jax.random.key(5)))
        moments = np.concatenate([codes.mean(0), codes.std(0) - 1, [np.corrcoef(codes.T)[0, 1]]])
        return float(np.abs(moments).max())

    assert mismatch(game["with"][0]) < 0.35
    assert mismatch(game["without"][0]) > 3 * mismatch(game["with"][0])


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_accuracy_is_by_order_whatever_the_offset(images: Array, weight: float, expected: float) -> None:
    # Every code lies at -99, beyond all samples of the prior; the discriminator is linear in the first latent.
    far = nn.Sequential([lambda x: jnp.zeros((len(x), 2)) - jnp.array([99.0, 0.0]), nn.Dense(2, use_bias=False)])
    model = Model(far, nn.Dense(4), nn.Sequential([nn.Dense(1), lambda x: x[:, 0]]), priors.standard_normal(2))
    identity = {"params": {"layers_1": {"kernel": jnp.eye(2)}}}
    for offset in (0.0, 1000.0):
        linear = {"params": {"layers_0": {"kernel": jnp.array([[weight], [0.0]]), "bias": jnp.array([offset])}}}
        params = {"encoder": identity, "decoder": {}, "discriminator": linear}
        _, metrics = adversarial.discriminator_loss(model, wgan_gp(), params, images, KEY)
        np.testing.assert_array_equal(metrics["discriminator_accuracy"], np.full(len(images), expected))


def test_without_the_adversary_only_the_autoencoder_moves(images: Array) -> None:
    method = aae(small_model(), optimizers(), adversarial=False)
    state = method.init(KEY, images)
    stepped, metrics = method.step(state, images, KEY)
    jax.tree.map(np.testing.assert_array_equal, stepped.params["discriminator"], state.params["discriminator"])
    assert set(metrics) == {"loss", "bce", "reconstruction_gradient_norm"}


def test_losses_at_equal_logits_are_2_ln_2_and_ln_2() -> None:
    zeros = jnp.zeros(3)
    np.testing.assert_allclose(gan().on_prior(zeros) + gan().on_codes(zeros), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gan().generator(zeros), np.log(2), rtol=1e-6)


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    logits = jnp.array([-1e4, 1e4])
    for loss in (gan().on_prior, gan().on_codes, gan().generator):
        assert jnp.isfinite(loss(logits)).all()
        assert jnp.isfinite(jax.grad(lambda x, loss=loss: loss(x).sum())(logits)).all()


class Linear(nn.Module):
    """A discriminator whose gradient is (3, 4) everywhere."""

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        return codes @ jnp.array([3.0, 4.0])


@pytest.mark.parametrize(("game_", "expected"), [(gan(r1=0.2), 0.1 * 25), (wgan_gp(10.0), 10 * (5 - 1) ** 2)])
def test_penalties_of_a_known_gradient(game_: Game, expected: float) -> None:
    z = jax.random.normal(KEY, (5, 2))
    penalty = game_.penalty(lambda codes: Linear().apply({}, codes), z, z + 1, KEY)  # type: ignore[arg-type,return-value]
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


@pytest.mark.parametrize("game_", [gan(r1=1.0), wgan_gp()])
def test_every_game_takes_steps(images: Array, game_: Game) -> None:
    _, metrics = train(aae(small_model(spectral_norm=True), optimizers(), game_), images, 3)
    assert all(np.isfinite(values).all() for values in metrics.values())


def test_evaluation_gives_one_value_per_image(images: Array) -> None:
    method = aae(small_model(), optimizers())
    metrics = method.evaluate(method.init(KEY, images), images, KEY)
    assert {name: values.shape for name, values in metrics.items()} == dict.fromkeys(metrics, (16,))
    np.testing.assert_allclose(metrics["bce"] * 4, metrics["loss"], rtol=1e-6)


def labelled_model() -> Model:
    return small_model()._replace(prior=priors.mixture_on_ring(), labelled=True)


@pytest.fixture
def examples(images: Array) -> Labelled:
    return Labelled(images, jnp.arange(16) % 5 - 1)  # -1 ... 3


def test_a_label_draws_prior_samples_from_its_own_part(examples: Labelled) -> None:
    model = labelled_model()
    labels = jnp.repeat(examples.labels, 100)
    samples = np.asarray(model.sample_prior(KEY, 1600, labels))
    angles = np.arctan2(samples[:, 1], samples[:, 0])
    for label in range(4):
        own = angles[np.asarray(labels) == label]
        away = np.angle(np.exp(1j * (own - 2 * np.pi * label / 10)))
        assert np.abs(away).max() < np.pi / 4
    assert np.ptp(angles[np.asarray(labels) == -1]) > 5  # all round the ring


def test_the_discriminator_is_told_labels_and_the_encoder_is_not(examples: Labelled) -> None:
    model = labelled_model()
    params = model.init(KEY, examples)
    others = examples._replace(labels=jnp.full(16, 7))
    codes = [model.encode(params, e, KEY) for e in (examples, others)]
    np.testing.assert_array_equal(*codes)
    logits = [model.discriminate(params, codes[0], e.labels) for e in (examples, others)]
    assert (logits[0] != logits[1]).all()
    assert params["discriminator"]["params"]["Dense_0"]["kernel"].shape == (2 + 11, 16)


def test_a_labelled_model_takes_steps_and_is_evaluated(examples: Labelled) -> None:
    method = aae(labelled_model(), optimizers())
    state = method.init(KEY, examples)
    stepped, metrics = jax.jit(method.step)(state, examples, KEY)
    assert all(np.isfinite(value) for value in metrics.values())
    values = method.evaluate(stepped, examples, KEY)
    assert {value.shape for value in values.values()} == {(16,)}
