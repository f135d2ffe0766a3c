"""A VAE of an adversarial autoencoder's networks, to stand beside it."""

import functools
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from aejax import rng
from aejax.methods import variational
from aejax.methods.method import TrainState, clipped
from aejax.methods.variational import Model
from aejax.nn.dense import GaussianEncoder
from aejax.training.batches import over_images
from aejax.training.config import RunConfig, above, at_least
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.report import mean_of_examples
from aejax.training.runs import open_run
from aejax.training.splits import Splits, open_feed
from experiments.aae_report import Judged


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """What a VAE has in common with the adversarial autoencoder beside it: options as of `experiments.aae`."""

    epochs: int = at_least(1, 30)
    batch_size: int = at_least(1, 256)
    latents: int = at_least(1, 150)
    hidden: tuple[int, ...] = at_least(1, ())
    conv: bool = False
    reconstruction_rate: float = above(0, 1e-4)


def train_and_report(config: Config, data: Splits, trunk: nn.Module, decoder: nn.Module) -> Judged:
    """One run, from its training, or what its checkpoint holds, to its table."""
    mesh = make_mesh(config.devices, config.batch_size, dense=not config.conv)
    model = Model(GaussianEncoder(trunk, config.latents), decoder)
    method = variational.vae(model, clipped(optax.adam(config.reconstruction_rate), config.clip_norm))
    with open_run(config, "aae") as run:
        (state,) = fit(
            method,
            open_feed(config, data.train.images, config.batch_size, mesh),
            run,
            epochs=config.epochs,
            seed=config.seed,
            evaluations={"held_out": data.held_out.images},
        )
        evaluate = over_images(method.evaluate, mesh)
        rows = {split: mean_of_examples(evaluate(state, one.images)) for split, one in data._asdict().items()}
        run.finish(config, mesh, rows, curves=("loss", "distortion", "rate"))
    return judged(mesh, model, state, config.latents)


def judged(mesh: Mesh, model: Model, state: TrainState, latents: int) -> Judged:
    """Its codes are samples of the posteriors: together the aggregated posterior, which the prior is to match."""

    def draw(state: TrainState, images: Array, key: Array) -> Array:
        mean, log_variance = model.posterior(state.params, images)
        return mean + jnp.exp(log_variance / 2) * jax.random.normal(rng.stream(key, "codes"), mean.shape)

    encode, reconstruct = over_images(draw, mesh), over_images(variational.reconstruct(model), mesh)
    generate = jax.jit(variational.generate(model, latents), static_argnums=2)
    return Judged(*(functools.partial(function, state) for function in (encode, reconstruct, generate)))
