"""This project's side of the benchmark: a system is a model and a method, trained exactly as `fit` trains it.

The systems are the tutorial's networks and optimisers, whatever the defaults of the experiments are.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import corruptions, rng
from aejax.corruptions import Corruption
from aejax.data.feeds import DeviceFeed, device_feed
from aejax.errors import UserError
from aejax.methods import adversarial, gan_losses, reconstruction, variational
from aejax.methods.adversarial import Adversary, Optimizers
from aejax.methods.method import Method
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import Bernoulli, Likelihood, SquaredErrorOfSigmoid
from aejax.models.posteriors import DeterministicPosterior, GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn import build as networks
from aejax.nn.build import Network
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder
from aejax.nn.layers import Lowering
from aejax.training.devices import make_mesh
from aejax.training.seeds import roots
from aejax.training.steps import compile_steps, initial_progress
from experiments.benchmark.harness.worker import Contender

_HIDDEN, _DISCRIMINATOR, _CODES = (1000, 1000, 1000), (500, 500, 500, 500), 150  # of the adversarial autoencoder


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
    encoder_widths: tuple[int, ...], corruption: Corruption | None, inputs: Callable[[Array], Array], **noise: Any
) -> System:
    """Trains the tutorial's network on corrupted images; `inputs` is the corruption without its noise."""

    def model(image_shape: tuple[int, ...], lowering: Lowering = "auto") -> ImageToImage:
        height, width, channels = image_shape
        check_image_size(height, width)
        network = ConvAutoencoder(channels, encoder_widths, lowering=lowering)
        return ImageToImage(network, Bernoulli(), corruption)

    def logits(image_shape: tuple[int, ...]) -> Callable[[Any, Array], Array]:
        apply: Callable[..., Any] = model(image_shape).network.apply
        return lambda params, images: apply(params, inputs(images))

    def method(*arguments: Any) -> Method:
        return reconstruction.autoencoder(model(*arguments), optax.adam(1e-3))

    return System(method, logits, **noise)


def _variational(
    network: Network, likelihood: Likelihood, optimizer: optax.GradientTransformation, dense: bool = False
) -> System:
    """Trains a VAE with two latents; the dense network has 512 hidden units on each side."""

    def model(image_shape: tuple[int, ...], lowering: Lowering = "auto") -> LatentVariableModel:
        trunk, decoder = networks.trunk_and_decoder(network, image_shape, 2, hidden=(512,), lowering=lowering)
        posterior = GaussianPosterior(GaussianEncoder(trunk, 2))
        return LatentVariableModel(posterior, decoder, StandardNormal(latents=2), likelihood)

    def noise(key: Array, images: Array) -> tuple[Array, ...]:
        return (jax.random.normal(rng.stream(key, "posterior"), (len(images), 1, 2))[:, 0],)

    return System(lambda *arguments: variational.vae(model(*arguments), optimizer), _logits_of(model), noise, dense)


def _adversarial() -> System:
    def model(image_shape: tuple[int, ...]) -> LatentVariableModel:
        trunk, decoder = networks.trunk_and_decoder("dense", image_shape, _CODES, hidden=_HIDDEN)
        posterior = DeterministicPosterior(LatentEncoder(trunk, _CODES))
        return LatentVariableModel(posterior, decoder, StandardNormal(latents=_CODES), Bernoulli())

    def adversary(image_shape: tuple[int, ...]) -> Adversary:
        return Adversary(model(image_shape), Discriminator(_DISCRIMINATOR))

    def method(image_shape: tuple[int, ...]) -> Method:
        optimizers = Optimizers(optax.adam(1e-4), optax.adam(5e-5), optax.adam(5e-5))
        return adversarial.aae(adversary(image_shape), optimizers, gan_losses.gan())

    def noise(key: Array, images: Array) -> tuple[Array, ...]:
        own = rng.stream(rng.stream(key, "adversarial"), "prior")
        return (adversary(images.shape[1:]).sample_prior({}, own, len(images), None),)

    return System(method, _logits_of(model), noise, dense=True)


def _logits_of(
    model: Callable[[tuple[int, ...]], LatentVariableModel],
) -> Callable[[tuple[int, ...]], Callable[[Any, Array], Array]]:
    def logits(image_shape: tuple[int, ...]) -> Callable[[Any, Array], Array]:
        built = model(image_shape)
        return lambda params, images: built.decode(params, built.encode(params, images))

    return logits


# With PyTorch's settings.
_rmsprop = optax.rmsprop(1e-3, decay=0.99, eps=1e-8, eps_in_sqrt=False)
_half = corruptions.Downscale(2)

SYSTEMS = {
    "autoencoder": _reconstruction((16, 8, 8), None, lambda images: images),
    "denoiser": _reconstruction(
        (16, 8, 8),
        corruptions.Gaussian(0.5, 0.3),
        lambda images: images,
        noise=lambda key, images: (jax.random.normal(key, images.shape),),
    ),
    "super_resolver": _reconstruction((16, 8), _half, lambda images: _half(rng.root_key(0), images)),
    "vae": _variational("dense", SquaredErrorOfSigmoid(), _rmsprop, dense=True),
    "conv_vae": _variational("tutorial", Bernoulli(), optax.adam(1e-3)),
    "aae": _adversarial(),
}


def check_systems(names: Sequence[str]) -> None:
    """Raises UserError for --systems that are empty or have an unknown name."""
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
