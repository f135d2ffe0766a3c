"""VQ-VAE: who moves by which gradient, the codebook's running means, the revival of codes, and a bound that holds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax.methods.method import Method, TrainState
from aejax.methods.vector_quantized import running_means, vector_quantized
from aejax.models import vector_quantized as models
from aejax.models.likelihoods import Bernoulli
from aejax.models.quantizers import Codebook, FiniteScalars, Quantizer
from aejax.models.vector_quantized import VectorQuantizedModel
from aejax.nn.maps import MapDecoder, MapEncoder, map_shape

SHAPE = (4, 4, 1)


def model_of(quantizer: Quantizer) -> VectorQuantizedModel:
    encoder = MapEncoder(quantizer.features, width=8, levels=1, blocks=1)
    decoder = MapDecoder(SHAPE, width=8, levels=1, blocks=1)
    return models.vector_quantized(encoder, decoder, quantizer, map_shape(SHAPE, 1), Bernoulli(), width=8, layers=1)


def images() -> Array:
    """All 16 binary images of four quarters, each twice."""
    quarters = jnp.array(list(itertools.product((0.0, 1.0), repeat=4)) * 2).reshape(32, 2, 2, 1)
    return quarters.repeat(2, axis=1).repeat(2, axis=2)


@pytest.fixture(scope="module", params=[Codebook(8, 4), FiniteScalars((3, 3))], ids=["codebook", "scalars"])
def trained(request: pytest.FixtureRequest) -> tuple[VectorQuantizedModel, Method, TrainState, dict[str, Array]]:
    model = model_of(request.param)
    method = vector_quantized(model, optax.adam(1e-2), optax.adam(1e-2))
    state = method.init(jax.random.key(0), images())
    run = jax.jit(lambda state, keys: jax.lax.scan(lambda s, key: method.step(s, images(), key), state, keys))
    return model, method, *run(state, jax.random.split(jax.random.key(1), 300))


def test_training_lowers_the_bound_and_never_below_the_entropy_of_the_images(trained: tuple) -> None:
    """Four fair bits are 4 log 2 nats, below which no upper bound on -log p(x) can be on average."""
    _, method, state, metrics = trained
    found = jax.jit(method.evaluate)(state, images(), jax.random.key(2))
    np.testing.assert_allclose(found["loss"], found["distortion"] + found["rate"], rtol=1e-6)
    assert 4 * np.log(2) - 1e-3 < found["loss"].mean() < 4 * np.log(2) + 2.5
    assert found["loss"].mean() < metrics["distortion"][0] + metrics["rate"][0] - 3
    assert all(np.isfinite(values).all() for values in metrics.values())


def test_the_bound_is_a_distribution_over_codes(trained: tuple) -> None:
    """The prior's probabilities of all maps sum to 1."""
    model, _, state, _ = trained
    assert model.map_shape == (2, 2)
    every = jnp.array(list(itertools.product(range(model.quantizer.size), repeat=4))).reshape(-1, 2, 2)
    total = np.exp(np.asarray(jax.jit(model.prior.log_prob_of_indices)(state.params, every), np.float64)).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-4)


def test_samples_are_decoded_codes(trained: tuple) -> None:
    model, _, state, _ = trained
    latents = model.prior.sample(state.params, jax.random.key(3), 6)
    maps = latents.reshape(6, 2, 2, -1)
    if isinstance(model.quantizer, Codebook):
        codes = model.quantizer.codes(state.params, model.quantizer.indices(state.params, maps))
        np.testing.assert_array_equal(maps, codes)
    pictures = model.generate(state.params, jax.random.key(3), 6)
    np.testing.assert_allclose(pictures, model.pictures(state.params, latents), rtol=1e-6)
    assert pictures.shape == (6, *SHAPE)


def test_the_prior_s_loss_moves_the_prior_alone() -> None:
    model = model_of(Codebook(8, 4))
    method = vector_quantized(model, optax.sgd(0.0), optax.sgd(1.0), decay=1.0, revival=0.0)
    before = method.init(jax.random.key(0), images())
    after, _ = jax.jit(method.step)(before, images(), jax.random.key(1))
    for name in ("encoder", "decoder"):
        jax.tree.map(np.testing.assert_array_equal, after.params[name], before.params[name])
    np.testing.assert_allclose(after.params["codebook"], before.params["codebook"], rtol=1e-6)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (after.params, before.params)), strict=True))


def test_the_codebook_follows_the_running_means_of_its_vectors() -> None:
    model = model_of(Codebook(8, 4))
    params = model.init(jax.random.key(0), images())
    statistics = running_means(model, decay=0.9, revival=0.0)
    running = statistics.init(jax.random.key(1), params, images())
    moved, after, metrics = statistics.update(params, running, images(), jax.random.key(2), jnp.int32(0))

    quantized = model.quantize(params, images())
    vectors, indices = np.asarray(quantized.vectors).reshape(-1, 4), np.asarray(quantized.indices).reshape(-1)
    for code in range(8):
        own = vectors[indices == code]
        count = 0.9 + 0.1 * len(own)
        total = 0.9 * np.asarray(params["codebook"][code]) + 0.1 * own.sum(axis=0)
        np.testing.assert_allclose(moved["codebook"][code], total / count, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after["counts"][code], count, rtol=1e-5)
    shares = np.bincount(indices, minlength=8) / len(indices)
    entropy = -sum(share * np.log(share) for share in shares if share)
    np.testing.assert_allclose(metrics["perplexity"], np.exp(entropy), rtol=1e-5)


def test_codes_that_nobody_chooses_are_put_onto_vectors_of_the_batch() -> None:
    model = model_of(Codebook(8, 4))
    params = model.init(jax.random.key(0), images())
    params = {**params, "codebook": params["codebook"].at[1:].add(1000)}
    statistics = running_means(model, decay=0.5, revival=0.5)
    running = statistics.init(jax.random.key(1), params, images())
    moved, after, _ = statistics.update(params, running, images(), jax.random.key(2), jnp.int32(0))
    vectors = np.asarray(model.quantize(params, images()).vectors).reshape(-1, 4)
    distances = np.linalg.norm(np.asarray(moved["codebook"])[1:, None] - vectors, axis=-1).min(axis=1)
    np.testing.assert_allclose(distances, 0, atol=1e-4)
    np.testing.assert_allclose(after["counts"][1:], after["counts"][1], rtol=1e-6)
