"""Discriminators: networks that tell samples of a prior from the codes of images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

# The kernel's power is at most 2**_SQUARINGS; fewer squarings do once one singular value has this share of the power.
_SQUARINGS = 12
_DOMINANT = 1 - 1e-4


class Discriminator(nn.Module):
    """Latents to logits that they come from the prior: (batch, latents) -> (batch,).

    With `spectral_norm` every kernel is divided by its largest singular value, so that no layer stretches a distance
    (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).
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


def spectral_norm(kernel: Array) -> Array:
    """Computes the largest singular value of any kernel, (in, out) -> (), with its gradient.

    The paper's power iteration starts from one vector, which may be orthogonal to the singular vector that it should
    find. Here the Gram matrix G is squared again and again, which iterates from every unit vector at once. The longest
    column of G**p starts with a share of at least 1 / n of the top of the spectrum, n being the smaller side of the
    kernel. So the result is never too large, and too small by a factor of at most 1 - (5 + log n) / 4p, about 0.1% at
    the last squaring. Where the largest singular value stands apart, a few squarings find it to float32's precision.

    The gradient is the outer product of the singular vectors.
    """
    fixed = jax.lax.stop_gradient(kernel if kernel.shape[0] >= kernel.shape[1] else kernel.T)
    tiny = jnp.finfo(kernel.dtype).tiny
    fixed /= jnp.maximum(jnp.abs(fixed).max(), tiny)  # no square overflows

    def with_unit_trace(x: Array) -> Array:
        return x / jnp.maximum(jnp.trace(x), tiny)

    def goes_on(carry: tuple[Array, Array]) -> Array:
        power, squarings = carry
        return (jnp.square(power).sum() < _DOMINANT) & (squarings < _SQUARINGS)  # the sum is the trace of its square

    def square(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        power, squarings = carry
        return with_unit_trace(jnp.matmul(power, power, precision="highest")), squarings + 1

    gram = with_unit_trace(jnp.matmul(fixed.T, fixed, precision="highest"))
    power, _ = jax.lax.while_loop(goes_on, square, (gram, jnp.zeros((), jnp.int32)))
    right = power[:, jnp.argmax(jnp.square(power).sum(0))]
    right /= jnp.maximum(jnp.linalg.norm(right), tiny)
    left = jnp.matmul(fixed, right, precision="highest")
    left /= jnp.maximum(jnp.linalg.norm(left), tiny)
    if kernel.shape[0] < kernel.shape[1]:
        left, right = right, left
    return left @ kernel @ right
