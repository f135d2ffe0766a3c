"""Normalising flows: invertible maps of latents, with the logarithm of their Jacobian's determinant."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array


class AffineCouplings(nn.Module):
    """Affine coupling layers: latents (..., d) -> (..., d) and log |det|, (...), in either direction.

    Dinh et al. (2016, arXiv:1605.08803), section 3.2: one half of the latents scales and shifts the other, and the
    halves take turns. Scales are bounded to 1/e ... e for each layer. At the beginning the flow is the identity.

    Attributes:
      layers: the number of couplings; two or more move all latents.
      width: of the hidden layer of each coupling's network.
    """

    layers: int = 4
    width: int = 64

    @nn.compact
    def __call__(self, z: Array, inverse: bool = False) -> tuple[Array, Array]:
        if z.shape[-1] < 2:
            raise ValueError("a coupling needs two latents or more")
        half, log_det = z.shape[-1] // 2, jnp.zeros(z.shape[:-1])
        for layer in reversed(range(self.layers)) if inverse else range(self.layers):
            first, second = z[..., :half], z[..., half:]
            fixed, moved = (first, second) if layer % 2 else (second, first)
            hidden = nn.relu(nn.Dense(self.width, name=f"hidden_{layer}")(fixed))
            zeros = nn.initializers.zeros
            moments = nn.Dense(2 * moved.shape[-1], kernel_init=zeros, name=f"moments_{layer}")(hidden)
            raw, shift = jnp.split(moments, 2, axis=-1)
            log_scale = jnp.tanh(raw)
            moved = (moved - shift) * jnp.exp(-log_scale) if inverse else moved * jnp.exp(log_scale) + shift
            log_det = log_det + (-1 if inverse else 1) * log_scale.sum(axis=-1)
            z = jnp.concatenate((fixed, moved) if layer % 2 else (moved, fixed), axis=-1)
        return z, log_det


class MaskedMLP(nn.Module):
    """MADE: (..., d) -> (..., d, outputs), whose i-th output depends on the inputs before the i-th alone.

    Germain et al. (2015, arXiv:1502.03509), section 4, with one hidden layer and hidden degrees in turn.
    `context` (..., c) reaches every output.

    Attributes:
      width: of the hidden layer.
      outputs: numbers for each input.
    """

    width: int
    outputs: int

    @nn.compact
    def __call__(self, z: Array, context: Array) -> Array:
        size = z.shape[-1]
        degrees, hidden = np.arange(size), np.arange(self.width) % max(size - 1, 1)
        kernel = nn.initializers.lecun_normal()
        first = self.param("first", kernel, (size, self.width)) * (degrees[:, None] <= hidden)
        second = self.param("second", kernel, (self.width, size, self.outputs))
        second = second * (hidden[:, None] < degrees)[..., None]
        x = nn.relu(z @ first + nn.Dense(self.width, name="context")(context))
        bias = self.param("bias", nn.initializers.zeros, (size, self.outputs))
        return jnp.einsum("...h,hdo->...do", x, second) + bias


class InverseAutoregressiveFlow(nn.Module):
    """Inverse autoregressive flow: latents (..., d), context (..., c) -> latents (..., d) and log |det|, (...).

    Kingma et al. (2016, arXiv:1606.04934), algorithm 1, in the numerically stable form:
    z = sigmoid(s) z + (1 - sigmoid(s)) m, with the order of the latents reversed after each layer. At the beginning
    sigmoid(s) is about 0.9, so that a layer changes little.

    Attributes:
      layers: the number of steps.
      width: of the hidden layer of each step's network.
    """

    layers: int = 2
    width: int = 64

    @nn.compact
    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        log_det = jnp.zeros(z.shape[:-1])
        for layer in range(self.layers):
            out = MaskedMLP(self.width, 2, name=f"step_{layer}")(z, context)
            mean, raw = out[..., 0], out[..., 1] + 2
            gate = nn.sigmoid(raw)
            z = (gate * z + (1 - gate) * mean)[..., ::-1]
            log_det = log_det + nn.log_sigmoid(raw).sum(axis=-1)
        return z, log_det
