"""This project's side of the benchmark: a system is a network and a method, trained exactly as `fit` trains it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from aejax import rng
from aejax.data.feeds import Feed, device_feed
from aejax.methods import reconstruction
from aejax.methods.method import Method
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.training.devices import make_mesh
from aejax.training.loop import compile_steps, start
from experiments.benchmark_worker import Contender


class System(NamedTuple):
    """One training recipe; benchmark_torch.SYSTEMS holds the same one in PyTorch under the same name.

    Attributes:
      network: image shape (height, width, channels) -> a network from images to logits; UserError for other sizes.
      method: network -> the method with its optimiser.
    """

    network: Callable[[tuple[int, ...]], nn.Module]
    method: Callable[[nn.Module], Method]


def _conv_autoencoder(image_shape: tuple[int, ...]) -> nn.Module:
    height, width, channels = image_shape
    check_image_size(height, width)
    return ConvAutoencoder(channels)


SYSTEMS = {
    "autoencoder": System(_conv_autoencoder, lambda network: reconstruction.autoencoder(network, optax.adam(1e-3))),
}


def load_feed(spec: Mapping[str, Any]) -> Feed:
    """The feed of spec["images"] (an .npy file), "batch_size" and "devices"; UserError as of `device_feed`."""
    return device_feed(np.load(spec["images"]), spec["batch_size"], make_mesh(spec["devices"], spec["batch_size"]))


def build(spec: Mapping[str, Any]) -> Contender:
    """The contender of spec["system"] over spec["devices"] devices, 0 for the default."""
    feed, system = load_feed(spec), SYSTEMS[spec["system"]]
    method = system.method(system.network(feed.image_shape))
    replicated = NamedSharding(feed.mesh, PartitionSpec())
    root = rng.root_key(spec["seed"])
    progress = jax.jit(functools.partial(start, method, feed), out_shardings=replicated)(root)
    order_of = jax.jit(feed.order, out_shardings=replicated)
    steps = compile_steps(method, feed)
    epoch = 0

    def block(count: int) -> None:
        nonlocal progress, epoch
        while count:
            now = min(count, feed.steps_per_epoch)
            order, step = order_of(root, epoch), np.int32(epoch * feed.steps_per_epoch)
            progress = steps(progress, feed.images, order, root, step, np.int32(now))
            epoch, count = epoch + 1, count - now
        jax.block_until_ready(progress)
        if int(progress.failed) >= 0:
            raise FloatingPointError(f"a metric was NaN or infinite at step {int(progress.failed)}")

    device = feed.mesh.devices.flat[0]
    kind = device.platform if device.platform == "cpu" else device.device_kind
    memory = None if device.platform == "cpu" else lambda: int(device.memory_stats()["peak_bytes_in_use"])
    return Contender(block, f"{feed.mesh.size} x {kind}", memory)
