"""Autoencoders with discrete latents: VQ-VAE and finite scalar quantisation, with a prior that samples codes.

python -m experiments.vq_vae                            MNIST: 7 x 7 codes out of 128, and a transformer over them
python -m experiments.vq_vae --quantizer fsq            levels 8 x 5 x 5 x 5 in place of a codebook
python -m experiments.vq_vae --dataset cifar10 --codes 512
python -m experiments.vq_vae --dataset digits --epochs 20       no download
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import optax

from aejax import cli, plots
from aejax.data.feeds import check_batch
from aejax.evaluation import codes, judge, pictures
from aejax.evaluation.likelihood import bits_per_dimension
from aejax.methods import vector_quantized
from aejax.methods.method import with_ema
from aejax.models import likelihoods
from aejax.models.quantizers import Codebook, FiniteScalars
from aejax.models.vector_quantized import VectorQuantizedModel
from aejax.models.vector_quantized import vector_quantized as build_quantized
from aejax.nn.maps import MapDecoder, MapEncoder, map_shape
from aejax.tables import Table, by_seed
from aejax.training import optimizers, report
from aejax.training.config import JudgedConfig, Schedule, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import load_splits, open_feed


@dataclass(frozen=True, kw_only=True)
class Config(JudgedConfig):
    """Train autoencoders with discrete latents; metrics, figures and checkpoints go to <runs>/vq_vae/<name>/, by
    default named after <dataset>-<quantizer>-seed<seed>."""

    quantizer: Literal["vq", "fsq"] = "vq"
    """vq: a learnt codebook, where the nearest entry is chosen; fsq: features rounded to a few levels each"""
    codes: int = at_least(2, 128)
    """entries of the codebook of vq"""
    features: int = at_least(1, 32)
    """numbers of an entry of the codebook"""
    fsq_levels: tuple[int, ...] = at_least(2, (8, 5, 5, 5))
    """levels of each feature of fsq; their product is the number of codes"""
    levels: int = at_least(1, 2)
    """how often the resolution is halved between an image and its map of codes"""
    width: int = at_least(1, 64)
    """channels at the lowest resolution; half of them at twice the resolution"""
    blocks: int = at_least(0, 2)
    """residual blocks, in the encoder and in the decoder"""
    commitment: float = at_least(0, 0.25)
    """weight of the distance between the encoder's vectors and their codes; vq alone"""
    likelihood: Literal["discretized_logistic", "bernoulli"] = "discretized_logistic"
    """of pixels. discretized_logistic: of 8-bit values, for bits per dimension; bernoulli: the cross-entropy"""
    prior_width: int = at_least(4, 64)
    """width of the transformer over codes; a multiple of 4"""
    prior_layers: int = at_least(1, 2)
    """layers of the transformer over codes"""
    epochs: int = at_least(1, 20)
    """passes over the training images"""
    batch_size: int = at_least(1, 128)
    """images per step, over all devices"""
    learning_rate: float = above(0, 2e-3)
    """of Adam, at its peak, for autoencoder and prior alike"""
    schedule: Schedule = "warmup_cosine"
    """of the learning rate: constant; cosine, which falls to 0; or warmup_cosine, which first rises for 5% of the
    steps"""
    clip_norm: float | None = above(0, 1.0)
    """largest global norm of a gradient, beyond which it is scaled down; None: gradients as they are"""


def build_model(config: Config, image_shape: tuple[int, ...]) -> VectorQuantizedModel:
    """Returns the model for images (height, width, channels)."""
    height, width, channels = image_shape
    likelihood = likelihoods.BY_NAME[config.likelihood]
    quantizer = (
        Codebook(config.codes, config.features) if config.quantizer == "vq" else FiniteScalars(config.fsq_levels)
    )
    sizes: dict[str, Any] = {"width": config.width, "levels": config.levels, "blocks": config.blocks}
    return build_quantized(
        MapEncoder(quantizer.features, **sizes),
        MapDecoder((height, width, channels * likelihood.outputs_per_value), **sizes),
        quantizer,
        map_shape(image_shape, config.levels),
        likelihood,
        width=config.prior_width,
        layers=config.prior_layers,
    )


def with_bits(table: Table, model: VectorQuantizedModel, values: int) -> Table:
    """Adds the bound on -log p(x) in bits per dimension, where the likelihood is one of 8-bit values."""
    if not model.likelihood.discrete:
        return table
    bits = {row: {"bits_per_dimension": bits_per_dimension(figures["loss"], values)} for row, figures in table.items()}
    return judge.joined(table, bits)


def main(config: Config) -> None:
    name = f"{plain_name(config.dataset)}-{config.quantizer}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    mesh = make_mesh(config.devices, config.batch_size)
    data = load_splits(config)
    check_batch(data.train.images, config.batch_size, mesh)
    model = build_model(config, data.image_shape)
    report.note(judge.left_out(data.train, data.test))
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    autoencoder, prior = (
        optimizers.build(config, config.learning_rate, config.epochs * feed.steps_per_epoch, make=optax.adam)
        for _ in range(2)
    )
    method = vector_quantized.vector_quantized(model, autoencoder, prior, commitment=config.commitment)
    method = with_ema(method, config.ema_decay)
    examples = data.test.one_per_class()

    with open_run(config, "vq_vae", model=model, data=data) as run:
        states = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={"held_out": data.held_out.images},
            on_epoch=lambda states, step: run.draw(run.trained(states, mesh)[0].reconstruct, examples, step),
        )
        trained = run.trained(states, mesh)
        rows = pictures.reconstructions({"reconstruction": trained[0]}, examples)
        run.figure("reconstructions", plots.image_grid(rows, f"{plain_name(config.dataset)}, test set"))
        run.figure("samples", plots.mosaic(trained[0].generate(60), columns=12, title="decoded from the prior"))
        images = {name: part.images for name, part in data.parts().items()}
        values = data.train.images[0].size
        table = judge.joined(
            with_bits(judge.of_splits(method, states, images, mesh), model, values),
            {"test": by_seed([codes.usage(one, data.test.images) for one in trained])},
            judge.judge(trained, data.train, data.test, settings=judge.Settings.of(config)),
        )
        run.finish(config, mesh, table, curves=("loss", "distortion", "rate"))


if __name__ == "__main__":
    cli.run(main, Config)
