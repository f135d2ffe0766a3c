"""The adversarial autoencoder: who may move what, and that the discriminator learns and the codes come to match."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax import rng
from aejax.methods import adversarial
from aejax.methods.adversarial import Adversary, LabelledImages, Optimizers, aae
from aejax.methods.gan_losses import GanLoss, gan, wgan_gp
from aejax.methods.method import Method
from aejax.methods.reconstruction import autoencoder, reconstruction_loss
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import DeterministicPosterior, GaussianPosterior, Posterior, UniversalPosterior
from aejax.models.priors import MixtureOnRing, Prior, StandardNormal
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder, UniversalEncoder
from aejax.nn.mlp import MLP, DenseDecoder

IMAGE = (2, 2, 1)
KEY = jax.random.key(0)
POSTERIORS: dict[str, Posterior] = {
    "deterministic": DeterministicPosterior(LatentEncoder(MLP((8,)), 2)),
    "gaussian": GaussianPosterior(GaussianEncoder(MLP((8,)), 2)),
    "universal": UniversalPosterior(UniversalEncoder(MLP((8,)), 2, 8)),
}


def small_adversary(
    kind: str = "deterministic", spectral_norm: bool = False, prior: Prior | None = None, **options: bool
) -> Adversary:
    model = LatentVariableModel(POSTERIORS[kind], DenseDecoder((8,), IMAGE), prior or StandardNormal(latents=2))
    return Adversary(model, Discriminator((16, 16), spectral_norm), **options)


def optimizers(reconstruction: float = 1e-2, discriminator: float = 1e-2, generator: float = 1e-2) -> Optimizers:
    return Optimizers(*(optax.adam(rate) for rate in (reconstruction, discriminator, generator)))


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(1), (16, *IMAGE))


def is_zero(tree: Any) -> bool:
    return all(bool((leaf == 0).all()) for leaf in jax.tree.leaves(tree))


LOSSES = {
    "reconstruction": lambda adversary, *arguments: reconstruction_loss(adversary.model, *arguments),
    "discriminator": lambda adversary, *arguments: adversarial.discriminator_loss(adversary, gan(), *arguments),
    "generator": lambda adversary, *arguments: adversarial.generator_loss(adversary, gan(), *arguments),
}


@pytest.mark.parametrize("kind", POSTERIORS)
@pytest.mark.parametrize(
    ("phase", "moves"),
    [("reconstruction", {"encoder", "decoder"}), ("discriminator", {"discriminator"}), ("generator", {"encoder"})],
)
def test_a_phase_moves_its_own_parameters_alone(images: Array, kind: str, phase: str, moves: set[str]) -> None:
    """Only that phase's optimiser has a rate, and only its parameters change in a step."""
    method = aae(
        small_adversary(kind), optimizers(**{name: 1e-2 if name == phase else 0.0 for name in Optimizers._fields})
    )
    state = method.init(KEY, images)
    stepped, _ = jax.jit(method.step)(state, images, jax.random.key(2))
    for part, params in state.params.items():
        difference = jax.tree.map(lambda a, b: a - b, params, stepped.params[part])
        assert is_zero(difference) == (part not in moves), part


def test_reconstruction_has_no_gradient_for_the_discriminator(images: Array) -> None:
    adversary = small_adversary()
    params = adversary.init(KEY, images)
    gradients = jax.grad(lambda p: LOSSES["reconstruction"](adversary, p, images, KEY)[0].sum())(params)
    assert is_zero(gradients["discriminator"])
    assert not is_zero(gradients["encoder"])
    assert not is_zero(gradients["decoder"])


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_the_adversary_has_no_gradient_for_the_decoder(images: Array, phase: str) -> None:
    adversary = small_adversary()
    params = adversary.init(KEY, images)
    gradients = jax.grad(lambda p: LOSSES[phase](adversary, p, images, KEY)[0].sum())(params)
    assert is_zero(gradients["decoder"])


def test_phases_follow_each_other_on_the_updated_parameters(images: Array) -> None:
    """A step is three steps with one rate each, taken in the paper's order with the same key."""
    adversary, key = small_adversary(), jax.random.key(2)
    together = aae(adversary, optimizers())
    state = together.init(KEY, images)
    expected = state.params
    for phase in Optimizers._fields:
        alone = aae(adversary, optimizers(**{name: 1e-2 if name == phase else 0.0 for name in Optimizers._fields}))
        expected = alone.step(state._replace(params=expected), images, key)[0].params
    found = together.step(state, images, key)[0].params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)


