"""What test_kills starts and kills: python -m tests.training.victim FOLDER."""

import sys
from collections.abc import Callable
from pathlib import Path

import optax

from aejax.methods import adversarial, variational
from aejax.methods.method import Method
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import DeterministicPosterior, GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.training import loop
from tests.training.test_loop import IMAGES, noisy_autoencoder, train

SHAPE = IMAGES.shape[1:]


def vae() -> Method:
    posterior = GaussianPosterior(GaussianEncoder(MLP((6,)), 2))
    model = LatentVariableModel(posterior, DenseDecoder((6,), SHAPE), StandardNormal(latents=2))
    return variational.vae(model, optax.adam(1e-2))


def aae() -> Method:
    posterior = DeterministicPosterior(LatentEncoder(MLP((6,)), 2))
    model = LatentVariableModel(posterior, DenseDecoder((6,), SHAPE), StandardNormal(latents=2))
    adversary = adversarial.Adversary(model, Discriminator((6,)))
    return adversarial.aae(adversary, adversarial.Optimizers(*[optax.adam(1e-2)] * 3))


METHODS: dict[str, Callable[[], Method]] = {"autoencoder": noisy_autoencoder, "vae": vae, "aae": aae}


def train_all(folder: Path, after_chunk: Callable[[str, int], None] = lambda name, step: None) -> None:
    """One run after the other; each goes on where it was."""
    for name, method in METHODS.items():

        def told(_: str, __: float, step: int, name: str = name) -> None:
            after_chunk(name, step)

        train(folder / name, method=method(), after_chunk=told)


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment] # tensorboardX imports it where it is, which takes seconds
    loop._FIRST_CHUNK, loop._CHUNK_SECONDS = 1, 0.0
    train_all(Path(sys.argv[1]), lambda name, step: print(name, step, flush=True))
