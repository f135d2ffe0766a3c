"""The systems of jax_systems.SYSTEMS in PyTorch, under the same names."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  the field's name for it
from torch import Tensor, nn

Loss = Callable[..., Tensor]


class Phase(NamedTuple):
    """One update of a step.

    Attributes:
      loss: (network, images (batch, channels, height, width) in [0, 1], noise...) -> scalar.
      optimizer: (parameters, fused=True or None) -> optimiser; None leaves PyTorch its default.
      part: the submodule whose parameters it updates; "" for all of the network.
    """

    loss: Loss
    optimizer: Callable[..., torch.optim.Optimizer]
    part: str = ""


class System(NamedTuple):
    """One training recipe, in PyTorch.

    Attributes:
      network: channels -> a network from images to logits.
      phases: what a step does, in order.
      tutorial_loss: (network, images) -> the loss of the tutorial's own form; None: that form has the same phases.
      layers: the paths of this project's layers, in the order of the network's own convolutions and dense layers.
      noise: images -> what a step draws.
      inputs: images -> what the network sees of them without noise.
    """

    network: Callable[[int], nn.Module]
    phases: Sequence[Phase]
    tutorial_loss: Loss | None
    layers: Sequence[str]
    noise: Callable[[Tensor], tuple[Tensor, ...]] = lambda images: ()
    inputs: Callable[[Tensor], Tensor] = lambda images: images


def encoder(channels: int, widths: Sequence[int]) -> list[nn.Module]:
    """The tutorial's encoder: blocks of convolution, ReLU and max-pooling, the last one padded."""
    layers: list[nn.Module] = []
    for before, after in zip((channels, *widths[:-1]), widths, strict=True):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return [*layers[:-1], nn.MaxPool2d(2, padding=1)]


def decoder(channels: int) -> list[nn.Module]:
    """The tutorial's decoder, without its last sigmoid: (8, 4, 4) to logits."""
    return [
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Upsample(scale_factor=2)),
        nn.Conv2d(16, channels, 3, padding=1),
    ]


def conv_autoencoder(channels: int, widths: Sequence[int] = (16, 8, 8)) -> nn.Module:
    return nn.Sequential(*encoder(channels, widths), *decoder(channels))


class VAE(nn.Module):
    """A trunk, two heads and a decoder. Its forward decodes the posterior's mean."""

    def __init__(self, trunk: nn.Module, features: int, decoder: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.mean = nn.Linear(features, 2)
        self.log_variance = nn.Linear(features, 2)
        self.decoder = decoder

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        return self.mean(features), 15 * torch.tanh(self.log_variance(features) / 15)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.posterior(images)[0])


class Maps(nn.Module):
    """A dense layer with ReLU, as feature maps whose channels come last in it, as on this project's side."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(2, 128)

    def forward(self, latents: Tensor) -> Tensor:
        return F.relu(self.dense(latents)).view(-1, 4, 4, 8).permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """(batch, channels, height, width), flattened in the order of this project's side."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Pixels(nn.Module):
    """ChannelsLast undone, for images of 28 x 28."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 28, 28, self.channels).permute(0, 3, 1, 2)


def dense_vae(channels: int) -> nn.Module:
    size = 784 * channels
    trunk = nn.Sequential(ChannelsLast(), nn.Linear(size, 512), nn.ReLU())
    pixels = nn.Sequential(nn.Linear(512, size), Pixels(channels))
    return VAE(trunk, 512, nn.Sequential(nn.Linear(2, 512), nn.ReLU(), pixels))


def conv_vae(channels: int) -> nn.Module:
    trunk = nn.Sequential(*encoder(channels, (16, 8, 8)), ChannelsLast())
    return VAE(trunk, 128, nn.Sequential(Maps(), *decoder(channels)))


class AAE(nn.Module):
    """Its forward reconstructs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = 784 * channels
        encoder = nn.Sequential(ChannelsLast(), *_dense(size, 1000, 1000, 1000, 150))
        decoder = nn.Sequential(*_dense(150, 1000, 1000, 1000, size), Pixels(channels))
        self.autoencoder = nn.Sequential(encoder, decoder)
        self.discriminator = nn.Sequential(*_dense(150, 500, 500, 500, 500, 1), nn.Flatten(0))

    def forward(self, images: Tensor) -> Tensor:
        return self.autoencoder(images)


def _dense(*widths: int) -> list[nn.Module]:
    """Dense layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]


def adam(learning_rate: float) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters, fused: torch.optim.Adam(parameters, learning_rate, fused=fused)


def rmsprop(learning_rate: float) -> Callable[..., torch.optim.Optimizer]:
    """It has no fused form."""
    return lambda parameters, fused: torch.optim.RMSprop(parameters, learning_rate)


def bce(network: nn.Module, images: Tensor) -> Tensor:
    """In nats per image, as on this project's side."""
    return _bce(network(images), images)