def test_prior_samples_are_fresh_at_every_step(images: Array) -> None:
    seen = []

    class Spy(StandardNormal):
        def sample(self, params: Any, key: Array, n: int) -> Array:
            seen.append(super().sample(params, key, n))
            return seen[-1]

    adversary = small_adversary(prior=Spy(latents=2))
    params = adversary.init(KEY, images)
    for seed in (1, 2, 1):
        adversarial.discriminator_loss(adversary, gan(), params, images, jax.random.key(seed))
    np.testing.assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).all()


def train(method: Method, images: Array, steps: int, key: Array = KEY) -> tuple[Any, dict[str, Array]]:
    def step(state: Any, key: Array) -> Any:
        return method.step(state, images, key)

    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    return jax.lax.scan(step, method.init(key, images), keys)


SEEDS, LONG = 3, 2000


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """Long training of three seeds on images of two kinds, with the adversary and without."""
    images = jnp.concatenate([jnp.full((32, *IMAGE), 0.1), jnp.full((32, *IMAGE), 0.9)])
    images = jnp.clip(images + 0.1 * jax.random.normal(KEY, images.shape), 0, 1)
    adversary = small_adversary("universal")
    # Rates that fall to 0, so that nothing hangs on where the players happen to stand at the end.
    rates = Optimizers(*(optax.adam(optax.cosine_decay_schedule(rate, LONG)) for rate in (5e-4, 5e-3, 2e-3)))

    def seeds_of(method: Method) -> Any:
        return jax.jit(jax.vmap(lambda key: train(method, images, LONG, key)))(jax.random.split(KEY, SEEDS))

    with_adversary = seeds_of(aae(adversary, rates, gan(r1=0.3)))
    without = seeds_of(autoencoder(adversary.model, rates.reconstruction))
    return {"model": adversary.model, "images": images, "with": with_adversary, "without": without}


def test_the_discriminator_learns_and_its_loss_then_moves_to_2_ln_2(trained: dict[str, Any]) -> None:
    metrics = jax.device_get(trained["with"][1])
    accuracy, loss = metrics["discriminator_accuracy"], metrics["discriminator_loss"]  # (seeds, steps)
    assert (accuracy[:, :500].max(axis=1) > 0.7).all()  # it learns
    assert (loss[:, :500].min(axis=1) < 1.3).all()
    assert abs(accuracy[:, -500:].mean() - 0.5) < 0.15
    assert abs(loss[:, -500:].mean() - 2 * np.log(2)) < 0.03


def test_codes_match_the_prior_with_the_adversary_and_not_without(trained: dict[str, Any]) -> None:
    """In the median of the seeds: one of them may end further off."""

    def mismatch(states: Any) -> float:
        draw = jax.jit(jax.vmap(trained["model"].sample_posterior, in_axes=(0, None, None)))
        of_seeds = []
        for codes in np.asarray(draw(states.params, trained["images"], jax.random.key(5))):
            moments = np.concatenate([codes.mean(0), codes.std(0) - 1, [np.corrcoef(codes.T)[0, 1]]])
            of_seeds.append(np.abs(moments).max())
        return float(np.median(of_seeds))

    assert mismatch(trained["with"][0]) < 0.35
    assert mismatch(trained["without"][0]) > 3 * mismatch(trained["with"][0])


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_accuracy_is_by_order_whatever_the_offset(images: Array, weight: float, expected: float) -> None:
    # Every code lies at -99, beyond all samples of the prior; the discriminator is linear in the first latent.
    far = nn.Sequential([lambda x: jnp.zeros((len(x), 2)) - jnp.array([99.0, 0.0]), nn.Dense(2, use_bias=False)])
    model = LatentVariableModel(DeterministicPosterior(far), nn.Dense(4), StandardNormal(latents=2))
    adversary = Adversary(model, nn.Sequential([nn.Dense(1), lambda x: x[:, 0]]))
    identity = {"params": {"layers_1": {"kernel": jnp.eye(2)}}}
    for offset in (0.0, 1000.0):
        linear = {"params": {"layers_0": {"kernel": jnp.array([[weight], [0.0]]), "bias": jnp.array([offset])}}}
        params = {"encoder": identity, "decoder": {}, "discriminator": linear}
        _, metrics = adversarial.discriminator_loss(adversary, wgan_gp(), params, images, KEY)
        np.testing.assert_array_equal(metrics["discriminator_accuracy"], np.full(len(images), expected))


