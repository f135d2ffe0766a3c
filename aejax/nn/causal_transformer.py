"""A causal transformer: a distribution over sequences of tokens, one token at a time."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

Params = Any


class CausalTransformer(nn.Module):
    """Tokens (batch, n) at the positions from `start` on -> logits of the token after each, (batch, n, vocabulary).

    Vaswani et al. (2017, arXiv:1706.03762), section 3.1, the decoder alone, with normalisation before each block. The
    token `vocabulary` stands before the first one.

    Attributes:
      vocabulary: the number of tokens.
      length: the number of positions.
      width: of an embedding; a multiple of `heads`.
      layers: blocks of attention and a hidden layer of 4 `width` units.
      heads: of attention.
      step_by_step: keep keys and values of earlier positions in the collection "cache", to read one token at a call.
    """

    vocabulary: int
    length: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    step_by_step: bool = False

    @nn.compact
    def __call__(self, tokens: Array, start: Array | int = 0) -> Array:
        places = self.param("positions", nn.initializers.normal(0.02), (self.length, self.width))
        x = nn.Embed(self.vocabulary + 1, self.width, name="tokens")(tokens)
        x = x + jax.lax.dynamic_slice_in_dim(places, start, tokens.shape[1])
        mask = None if self.step_by_step else nn.make_causal_mask(tokens)
        for layer in range(self.layers):
            attention = nn.MultiHeadDotProductAttention(
                self.heads, qkv_features=self.width, decode=self.step_by_step, name=f"attention_{layer}"
            )
            x = x + attention(nn.LayerNorm(name=f"before_attention_{layer}")(x), mask=mask)
            hidden = nn.Dense(4 * self.width, name=f"hidden_{layer}")(nn.LayerNorm(name=f"before_hidden_{layer}")(x))
            x = x + nn.Dense(self.width, name=f"outputs_{layer}")(nn.gelu(hidden))
        return nn.Dense(self.vocabulary, name="logits")(nn.LayerNorm(name="last")(x))


def log_prob(network: CausalTransformer, params: Params, tokens: Array) -> Array:
    """Computes the log-probability of sequences in nats: integers (batch, length) -> (batch,)."""
    before = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=network.vocabulary)
    logits: Any = network.apply(params, before)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], axis=-1)
    return chosen[..., 0].sum(axis=1)


def sample(network: CausalTransformer, params: Params, key: Array, n: int) -> Array:
    """Draws n sequences of `length` tokens, one position after the other: integers (n, length)."""
    network = network.clone(step_by_step=True)
    first = jnp.full((n, 1), network.vocabulary)
    whole = jax.ShapeDtypeStruct((n, network.length), jnp.int32)
    cache = jax.eval_shape(network.init, key, whole)["cache"]
    cache = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)

    def draw(carry: tuple[Any, Array], place_and_key: tuple[Array, Array]) -> tuple[tuple[Any, Array], Array]:
        cache, token = carry
        place, own = place_and_key
        logits, changed = network.apply({**params, "cache": cache}, token, place, mutable=["cache"])
        token = jax.random.categorical(own, logits[:, -1])[:, None]
        return (changed["cache"], token), token[:, 0]

    keys = jax.random.split(key, network.length)
    _, tokens = jax.lax.scan(draw, (cache, first), (jnp.arange(network.length), keys))
    return tokens.T