def denoising(network: nn.Module, images: Tensor, noise: Tensor) -> Tensor:
    return _bce(network(_noisy(images, noise)), images)


def enlarging(network: nn.Module, images: Tensor) -> Tensor:
    return _bce(network(F.avg_pool2d(images, 2)), images)


def variational(distortion: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The negative ELBO in nats per image, with one latent for each."""

    def loss(network: Any, images: Tensor, noise: Tensor) -> Tensor:
        mean, log_variance = network.posterior(images)
        logits = network.decoder(mean + torch.exp(log_variance / 2) * noise)
        kl = (mean.square() + log_variance.exp() - log_variance - 1).sum() / 2
        return distortion(logits, images) + kl / len(images)

    return loss


def reconstruction(network: nn.Module, images: Tensor, samples: Tensor) -> Tensor:
    return _bce(network(images), images)


def discrimination(network: AAE, images: Tensor, samples: Tensor) -> Tensor:
    with torch.no_grad():
        codes = network.autoencoder[0](images)
    return (F.softplus(-network.discriminator(samples)) + F.softplus(network.discriminator(codes))).mean()


def generation(network: AAE, images: Tensor, samples: Tensor) -> Tensor:
    # Without gradients for the discriminator's parameters, which this phase does not need.
    frozen = {name: parameter.detach() for name, parameter in network.discriminator.named_parameters()}
    codes = network.autoencoder[0](images)
    return F.softplus(-torch.func.functional_call(network.discriminator, frozen, (codes,))).mean()


def _bce(logits: Tensor, images: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def _squared_error(logits: Tensor, images: Tensor) -> Tensor:
    return F.mse_loss(torch.sigmoid(logits), images, reduction="sum") / len(images)


def _noisy(images: Tensor, noise: Tensor) -> Tensor:
    return torch.clamp(images + 0.5 + 0.3 * noise, 0, 1)


def _bce_per_pixel(logits: Tensor, images: Tensor) -> Tensor:
    """The tutorial's loss: a mean over pixels."""
    return F.binary_cross_entropy(torch.sigmoid(logits), images)


def _two_latents(images: Tensor) -> tuple[Tensor, ...]:
    return (torch.randn(len(images), 2, device=images.device),)


_DECODER = ("Conv_0", *(f"UpsampleConv_{i}" for i in range(3)))
_ENCODER = tuple(f"ConvMaxPool_{i}" for i in range(3))
_AUTOENCODER = [*(f"params/encoder/{name}" for name in _ENCODER), *(f"params/decoder/{name}" for name in _DECODER)]

SYSTEMS = {
    "autoencoder": System(
        conv_autoencoder,
        [Phase(bce, adam(1e-3))],
        lambda network, images: _bce_per_pixel(network(images), images),
        _AUTOENCODER,
    ),
    "denoiser": System(
        conv_autoencoder,
        [Phase(denoising, adam(1e-3))],
        lambda network, images: _bce_per_pixel(network(_noisy(images, torch.randn_like(images))), images),
        _AUTOENCODER,
        noise=lambda images: (torch.randn_like(images),),
    ),
    "super_resolver": System(
        lambda channels: conv_autoencoder(channels, (16, 8)),
        [Phase(enlarging, adam(1e-3))],
        lambda network, images: _bce_per_pixel(network(F.avg_pool2d(images, 2)), images),
        [path for path in _AUTOENCODER if not path.endswith("ConvMaxPool_2")],
        inputs=lambda images: F.avg_pool2d(images, 2),
    ),
    "vae": System(
        dense_vae,
        [Phase(variational(_squared_error), rmsprop(1e-3))],
        None,
        [
            *("encoder/params/trunk/Dense_0", "encoder/params/mean", "encoder/params/log_variance"),
            *("decoder/params/MLP_0/Dense_0", "decoder/params/pixels"),
        ],
        noise=_two_latents,
    ),
    "conv_vae": System(
        conv_vae,
        [Phase(variational(_bce), adam(1e-3))],
        None,
        [
            *(f"encoder/params/trunk/{name}" for name in _ENCODER),
            *("encoder/params/mean", "encoder/params/log_variance", "decoder/params/maps"),
            *(f"decoder/params/trunk/{name}" for name in _DECODER),
        ],
        noise=_two_latents,
    ),
    "aae": System(
        AAE,
        [
            Phase(reconstruction, adam(1e-4), "autoencoder"),
            Phase(discrimination, adam(5e-5), "discriminator"),
            Phase(generation, adam(5e-5), "autoencoder.0"),
        ],
        None,
        [
            *(f"encoder/params/trunk/Dense_{i}" for i in range(3)),
            *("encoder/params/head", *(f"decoder/params/MLP_0/Dense_{i}" for i in range(3)), "decoder/params/pixels"),
            *(f"discriminator/params/Dense_{i}" for i in range(5)),
        ],
        noise=lambda images: (torch.randn(len(images), 150, device=images.device),),
    ),
}
