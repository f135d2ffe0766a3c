"""What every model with densities can be used for, with each learnt prior, posterior and method of the family."""

import optax
import pytest

from aejax.methods.factor_vae import factor_vae
from aejax.methods.method import Method
from aejax.methods.variational import partially_weighted, vae
from aejax.models.flows import FlowPosterior, FlowPrior
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import GaussianPosterior, Posterior
from aejax.models.priors import Prior, StandardNormal
from aejax.models.vamp_prior import VampPrior
from aejax.nn.discriminator import Discriminator
from aejax.nn.flows import AffineCouplings, InverseAutoregressiveFlow
from aejax.nn.heads import ContextEncoder, GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.plugins.checks import SHAPE, check

GAUSSIAN = GaussianPosterior(GaussianEncoder(MLP((16,)), 2))
FLOW = FlowPosterior(ContextEncoder(MLP((16,)), 2, 4), InverseAutoregressiveFlow(2, 8))
NORMAL = StandardNormal(latents=2)
ADAM = optax.adam(1e-2)


def model(posterior: Posterior = GAUSSIAN, prior: Prior = NORMAL) -> LatentVariableModel:
    return LatentVariableModel(posterior, DenseDecoder((16,), SHAPE), prior)


def every_method() -> dict[str, tuple[LatentVariableModel, Method]]:
    flow = model(prior=FlowPrior(latents=2, flow=AffineCouplings(2, 8)))
    vamp = model(prior=VampPrior(latents=2, posterior=GAUSSIAN, pseudo_inputs=5))
    return {
        "flow posterior": (model(FLOW), vae(model(FLOW), ADAM)),
        "flow prior": (flow, vae(flow, ADAM)),
        "vamp prior": (vamp, vae(vamp, ADAM)),
        "factor vae": (model(), factor_vae(model(), Discriminator((16, 16)), 2.0, ADAM, optax.adam(1e-3, 0.5, 0.9))),
        "piwae": (model(), partially_weighted(model(), ADAM, 4, 2)),
    }


@pytest.mark.parametrize("name", every_method())
def test_it_trains_samples_and_is_written_down_and_exported(name: str) -> None:
    check(*every_method()[name])