def test_without_the_adversary_only_the_autoencoder_moves(images: Array) -> None:
    """The autoencoder of the same model takes the very steps of the reconstruction phase."""
    adversary, rates = small_adversary("gaussian"), optimizers(discriminator=0.0, generator=0.0)
    alone, with_adversary = autoencoder(adversary.model, rates.reconstruction), aae(adversary, rates)
    start = with_adversary.init(KEY, images)
    state = alone.init(KEY, images)
    assert set(state.params) == {"encoder", "decoder"}
    jax.tree.map(np.testing.assert_array_equal, state.params, adversary.model.own(start.params))
    stepped, metrics = alone.step(state, images, rng.stream(KEY, "reconstruction"))
    expected, _ = with_adversary.step(start, images, KEY)
    assert set(metrics) == {"loss", "bce", "mse", "gradient_norm"}
    for name in ("encoder", "decoder"):
        assert not is_zero(jax.tree.map(jnp.subtract, stepped.params[name], state.params[name]))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            stepped.params[name],
            expected.params[name],
        )


def test_losses_at_equal_logits_are_2_ln_2_and_ln_2() -> None:
    zeros = jnp.zeros(3)
    np.testing.assert_allclose(gan().real(zeros) + gan().fake(zeros), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gan().generator(zeros), np.log(2), rtol=1e-6)


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    logits = jnp.array([-1e4, 1e4])
    for loss in (gan().real, gan().fake, gan().generator):
        assert jnp.isfinite(loss(logits)).all()
        assert jnp.isfinite(jax.grad(lambda x, loss=loss: loss(x).sum())(logits)).all()


class Linear(nn.Module):
    """A discriminator whose gradient is (3, 4) everywhere."""

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        return codes @ jnp.array([3.0, 4.0])


@pytest.mark.parametrize(("loss", "expected"), [(gan(r1=0.2), 0.1 * 25), (wgan_gp(10.0), 10 * (5 - 1) ** 2)])
def test_penalties_of_a_known_gradient(loss: GanLoss, expected: float) -> None:
    z = jax.random.normal(KEY, (5, 2))
    penalty = loss.penalty(lambda codes: Linear().apply({}, codes), z, z + 1, KEY)  # type: ignore[arg-type,return-value]
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [gan(r1=1.0), wgan_gp()])
def test_every_loss_takes_steps(images: Array, loss: GanLoss) -> None:
    method = aae(small_adversary(spectral_norm=True), optimizers(), loss)
    _, metrics = jax.jit(lambda images: train(method, images, 3))(images)
    assert all(np.isfinite(values).all() for values in metrics.values())


def test_evaluation_gives_one_value_per_image(images: Array) -> None:
    method = aae(small_adversary(), optimizers())
    metrics = method.evaluate(method.init(KEY, images), images, KEY)
    assert {name: values.shape for name, values in metrics.items()} == dict.fromkeys(metrics, (16,))
    np.testing.assert_allclose(metrics["bce"] * 4, metrics["loss"], rtol=1e-6)


def conditioned() -> Adversary:
    return small_adversary(prior=MixtureOnRing(), label_conditioned=True)


@pytest.fixture
def examples(images: Array) -> LabelledImages:
    return LabelledImages(images, jnp.arange(16) % 5 - 1)  # -1 ... 3


def test_a_label_draws_prior_samples_from_its_own_part(examples: LabelledImages) -> None:
    labels = jnp.repeat(examples.labels, 100)
    samples = np.asarray(conditioned().sample_prior({}, KEY, 1600, labels))
    angles = np.arctan2(samples[:, 1], samples[:, 0])
    for label in range(4):
        own = angles[np.asarray(labels) == label]
        away = np.angle(np.exp(1j * (own - 2 * np.pi * label / 10)))
        assert np.abs(away).max() < np.pi / 4
    assert np.ptp(angles[np.asarray(labels) == -1]) > 5  # all round the ring


def test_the_discriminator_is_told_labels_and_the_encoder_is_not(examples: LabelledImages) -> None:
    adversary = conditioned()
    params = adversary.init(KEY, examples)
    others = examples._replace(labels=jnp.full(16, 7))
    codes = [adversary.model.sample_posterior(params, adversarial.split_labels(e)[0], KEY) for e in (examples, others)]
    np.testing.assert_array_equal(*codes)
    logits = [adversary.judge(params, codes[0], e.labels) for e in (examples, others)]
    assert (logits[0] != logits[1]).all()
    assert params["discriminator"]["params"]["Dense_0"]["kernel"].shape == (2 + 11, 16)


def test_a_labelled_model_takes_steps_and_is_evaluated(examples: LabelledImages) -> None:
    method = aae(conditioned(), optimizers())
    state = method.init(KEY, examples)
    stepped, metrics = jax.jit(method.step)(state, examples, KEY)
    assert all(np.isfinite(value) for value in metrics.values())
    values = method.evaluate(stepped, examples, KEY)
    assert {value.shape for value in values.values()} == {(16,)}
