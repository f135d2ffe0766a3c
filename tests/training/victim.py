"""What test_kills starts and kills: python -m tests.training.victim FOLDER."""

import sys
from collections.abc import Callable
from pathlib import Path

import optax

from aejax import priors
from aejax.methods import adversarial, variational
from aejax.methods.method import Method
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.training import loop
from tests.training.test_loop import IMAGES, noisy_autoencoder, train

SHAPE = IMAGES.shape[1:]


def vae() -> Method:
    return variational.vae(
        variational.Model(GaussianEncoder(MLP((6,)), 2), DenseDecoder((6,), SHAPE)), optax.adam(1e-2)
    )


def aae() -> Method:
    coders = LatentEncoder(MLP((6,)), 2), DenseDecoder((6,), SHAPE)
    model = adversarial.Model(*coders, Discriminator((6,)), priors.standard_normal(2))
    return adversarial.aae(model, adversarial.Optimizers(*[optax.adam(1e-2)] * 3))


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
