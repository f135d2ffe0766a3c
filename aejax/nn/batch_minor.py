"""Convolutions as matrix products on batch-minor arrays (channels, height, width, batch).

XLA's CPU backend runs its native convolution inside a loop on a slow path; a matrix product keeps its speed there. Every
function here equals conv3x3 with pooling or nearest upsampling of the ordinary kernel (3, 3, in, out): the kernel, which
is small, is rearranged at each call, and the image, which is large, is only shifted. With the batch as the last axis
every shift moves whole contiguous rows, and the batch can be split over devices without communication.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Row p of a 4-row patch feeds row a of the 2x2 pooling window through kernel row i: p = a + i.
_POOL = np.zeros((4, 2, 3), np.float32)
# Low-resolution row r of 2 feeds row a of the 2x upsampled output through kernel row i, for windows that start on a row.
_UPSAMPLE = np.zeros((2, 2, 3), np.float32)
# The same with the window centred, as two shifts per output row: row a sees low-resolution rows a - 1 + r.
_UPSAMPLE_CENTRED = np.zeros((2, 2, 3), np.float32)
for _a in range(2):
    for _i in range(3):
        _POOL[_a + _i, _a, _i] = 1
        _UPSAMPLE[(_a + _i) // 2, _a, _i] = 1
        _UPSAMPLE_CENTRED[_a, (_a + _i + 1) // 2 - _a, _i] = 1


def _pad(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _patches(x: Array, rows: int, columns: int) -> Array:
    """(C, H, W, B) -> (rows * columns * C, H - rows + 1, W - columns + 1, B)."""
    h, w = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    return jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(rows) for j in range(columns)], axis=0)


@jax.custom_vjp
def _matmul(weights: Array, x: Array) -> Array:
    """(M, K), (K, H, W, B) -> (M, H, W, B); a product with free axes, so that a batch over devices stays where it is."""
    return jax.lax.dot_general(weights, x, (((1,), (0,)), ((), ())))


def _matmul_bwd(residual: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    # Autodiff would yield both products transposed, and a copy of each large array to turn it round.
    weights, x = residual
    to_weights = jax.lax.dot_general(gradient, x, (((1, 2, 3), (1, 2, 3)), ((), ())))
    return to_weights, jax.lax.dot_general(weights.T, gradient, (((1,), (0,)), ((), ())))


_matmul.defvjp(lambda weights, x: (_matmul(weights, x), (weights, x)), _matmul_bwd)


def _space_to_depth(x: Array) -> Array:
    """(C, 2H, 2W, B) -> (4C, H, W, B)."""
    c, h, w, b = x.shape
    return x.reshape(c, h // 2, 2, w // 2, 2, b).transpose(2, 4, 0, 1, 3, 5).reshape(4 * c, h // 2, w // 2, b)


def _depth_to_space(y: Array, channels: int) -> Array:
    """(4 * channels, H, W, B) -> (channels, 2H, 2W, B)."""
    _, h, w, b = y.shape
    return y.reshape(2, 2, channels, h, w, b).transpose(2, 3, 0, 4, 1, 5).reshape(channels, 2 * h, 2 * w, b)


def conv(x: Array, kernel: Array, bias: Array, *, same: bool) -> Array:
    """Stride-1 convolution: (C, H, W, B), (k, l, C, N), (N,) -> (N, H', W', B); odd k and l where `same`."""
    k, l, _, n = kernel.shape
    if same:
        x = _pad(x, (k // 2, k // 2), (l // 2, l // 2))
    return _matmul(kernel.reshape(-1, n).T, _patches(x, k, l)) + bias[:, None, None, None]


@jax.custom_vjp
def _relu_of_max(y: Array, bias: Array) -> Array:
    """relu(max over the 4 pooling positions + bias): (4, N, H, W, B), (N, 1, 1, 1) -> (N, H, W, B).

    The gradient goes to the FIRST maximum, the rule of XLA's reduce_window and of PyTorch; differentiating `max` would
    split it over ties, and the background of an image is all ties.
    """
    return jnp.maximum(_max_over_positions(y) + bias, 0)


def _max_over_positions(y: Array) -> Array:
    return jnp.maximum(jnp.maximum(y[0], y[1]), jnp.maximum(y[2], y[3]))  # XLA's CPU reduction is several times slower


def _relu_of_max_bwd(residual: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    y, bias = residual
    top = _max_over_positions(y)
    gradient = jnp.where(top + bias > 0, gradient, 0.0)
    taken, routed = jnp.zeros_like(top, bool), []
    for position in y:
        hit = (position == top) & ~taken
        routed.append(jnp.where(hit, gradient, 0.0))
        taken |= hit
    return jnp.stack(routed), gradient.sum((1, 2, 3), keepdims=True)


_relu_of_max.defvjp(lambda y, bias: (_relu_of_max(y, bias), (y, bias)), _relu_of_max_bwd)


def conv_max_pool(x: Array, kernel: Array, bias: Array, *, pool_padding: int) -> Array:
    """relu(max_pool_2x2(conv3x3 SAME)): (C, H, W, B), (3, 3, C, N), (N,) -> (N, H // 2 + p, W // 2 + p, B).

    One product yields all four positions of each pooling window from its 4x4 input patch. `pool_padding` p is 0 or 1.
    """
    _, h, w, _ = x.shape
    c, n = kernel.shape[2:]
    if pool_padding:
        x = _pad(x, (2, 1 + (h % 2 == 0)), (2, 1 + (w % 2 == 0)))
    else:
        x = _pad(x, (1, 1 - h % 2), (1, 1 - w % 2))
        x = x[:, : 2 * (h // 2) + 2, : 2 * (w // 2) + 2]
    weights = jnp.einsum("pai,qbj,ijcn->abnpqc", _POOL, _POOL, kernel).reshape(4, n, 2, 2, 2, 2, c)
    weights = weights.transpose(0, 1, 2, 4, 3, 5, 6).reshape(4 * n, 16 * c)
    y = _matmul(weights, _patches(_space_to_depth(x), 2, 2))
    y = y.reshape(4, n, *y.shape[1:])
    if pool_padding:  # positions outside the image must never win
        rows, columns = (2 * np.arange(y.shape[axis]) + np.arange(2)[:, None] - 1 for axis in (2, 3))
        inside = ((rows >= 0) & (rows < h))[:, None, :, None] & ((columns >= 0) & (columns < w))[None, :, None, :]
        y += np.where(inside, 0, -1e30).astype(np.float32).reshape(4, 1, *y.shape[2:4], 1)
    return _relu_of_max(y, bias[:, None, None, None])


def upsample_conv(x: Array, kernel: Array, bias: Array, *, same: bool) -> Array:
    """conv3x3(nearest 2x upsampling): (C, H, W, B), (3, 3, C, N), (N,) -> (N, 2H, 2W, B), or 2 fewer where not `same`."""
    c, n = kernel.shape[2:]
    if 4 * n < c:
        y = _upsample_conv_few(x, kernel)
        y = y if same else y[:, 1:-1, 1:-1]
    else:
        x = _pad(x, (1, 1), (1, 1)) if same else x
        weights = jnp.einsum("rai,sbj,ijcn->abnrsc", _UPSAMPLE, _UPSAMPLE, kernel).reshape(4 * n, -1)
        y = _depth_to_space(_matmul(weights, _patches(x, 2, 2)), n)
        y = y[:, 1:-1, 1:-1] if same else y
    return y + bias[:, None, None, None]


def _upsample_conv_few(x: Array, kernel: Array) -> Array:
    """For few outputs (the image layer): multiply first, then add shifted planes; the patches would be the larger array."""
    (_, h, w, b), (c, n) = x.shape, kernel.shape[2:]
    weights = jnp.einsum("ari,bsj,ijcn->abrsnc", _UPSAMPLE_CENTRED, _UPSAMPLE_CENTRED, kernel).reshape(16 * n, c)
    y = _sum_of_shifts(_matmul(weights, x).reshape(2, 2, 2, 2, n, h, w, b))
    return _depth_to_space(y.reshape(4 * n, h, w, b), n)


@jax.custom_vjp
def _sum_of_shifts(z: Array) -> Array:
    """(2, 2, 2, 2, N, H, W, B) over (a, b, r, s) -> (2, 2, N, H, W, B): plane (a, b, r, s) moved to its place in (a, b)."""
    h, w = z.shape[5:7]
    z = jnp.pad(z, ((0, 0),) * 5 + ((1, 1), (1, 1), (0, 0)))
    return _grid(
        lambda a, b: sum(z[a, b, r, s, :, a + r : a + r + h, b + s : b + s + w] for r in range(2) for s in range(2))
    )


def _sum_of_shifts_bwd(_: None, gradient: Array) -> tuple[Array]:
    # Slices of one padded array: differentiating the sum would add up padded arrays, a fifth of a training step.
    h, w = gradient.shape[3:5]
    gradient = jnp.pad(gradient, ((0, 0),) * 3 + ((1, 1), (1, 1), (0, 0)))

    def plane(a: int, b: int, r: int, s: int) -> Array:
        return gradient[a, b, :, 2 - a - r : 2 - a - r + h, 2 - b - s : 2 - b - s + w]

    return (_grid(lambda a, b: _grid(lambda r, s: plane(a, b, r, s))),)


def _grid(entry) -> Array:
    return jnp.stack([jnp.stack([entry(i, j) for j in range(2)]) for i in range(2)])


_sum_of_shifts.defvjp(lambda z: (_sum_of_shifts(z), None), _sum_of_shifts_bwd)
