"""A small classifier of images, trained on real ones, to measure samples with: see `sample_quality`."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aejax import rng
from aejax.evaluation import labels as label_counts
from aejax.methods.method import Params
from aejax.nn.layers import ConvMaxPool, to_batch_minor

FEATURES = 64

_BATCH = 256
SMALLEST = 8  # pixels: two poolings leave 2 x 2
_BLOCK_PIXELS = 2**18  # 334 images of 28 x 28; the activations take about 200 bytes per pixel


class ConvClassifier(nn.Module):
    """A network from images (batch, height, width, channels) to logits (batch, classes) and features (batch, 64).

    Two 3x3 convolutions, each with ReLU and 2x2 max-pooling, and two dense layers; the features are the inputs of the
    last one, after their ReLU. Height and width are at least 8.
    """

    classes: int

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        x = to_batch_minor(images)
        x = ConvMaxPool(32)(ConvMaxPool(16)(x))
        features = nn.relu(nn.Dense(FEATURES)(x.reshape(-1, x.shape[-1]).T))
        return nn.Dense(self.classes)(features), features


class Classifier(NamedTuple):
    """A trained classifier. Images are floating point, (n, height, width, channels), in [0, 1].

    `logits` and `features` go through the images in blocks, which bounds the memory, and raise ValueError, naming the
    shape or dtype, for images of another shape than it was trained on, for none, and for integers.

    Attributes:
      network: from which the parameters came.
      params: of the network.
      image_shape: (height, width, channels).
    """

    network: ConvClassifier
    params: Params
    image_shape: tuple[int, ...]

    def logits(self, images: Array | np.ndarray) -> np.ndarray:
        """Returns unnormalised log-probabilities in nats: (n, height, width, channels) -> (n, classes) float32."""
        return self._outputs(images, 0)

    def features(self, images: Array | np.ndarray) -> np.ndarray:
        """Returns the ReLU activations that the last layer reads: (n, height, width, channels) -> (n, 64) float32."""
        return self._outputs(images, 1)

    def _outputs(self, images: Array | np.ndarray, output: int) -> np.ndarray:
        if images.shape[1:] != self.image_shape or not len(images):
            raise ValueError(f"expected images (n, {', '.join(map(str, self.image_shape))}), got {images.shape}")
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"expected floating-point images in [0, 1], got {images.dtype}")
        size = max(1, _BLOCK_PIXELS // (self.image_shape[0] * self.image_shape[1]))
        rows = []
        for start in range(0, len(images), size):
            block = np.asarray(images[start : start + size], np.float32)
            # Blocks of one size, so that arrays of all lengths share one compiled program.
            padded = np.pad(block, [(0, size - len(block)), (0, 0), (0, 0), (0, 0)])
            rows.append(np.asarray(_apply(self.network, self.params, padded)[output])[: len(block)])
        return np.concatenate(rows)


def needs(image_shape: tuple[int, ...], train_labels: np.ndarray | None, test_labels: np.ndarray | None) -> str | None:
    """Says in a line why no classifier can be trained and tested; None where it can.

    It needs images (height, width, channels) of 8x8 or more, two classes with labels (n,), and one labelled test image.
    """
    h, w = image_shape[:2]
    if min(h, w) < SMALLEST:
        return f"the classifier needs images of at least {SMALLEST}x{SMALLEST} pixels, not {h}x{w}"
    return label_counts.needs("the classifier needs", train_labels, test_labels, train=2, test=1)


def train(
    key: Array,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    epochs: int = 3,
    batch_size: int | None = None,
    learning_rate: float = 3e-3,
) -> Classifier:
    """Trains a classifier by Adam on the mean cross-entropy, as one compiled program; equal keys give equal parameters.

    Args:
      key: of the initialisation and of the order of the images.
      images: uint8 (n, height, width, channels), height and width at least 8.
      labels: integers (n,) in 0 ... classes - 1, or below 0 for unknown; such images are left out.
      classes: at least 2.
      epochs: passes over the images, shuffled anew in each; the last incomplete batch is left out.
      batch_size: images per step, at most the number with a label; None: 256, or all where there are fewer.
      learning_rate: of the first step; it falls to 0 along half a cosine (Loshchilov and Hutter 2017,
        https://arxiv.org/abs/1608.03983).

    Raises:
      ValueError: for anything else.
    """
    if images.ndim != 4 or min(images.shape[1:3]) < SMALLEST or images.dtype != np.uint8:
        raise ValueError(f"expected uint8 images (n, h, w, c) of at least 8x8, got {images.dtype} {images.shape}")
    _check_labels(labels, len(images), classes)
    if (labels < 0).any():
        images, labels = images[labels >= 0], labels[labels >= 0]
    batch_size = min(_BATCH, len(images)) if batch_size is None else batch_size
    if classes < 2 or epochs < 1 or not 1 <= batch_size <= len(images):
        raise ValueError(
            f"expected at least 2 classes, 1 epoch and 1 to {len(images)} images per batch, got "
            f"{classes}, {epochs}, {batch_size}"
        )
    network = ConvClassifier(classes)
    params = _train(network, epochs, batch_size, key, images, np.asarray(labels, np.int32), learning_rate)
    return Classifier(network, params, images.shape[1:])


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of images whose largest logit is their label's, in [0, 1]: (n, classes), (n,) -> a number.

    Images with a label below 0, unknown, are left out.

    Raises:
      ValueError: for other shapes or dtypes, for labels from `classes` on, and where all are unknown.
    """
    if logits.ndim != 2 or not logits.size:
        raise ValueError(f"expected logits (n, classes), got {logits.shape}")
    _check_labels(labels, *logits.shape)
    known = labels >= 0
    if not known.any():
        raise ValueError(f"expected labels of 0 and more, got none in {labels.shape}")
    return float(np.mean(np.asarray(logits)[known].argmax(1) == labels[known]))


def _check_labels(labels: np.ndarray, n: int, classes: int) -> None:
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"expected integer labels ({n},), got {labels.dtype} {labels.shape}")
    if n and labels.max() >= classes:
        raise ValueError(f"expected labels up to {classes - 1}, got {labels.max()}")


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _train(
    network: ConvClassifier,
    epochs: int,
    batch_size: int,
    key: Array,
    images: Array,
    labels: Array,
    learning_rate: Array,
) -> Params:
    n = len(images)
    steps = n // batch_size
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, epochs * steps))

    def loss(params: Params, rows: Array) -> Array:
        logits, _ = network.apply(params, _as_float(images[rows]))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    def step(state: tuple[Params, optax.OptState], rows: Array) -> tuple[tuple[Params, optax.OptState], None]:
        params, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(loss)(params, rows), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def epoch(state: tuple[Params, optax.OptState], index: Array) -> tuple[tuple[Params, optax.OptState], None]:
        order = jax.random.permutation(rng.stream(key, "shuffle", index), n)
        return jax.lax.scan(step, state, order[: steps * batch_size].reshape(steps, batch_size))

    params = network.init(rng.stream(key, "initialisation"), _as_float(images[:1]))
    (params, _), _ = jax.lax.scan(epoch, (params, optimizer.init(params)), jnp.arange(epochs))
    return params


@functools.partial(jax.jit, static_argnums=0)
def _apply(network: ConvClassifier, params: Params, images: Array) -> Any:
    return network.apply(params, images)


def _as_float(images: Array) -> Array:
    return images.astype(jnp.float32) / 255
