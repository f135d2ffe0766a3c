"""One small model of each kind, with networks, priors, likelihoods and corruptions of every kind among them."""

import flax.linen as nn

from aejax import corruptions
from aejax.models import likelihoods, posteriors, priors
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.nn import build
from aejax.nn.convolutional import ConvAutoencoder
from aejax.nn.edsr import EDSR
from aejax.nn.heads import Autoencoder, GaussianEncoder, LatentEncoder, UniversalEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.nn.unet import UNet

SHAPE = (12, 12, 1)
ENCODER, DECODER = GaussianEncoder(MLP((5,), nn.tanh), 2), DenseDecoder((5,), SHAPE)
WIDE = DenseDecoder((5,), (*SHAPE[:2], 2))


def _by_name(name: build.Network) -> LatentVariableModel:
    trunk, decoder = build.trunk_and_decoder(name, SHAPE, 2, width=2, hidden=(4,))
    posterior = posteriors.GaussianPosterior(GaussianEncoder(trunk, 2))
    return LatentVariableModel(posterior, decoder, priors.StandardNormal(latents=2))


GAUSSIAN = posteriors.GaussianPosterior(ENCODER)
LATENT_VARIABLE = {
    "residual": _by_name("residual"),
    "tutorial": _by_name("tutorial"),
    "dense": _by_name("dense"),
    "mixture": LatentVariableModel(GAUSSIAN, DECODER, priors.MixtureOnRing(radius=3.0), likelihoods.Gaussian(0.2)),
    "deterministic": LatentVariableModel(
        posteriors.DeterministicPosterior(LatentEncoder(MLP((5,)), 2)),
        WIDE,
        priors.SwissRoll(),
        likelihoods.GaussianLearnt(),
    ),
    "universal": LatentVariableModel(
        posteriors.UniversalPosterior(UniversalEncoder(MLP((5,)), 2, 4), noise=3),
        DECODER,
        priors.StandardNormal(latents=2),
        likelihoods.ContinuousBernoulli(),
    ),
    "classes and style": LatentVariableModel(
        posteriors.ClassAndStylePosterior(LatentEncoder(MLP((5,)), 5), classes=3),
        DECODER,
        priors.ClassAndStylePrior(latents=5, classes=3),
        likelihoods.SquaredErrorOfSigmoid(),
    ),
    "levels": LatentVariableModel(GAUSSIAN, WIDE, priors.StandardNormal(latents=2), likelihoods.DiscretizedLogistic()),
}
IMAGE_TO_IMAGE = {
    "convolutional": ImageToImage(ConvAutoencoder(1, (3, 2, 2), (2, 2, 3))),
    "joined": ImageToImage(Autoencoder(LatentEncoder(MLP((5,)), 2), DECODER), corruption=corruptions.Masking(0.2)),
    "denoiser": ImageToImage(UNet(1, (2, 3)), likelihoods.SquaredError(), corruptions.Gaussian()),
    "binarised": ImageToImage(UNet(1, (2, 3)), corruption=corruptions.binarize),
    "super-resolver": ImageToImage(EDSR(1, 2, 3, 1), likelihoods.SquaredError(), corruptions.Downscale(2, "bicubic")),
}
MODELS = {**LATENT_VARIABLE, **IMAGE_TO_IMAGE}
