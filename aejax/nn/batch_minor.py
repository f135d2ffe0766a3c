"""Convolutions as matrix products on batch-minor arrays (channels, height, width, batch).

XLA's CPU backend runs its native convolution on a slow path inside a loop; a matrix product keeps its speed there.
Every function here equals a convolution with the ordinary kernel (3, 3, in, out), fused with pooling or with nearest
upsampling. The kernel is small and is rearranged at each call; the image is large and is only shifted. Because the
batch is the last axis, every shift moves whole contiguous rows, and the batch can be split over devices without
communication.

Gradients are written out where autodiff's are slow: it transposes the larger operand of a product, and it adds up
padded arrays where slices would do.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Row p of a 4-row window feeds row a of the 2 rows at its centre through kernel row i: p = a + i.
_WINDOW = np.zeros((4, 2, 3), np.float32)
# Low-resolution row r of 2 feeds row a of the 2x upsampled output through kernel row i, in windows that start on a row.
_UPSAMPLE = np.zeros((2, 2, 3), np.float32)
for _a in range(2):
    for _i in range(3):
        _WINDOW[_a + _i, _a, _i] = 1
        _UPSAMPLE[(_a + _i) // 2, _a, _i] = 1


def _pad(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Pads the image with zeros on each side; negative numbers crop."""
    edges = ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0))
    return jax.lax.pad(x, jnp.zeros((), x.dtype), edges)


def _patches(x: Array, rows: int, columns: int) -> Array:
    """Gathers patches: (C, H, W, B) -> (rows * columns * C, H - rows + 1, W - columns + 1, B)."""
    h, w = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    return jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(rows) for j in range(columns)])


@jax.custom_vjp
def _matmul(weights: Array, x: Array) -> Array:
    """Multiplies (M, K), (K, H, W, B) -> (M, H, W, B); axes stay apart, so that a batch split over devices stays so."""
    return jax.lax.dot_general(weights, x, (((1,), (0,)), ((), ())))


