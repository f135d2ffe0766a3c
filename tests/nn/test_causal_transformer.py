"""The causal transformer: what a logit may depend on, probabilities that sum to 1, and samples that follow them."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.nn import causal_transformer
from aejax.nn.causal_transformer import CausalTransformer

NETWORK = CausalTransformer(vocabulary=3, length=3, width=8, layers=2, heads=2)


@pytest.fixture(scope="module")
def params() -> Any:
    """Far from even probabilities."""
    params = NETWORK.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32))
    return jax.tree.map(lambda leaf: 3 * leaf, params)


def test_a_logit_depends_on_no_later_token(params: Any) -> None:
    tokens = jnp.array([[0, 1, 2]])
    before = NETWORK.apply(params, tokens)
    for place in range(3):
        after = NETWORK.apply(params, tokens.at[0, place].add(-1))
        np.testing.assert_array_equal((after != before).any(axis=(0, 2)), np.arange(3) >= place)


def test_probabilities_sum_to_one_and_samples_follow_them(params: Any) -> None:
    every = jnp.array(list(itertools.product(range(3), repeat=3)))
    probabilities = np.exp(np.asarray(causal_transformer.log_prob(NETWORK, params, every), np.float64))
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
    assert probabilities.max() > 4 / 27

    n = 20_000
    draws = causal_transformer.sample(NETWORK, params, jax.random.key(1), n)
    counts = np.bincount(np.asarray(draws) @ [9, 3, 1], minlength=27)
    error = np.sqrt(probabilities * (1 - probabilities) / n)
    assert (np.abs(counts / n - probabilities) <= 5 * error + 1e-6).all()
