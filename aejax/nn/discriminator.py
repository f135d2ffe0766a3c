"""Networks that tell prior samples from codes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class Discriminator(nn.Module):
    """Latents to logits that they come from the prior: (batch, latents) -> (batch,).

    With `spectral_norm` every kernel is divided by its largest singular value (Miyato et al. 2018).
    """

    widths: tuple[int, ...]
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        x = latents
        for width in self.widths:
            x = nn.relu(self._dense(width)(x))
        return self._dense(1)(x)[:, 0]

    def _dense(self, width: int) -> nn.Module:
        return SpectralDense(width) if self.spectral_norm else nn.Dense(width)


class SpectralDense(nn.Module):
    """A dense layer whose kernel is divided by its largest singular value: (batch, in) -> (batch, features)."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return x @ (kernel / spectral_norm(kernel)) + bias


def spectral_norm(kernel: Array, iterations: int = 10) -> Array:
    """The largest singular value of (in, out), by power iteration from a fixed start: ()."""
    v = jnp.ones(kernel.shape[1]) / jnp.sqrt(kernel.shape[1])

    def iterate(_: int, v: Array) -> Array:
        v = kernel.T @ (kernel @ v)
        return v / (jnp.linalg.norm(v) + 1e-12)

    v = jax.lax.stop_gradient(jax.lax.fori_loop(0, iterations, iterate, v))
    return jnp.linalg.norm(kernel @ v)
