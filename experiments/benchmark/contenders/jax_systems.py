"""This project's side of the benchmark: a system is a network and a method, trained exactly as `fit` trains it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from aejax.pixels import SQUARED_ERROR_OF_SIGMOID
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import corruptions, priors, rng
from aejax.corruptions import Corruption
from aejax.data.feeds import DeviceFeed, device_feed
from aejax.errors import UserError
from aejax.methods import adversarial, reconstruction, variational
from aejax.methods.method import Method
from aejax.methods.variational import Model
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder
from aejax.nn.layers import Lowering
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.training.devices import make_mesh
from aejax.training.seeds import roots
from aejax.training.steps import compile_steps, initial_progress
from experiments import aae, conv_vae, vae
from experiments.benchmark.harness.worker import Contender


class System(NamedTuple):
    """One training recipe; torch_epochs.SYSTEMS holds the same one in PyTorch under the same name.

    Attributes:
      method: image shape (height, width, channels) -> the method with its optimiser; UserError for other sizes. A
        convolutional one takes the `lowering` of its layers too, as "auto" where it is not given.
      logits: image shape -> the network without noise, (params, images) -> logits.
      noise: (key, images) -> the random numbers of a step with this key, so that PyTorch can take the same step.
      dense: the argument of that name of `make_mesh`.
    """

    method: Callable[..., Method]
    logits: Callable[[tuple[int, ...]], Callable[[Any, Array], Array]]
    noise: Callable[[Array, Array], tuple[Array, ...]] = lambda key, images: ()
    dense: bool = False


def _reconstruction(
    encoder_widths: tuple[int, ...], corrupt: Corruption | None, inputs: Callable[[Array], Array], **noise: Any
) -> System:
    """Trains the tutorial's network on corrupted images; `inputs` is the corruption without its noise."""

    def network(image_shape: tuple[int, ...], lowering: Lowering = "auto") -> nn.Module:
        height, width, channels = image_shape
        check_image_size(height, width)
        return ConvAutoencoder(channels, encoder_widths, lowering=lowering)

    def logits(image_shape: tuple[int, ...]) -> Callable[[Any, Array], Array]:
        apply: Callable[..., Any] = network(image_shape).apply
        return lambda params, images: apply(params, inputs(images))

    def method(*arguments: Any) -> Method:
        return reconstruction.autoencoder(network(*arguments), optax.adam(1e-3), corrupt)

    return System(method, logits, **noise)


def _variational(
    build: Callable[..., Model], optimizer: Callable[[], optax.GradientTransformation], **more: Any
) -> System:
    def logits(image_shape: tuple[int, ...]) -> Callable[[Any, Array], Array]:
        model = build(image_shape)
        return lambda params, images: model.decode(params, model.posterior(params, images)[0])

    def noise(key: Array, images: Array) -> tuple[Array, ...]:
        return (jax.random.normal(key, (len(images), 1, 2))[:, 0],)

    return System(lambda *arguments: variational.vae(build(*arguments), optimizer()), logits, noise, **more)


def _dense_vae(image_shape: tuple[int, ...]) -> Model:
    encoder, decoder = GaussianEncoder(MLP((512,)), 2), DenseDecoder((512,), image_shape)
    return Model(encoder, decoder, SQUARED_ERROR_OF_SIGMOID)


def _adversarial(image_shape: tuple[int, ...]) -> tuple[adversarial.Model, adversarial.Optimizers]:
    encoder, decoder = LatentEncoder(MLP(aae.HIDDEN), 150), DenseDecoder(aae.HIDDEN, image_shape)
    discriminator = Discriminator(aae.DISCRIMINATOR)
    model = adversarial.Model(encoder, decoder, discriminator, priors.standard_normal(150))
    return model, adversarial.Optimizers(optax.adam(1e-4), optax.adam(5e-5), optax.adam(5e-5))


def _adversarial_logits(image_shape: tuple[int, ...]) -> Callable[[Any, Array], Array]:
    model, _ = _adversarial(image_shape)
    return lambda params, images: model.decode(params, model.encode(params, images, rng.root_key(0)))


def _prior_samples(key: Array, images: Array) -> tuple[Array, ...]:
    model, _ = _adversarial(images.shape[1:])
    return (model.sample_prior(rng.stream(rng.stream(key, "adversarial"), "prior"), len(images)),)


_half = corruptions.downscale(2)

SYSTEMS = {
    "autoencoder": _reconstruction((16, 8, 8), None, lambda images: images),
    "denoiser": _reconstruction(
        (16, 8, 8),
        corruptions.gaussian(0.5, 0.3),
        lambda images: images,
        noise=lambda key, images: (jax.random.normal(key, images.shape),),
    ),
    "super_resolver": _reconstruction((16, 8), _half, lambda images: _half(rng.root_key(0), images)),
    "vae": _variational(_dense_vae, lambda: vae.torch_rmsprop(1e-3), dense=True),
    "conv_vae": _variational(lambda shape, *lowering: conv_vae.build(shape, 2, *lowering), lambda: optax.adam(1e-3)),
    "aae": System(lambda shape: adversarial.aae(*_adversarial(shape)), _adversarial_logits, _prior_samples, dense=True),
}


def check_systems(names: Sequence[str]) -> None:
    """UserError for --systems that are none, or of which one is unknown."""
    if not names or not set(names) <= set(SYSTEMS):
        raise UserError(f"--systems {' '.join(names)}: choose from {', '.join(SYSTEMS)}")


def load_feed(spec: Mapping[str, Any]) -> DeviceFeed:
    """Opens the feed of spec["images"], an .npy file, for "batch_size" and "devices"; raises as `device_feed`."""
    mesh = make_mesh(spec["devices"], spec["batch_size"], dense=SYSTEMS[spec["system"]].dense)
    return device_feed(np.load(spec["images"]), spec["batch_size"], mesh)


def build(spec: Mapping[str, Any]) -> Contender:
    """Builds the contender of spec["system"] over "devices" devices, 0 for the default, in "lowering" if given."""
    feed, system = load_feed(spec), SYSTEMS[spec["system"]]
    method = system.method(feed.image_shape, *([spec["lowering"]] if "lowering" in spec else []))
    replicated = NamedSharding(feed.mesh, PartitionSpec())
    root = roots(spec["seed"], 1)
    progress = jax.jit(functools.partial(initial_progress, method, feed), out_shardings=replicated)(root)
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
        if int(progress.failed[0]) >= 0:
            raise FloatingPointError(f"a metric was NaN or infinite at step {int(progress.failed[0])}")

    return Contender(block, *device_of(feed.mesh))


def device_of(mesh: Mesh) -> tuple[str, Callable[[], int] | None]:
    """The `device` and `device_memory` of a contender on this mesh."""
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        return f"{mesh.size} x cpu", None
    return f"{mesh.size} x {device.device_kind}", lambda: (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