def _matmul_bwd(residual: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    weights, x = residual
    # XLA's CPU backend transposes the second operand, so it must be the smaller; without the barrier XLA swaps them.
    swap = len(gradient) < len(x)
    operands = (x, gradient) if swap else (gradient, x)
    to_weights = jax.lax.optimization_barrier(jax.lax.dot_general(*operands, (((1, 2, 3), (1, 2, 3)), ((), ()))))
    to_x = jax.lax.dot_general(weights.T, gradient, (((1,), (0,)), ((), ())))
    return to_weights.T if swap else to_weights, to_x


_matmul.defvjp(lambda weights, x: (_matmul(weights, x), (weights, x)), _matmul_bwd)


def _transposes(f: jax.custom_vjp, g: jax.custom_vjp) -> None:
    """Defines each of two linear functions as the gradient of the other."""
    f.defvjp(lambda x: (f(x), None), lambda _, gradient: (g(gradient),))
    g.defvjp(lambda x: (g(x), None), lambda _, gradient: (f(gradient),))


@jax.custom_vjp
def _space_to_depth(x: Array) -> Array:
    """Moves space to channels: (C, 2H, 2W, B) -> (4C, H, W, B)."""
    c, h, w, b = x.shape
    x = x.reshape(c, h // 2, 2, w // 2, 2, b)
    return jnp.concatenate([x[:, :, i, :, j] for i in range(2) for j in range(2)])


@jax.custom_vjp
def _depth_to_space(y: Array) -> Array:
    """Moves channels to space: (4C, H, W, B) -> (C, 2H, 2W, B); stacking is faster than a transposition."""
    _, h, w, b = y.shape
    y = y.reshape(2, 2, -1, h, w, b)
    rows = [jnp.stack([y[i, 0], y[i, 1]], axis=3).reshape(-1, h, 2 * w, b) for i in range(2)]
    return jnp.stack(rows, axis=2).reshape(-1, 2 * h, 2 * w, b)


_transposes(_space_to_depth, _depth_to_space)


@jax.custom_vjp
def _windows(x: Array) -> Array:
    """(C, 2H, 2W, B) -> (16C, H, W, B): the 4x4 window around each 2x2 block, zero outside the image.

    Row ((2r + s) * 4 + 2i + j) * C + c holds channel c of pixel (2r + i, 2s + j) of each window.
    """
    return _patches(_space_to_depth(_pad(x, (1, 1), (1, 1))), 2, 2)


@jax.custom_vjp
def _add_windows(y: Array) -> Array:
    """(16C, H, W, B) -> (C, 2H, 2W, B): the sum of 4x4 windows, each laid around its 2x2 block."""
    windows = y.reshape(2, 2, 2, 2, -1, *y.shape[1:])

    def pixel(i: int, j: int) -> Array:
        """Sums pixel (i, j) of every block over four windows: its own and those of three neighbouring blocks."""
        parts = [_pad(windows[r, s, 1 - i, 1 - j], (r - i, i - r), (s - j, j - s)) for r in range(2) for s in range(2)]
        return sum(parts[1:], parts[0])

    return _depth_to_space(jnp.concatenate([pixel(i, j) for i in range(2) for j in range(2)]))


_transposes(_windows, _add_windows)


def _window_weights(kernel: Array) -> Array:
    """(3, 3, C, N) -> (4, N, 16C): the weights of each pixel of a 2x2 block for the 4x4 window around the block.

    The indices: a, b, a pixel's row and column in the block; p, q, a row and a column of the window; i, j, a row and a
    column of the kernel; c, n, channels in and out.
    """
    c, n = kernel.shape[2:]
    weights = jnp.einsum("pai,qbj,ijcn->abnpqc", _WINDOW, _WINDOW, kernel).reshape(4, n, 2, 2, 2, 2, c)
    return weights.transpose(0, 1, 2, 4, 3, 5, 6).reshape(4, n, 16 * c)


def conv(x: Array, kernel: Array, bias: Array, *, same: bool) -> Array:
    """Convolves with stride 1: (C, H, W, B), (k, m, C, N), (N,) -> (N, H', W', B); odd k and m where `same`."""
    k, m, _, n = kernel.shape
    if same:
        x = _pad(x, (k // 2, k // 2), (m // 2, m // 2))
    return _matmul(kernel.reshape(-1, n).T, _patches(x, k, m)) + bias[:, None, None, None]


@jax.custom_vjp
def _relu_of_max(y: Array, bias: Array) -> Array:
    """Computes relu(max over the 4 pooling positions + bias): (4, N, H, W, B), (N, 1, 1, 1) -> (N, H, W, B).

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
    """Computes relu(max_pool_2x2(conv3x3 SAME)): (C, H, W, B), (3, 3, C, N), (N,) -> (N, H // 2 + p, W // 2 + p, B).

    One product yields all four positions of a pooling window from the 4x4 pixels around it. `pool_padding` p is 0 or 1.
    """
    (_, h, w, _), n, p = x.shape, kernel.shape[3], pool_padding
    x = _pad(x, (p, (h + p) % 2), (p, (w + p) % 2))
    y = _matmul(_window_weights(kernel).reshape(4 * n, -1), _windows(x))[:, : h // 2 + p, : w // 2 + p]
    y = y.reshape(4, n, *y.shape[1:])
    if pool_padding:  # positions outside the image must never win
        rows, columns = (2 * np.arange(y.shape[axis]) + np.arange(2)[:, None] - 1 for axis in (2, 3))
        inside = ((rows >= 0) & (rows < h))[:, None, :, None] & ((columns >= 0) & (columns < w))[None, :, None, :]
        y += np.where(inside, 0, -1e30).astype(np.float32).reshape(4, 1, *y.shape[2:4], 1)
    return _relu_of_max(y, bias[:, None, None, None])


def upsample_conv(x: Array, kernel: Array, bias: Array, *, same: bool) -> Array:
    """Computes conv3x3(nearest 2x upsampling): (C, H, W, B), (3, 3, C, N), (N,) -> (N, 2H, 2W, B), or less 2."""
    c, n = kernel.shape[2:]
    if 4 * n < c:  # the image layer: multiply first, as its patches would be the larger array
        # The transpose of upsampling sums a block; the transpose of a convolution is one with the kernel flipped.
        weights = _window_weights(kernel[::-1, ::-1].swapaxes(2, 3)).sum(0).T
        y = _add_windows(_matmul(weights, x))
        y = y if same else y[:, 1:-1, 1:-1]
    else:
        x = _pad(x, (1, 1), (1, 1)) if same else x
        weights = jnp.einsum("rai,sbj,ijcn->abnrsc", _UPSAMPLE, _UPSAMPLE, kernel).reshape(4 * n, -1)
        y = _depth_to_space(_matmul(weights, _patches(x, 2, 2)))
        y = y[:, 1:-1, 1:-1] if same else y
    return y + bias[:, None, None, None]
