"""Latent-variable models from options: a network, a likelihood, a prior and a posterior by name."""

from typing import Any, Literal

from aejax.errors import UserError
from aejax.models import likelihoods
from aejax.models.flows import FlowPosterior, FlowPrior
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.mixture_prior import GaussianMixture
from aejax.models.posteriors import GaussianPosterior, Posterior
from aejax.models.priors import Prior, StandardNormal
from aejax.models.vamp_prior import VampPrior
from aejax.nn import build
from aejax.nn.flows import AffineCouplings, InverseAutoregressiveFlow
from aejax.nn.heads import ContextEncoder, GaussianEncoder

PriorName = Literal["normal", "flow", "vamp", "mixture"]
"""normal: N(0, I); flow: N(0, I) through learnt couplings; vamp: the posterior at learnt images; mixture: of learnt
Gaussians."""
PosteriorName = Literal["gaussian", "flow"]
"""gaussian: with a diagonal covariance; flow: that, sent through an inverse autoregressive flow."""

_CONTEXT, _WIDTH = 32, 128  # of flows


def latent_variable(options: Any, image_shape: tuple[int, ...], **settings: Any) -> LatentVariableModel:
    """Builds the model of a VAE.

    Args:
      options: `latents`, `likelihood`, `prior`, `posterior`, `pseudo_inputs` of the VampPrior, `components` of the
        mixture and `flow_layers`, next to the options that `aejax.nn.build.of_options` reads.
      image_shape: (height, width, channels).
      settings: further arguments of `aejax.nn.build.trunk_and_decoder`.

    Raises:
      UserError: as of `trunk_and_decoder`; for a flow prior over a single latent, and for a VampPrior together with a
        posterior without a density at given latents.
    """
    likelihood, latents = likelihoods.BY_NAME[options.likelihood], options.latents
    trunk, decoder = build.of_options(
        options, image_shape, latents, outputs_per_value=likelihood.outputs_per_value, **settings
    )
    if options.posterior == "flow":
        flow = InverseAutoregressiveFlow(options.flow_layers, _WIDTH)
        posterior: Posterior = FlowPosterior(ContextEncoder(trunk, latents, _CONTEXT), flow)
    else:
        posterior = GaussianPosterior(GaussianEncoder(trunk, latents))
    return LatentVariableModel(posterior, decoder, _prior(options, posterior), likelihood)


def _prior(options: Any, posterior: Posterior) -> Prior:
    latents = options.latents
    match options.prior:
        case "flow":
            if latents < 2:
                raise UserError("--prior flow needs two latents or more: set --latents 2")
            return FlowPrior(latents=latents, flow=AffineCouplings(options.flow_layers, _WIDTH))
        case "vamp":
            if options.posterior != "gaussian":
                raise UserError("--prior vamp needs --posterior gaussian, whose density is known everywhere")
            return VampPrior(latents=latents, posterior=posterior, pseudo_inputs=options.pseudo_inputs)
        case "mixture":
            return GaussianMixture(latents=latents, components=options.components)
    return StandardNormal(latents=latents)
