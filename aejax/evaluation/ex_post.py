"""Ex-post density estimation: a prior fitted to the latents of a trained model, so that it can be sampled.

Ghosh et al. (2019, https://arxiv.org/abs/1903.12436), section 4. It serves any model with latents: an autoencoder,
which has no prior, or a VAE whose posteriors do not fill its prior.
"""

import dataclasses
from typing import Any

import numpy as np

from aejax.errors import UserError
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.mixture_prior import GaussianMixture
from aejax.models.posteriors import DeterministicPosterior
from aejax.models.priors import StandardNormal
from aejax.models.trained import Trained
from aejax.nn.heads import Autoencoder


def with_mixture(trained: Trained, images: np.ndarray, components: int = 10) -> Trained:
    """Returns the model with a Gaussian mixture, fitted to the latents of images, as its prior.

    Args:
      trained: a model with latents (n, latents).
      images: what it was trained on, (n, height, width, channels).
      components: Gaussians with full covariances; 1 is a single Gaussian.

    Returns:
      A model that can be asked for samples; all else is as before.

    Raises:
      UserError: for a model without a vector of latents, or fewer images than components.
    """
    from sklearn.mixture import GaussianMixture as Fit  # as scikit-learn takes a second to import

    model, params = of_vectors(trained)
    if len(images) < max(components, 2):
        raise UserError(f"{len(images)} images are too few to fit a mixture of {components} components")
    codes = np.asarray(dataclasses.replace(trained, model=model, params=params).encode(images), np.float64)
    fit = Fit(components, covariance_type="full", reg_covar=1e-6 * codes.var(), random_state=trained.seed).fit(codes)
    prior = {
        "log_weights": np.log(fit.weights_),
        "means": fit.means_,
        "factors": np.linalg.cholesky(fit.covariances_),
    }
    mixture = GaussianMixture(latents=codes.shape[1], components=components)
    return dataclasses.replace(
        trained,
        model=dataclasses.replace(model, prior=mixture),
        params={**params, "prior": {name: np.asarray(value, np.float32) for name, value in prior.items()}},
    )


def of_vectors(trained: Trained) -> tuple[LatentVariableModel, Any]:
    """Returns the model as one with a prior, with its params; an autoencoder gets N(0, I).

    Raises:
      UserError: for a model whose latents are no vector.
    """
    model, params = trained.model, trained.params
    if isinstance(model, LatentVariableModel):
        return model, params
    if isinstance(model, ImageToImage) and isinstance(model.network, Autoencoder) and model.corruption is None:
        network = model.network
        posterior = DeterministicPosterior(network.encoder)
        prior = StandardNormal(latents=trained.latents)
        parts = {name: {"params": params["params"][name]} for name in ("encoder", "decoder")}
        return LatentVariableModel(posterior, network.decoder, prior, model.likelihood), parts
    raise UserError("samples need a model that encodes images as a vector of latents")
