"""Generative methods next to each other: one network size, one budget, one table.

python -m experiments.compare                                       MNIST, every method, 10 epochs
python -m experiments.compare --seeds 3                             with error bars
python -m experiments.compare --methods vae aae rae_gradient        some of them
python -m experiments.compare --dataset cifar10 --network residual --epochs 3

The protocol follows the benchmark of Pythae (Chadebec et al. 2022, arXiv:2206.08309, section 4.1): the same encoder,
decoder, number of latents and optimiser for all methods. Each method is a run of its own, so that the same command goes
on where it was stopped. Samples come from the method's own prior and from a Gaussian mixture fitted to the latents.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import optax

from aejax import cli, plots
from aejax.data.feeds import check_batch
from aejax.evaluation import ex_post, judge, parallel, pictures
from aejax.methods import adversarial, gan_losses, reconstruction
from aejax.methods.adversarial import Adversary, Optimizers
from aejax.methods.method import Method, with_ema
from aejax.methods.regularized import regularized_autoencoder
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import DeterministicPosterior
from aejax.models.trained import Trained
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import LatentEncoder
from aejax.tables import Row, Table
from aejax.training import optimizers, report
from aejax.training.config import (
    HIDDEN_HELP,
    JudgedConfig,
    NetworkConfig,
    NetworkOption,
    Schedule,
    above,
    at_least,
    plain_name,
    seeds_name,
)
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import Splits, load_splits, open_feed
from experiments import vae

MethodName = Literal[
    "autoencoder",
    "rae_l2",
    "rae_gradient",
    "vae",
    "beta_vae",
    "iwae",
    "dreg",
    "miwae",
    "free_bits",
    "beta_tc",
    "factor_vae",
    "wae_mmd",
    "info_vae",
    "mixture_prior",
    "vamp_prior",
    "flow_prior",
    "flow_posterior",
    "aae",
]

VARIATIONAL: dict[str, dict[str, Any]] = {
    "vae": {},
    "beta_vae": {"beta": 4.0},
    "iwae": {"objective": "iwae", "samples": 5},
    "dreg": {"objective": "dreg", "samples": 5},
    "miwae": {"objective": "miwae", "samples": 6, "groups": 2},
    "free_bits": {"objective": "free_bits", "free_bits": 0.5},
    "beta_tc": {"objective": "beta_tc", "beta": 4.0},
    "factor_vae": {"objective": "factor_vae", "beta": 4.0},
    "wae_mmd": {"objective": "wae_mmd", "mmd_weight": 100.0},
    "info_vae": {"objective": "info_vae", "mmd_weight": 100.0},
    "mixture_prior": {"prior": "mixture"},
    "vamp_prior": {"prior": "vamp"},
    "flow_prior": {"prior": "flow"},
    "flow_posterior": {"posterior": "flow"},
}
"""What each variational method changes of `experiments.vae`."""


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig, JudgedConfig):
    """Train generative methods with the same networks and compare them; each is a run in <runs>/compare/, and so is the
    table, by default named after <dataset>-seed<seed>."""

    methods: tuple[MethodName, ...] = MethodName.__args__  # type: ignore[attr-defined]
    """which of them; all if left out"""
    network: NetworkOption = "dense"
    hidden: Annotated[tuple[int, ...], HIDDEN_HELP] = at_least(1, (512, 256))
    latents: int = at_least(2, 16)
    """dimensions of the latent space"""
    likelihood: vae.LikelihoodName = "bernoulli"
    """of pixels, for all methods"""
    epochs: int = at_least(1, 10)
    """passes over the training images"""
    batch_size: int = at_least(2, 128)
    """images per step, over all devices"""
    learning_rate: float = above(0, 1e-3)
    """of Adam, at its peak"""
    schedule: Schedule = "warmup_cosine"
    """of the learning rate: constant; cosine, which falls to 0; or warmup_cosine, which first rises for 5% of the
    steps"""
    components: int = at_least(1, 10)
    """Gaussians of the mixture that is fitted to the latents"""
    nll_samples: int = at_least(0, 500)
    """latents for the importance-sampled likelihood of test images, where the model has a density; 0 leaves it out"""


class Outcome(NamedTuple):
    """What a method's run leaves: its trained models, one per seed, its table, and the same with the mixture."""

    trained: list[Trained]
    table: Table
    with_mixture: Table


def variational_options(config: Config, name: str) -> vae.Config:
    """Returns the options of `experiments.vae` that make the method."""
    names = {field.name for field in dataclasses.fields(vae.Config)} & {f.name for f in dataclasses.fields(Config)}
    shared = {name: getattr(config, name) for name in names} | {"components": 100}
    return vae.Config(**shared | VARIATIONAL.get(name, {}))


def build(config: Config, name: str, image_shape: tuple[int, ...], images: int) -> tuple[LatentVariableModel, Method]:
    """Returns a method's model and how it is learnt from a training split of `images` images."""
    options = variational_options(config, name)
    model = vae.build_model(options, image_shape)
    if name in VARIATIONAL:
        return model, vae.build_method(options, model, images)

    # The same networks, without the variance.
    posterior = DeterministicPosterior(LatentEncoder(model.posterior.encoder.trunk, config.latents))
    model = dataclasses.replace(model, posterior=posterior)
    steps = config.epochs * (images // config.batch_size)
    adam = optimizers.build(config, config.learning_rate, steps, make=optax.adam)
    match name:
        case "rae_l2":
            method = regularized_autoencoder(model, adam, latent_weight=1e-2, decoder_weight=1e-3)
        case "rae_gradient":
            method = regularized_autoencoder(model, adam, latent_weight=1e-2, gradient_weight=1e-2)
        case "aae":
            adversary = optimizers.build(config, config.learning_rate / 2, steps, b1=0.0)
            three = Optimizers(adam, adversary, adversary)
            judged = Adversary(model, Discriminator((512, 512)))
            method = adversarial.aae(judged, three, gan_losses.by_name("wgan_gp", 0.0))
        case _:
            method = reconstruction.autoencoder(model, adam)
    return model, with_ema(method, config.ema_decay)


def run_one(config: Config, name: str, data: Splits) -> Outcome:
    """Trains one method, or takes it from its checkpoint, and judges it."""
    mesh = make_mesh(config.devices, config.batch_size, dense=config.network == "dense")
    model, method = build(config, name, data.image_shape, len(data.train.images))
    own = dataclasses.replace(config, name=f"{config.name}-{name}", methods=(name,))  # type: ignore[arg-type]
    with open_run(own, "compare", model=model, data=data) as run:
        states = fit(
            method,
            open_feed(config, data.train.images, config.batch_size, mesh),
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={"held_out": data.held_out.images},
        )
        trained = run.trained(states, mesh)
        settings = judge.Settings.of(config)._replace(pca=False)
        table = judge.judge(trained, data.train, data.test, held_out=data.held_out, settings=settings)
        mixed = [ex_post.with_mixture(one, data.train.images, config.components) for one in trained]
        of_samples = judge.Settings(0, 1, config.judge_samples, 0, representation=False, pca=False)
        with_mixture = judge.judge(mixed, data.train, data.test, settings=of_samples)
        run.finish(own, mesh, table, curves=("loss",), show=False)
    return Outcome(trained, table, with_mixture)


def chosen(outcome: Outcome) -> Row:
    """Chooses a method's figures for the table; a method that cannot have one goes without."""
    test, samples = outcome.table["test"], outcome.table.get("samples", {})
    row = {name: test[name] for name in test if name.startswith("nll")}
    row |= {name: test[name] for name in ("mse", "psnr", "knn", "linear_probe", "active_units") if name in test}
    if "frechet" in samples:
        row["frechet"] = samples["frechet"]
        row["frechet, mixture"] = outcome.with_mixture["samples"]["frechet"]
    return row


def main(config: Config) -> None:
    name = f"{plain_name(config.dataset)}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    data = load_splits(config)
    mesh = make_mesh(config.devices, config.batch_size, dense=config.network == "dense")
    check_batch(data.train.images, config.batch_size, mesh)
    report.note(judge.left_out(data.train, data.test))
    for method in config.methods:  # refuses what does not fit before the first is trained
        build(config, method, data.image_shape, len(data.train.images))
    outcomes: dict[str, Outcome] = {}
    with parallel.bar(len(config.methods), "comparison", " methods") as bar:
        for method in config.methods:
            bar.set_description(f"comparison: {method}")
            outcomes[method] = run_one(config, method, data)
            bar.update()

    with open_run(config, "compare", data=data) as run:
        draw(config, run, data, outcomes)
        table = {method: chosen(outcome) for method, outcome in outcomes.items()}
        first = next(iter(outcomes.values())).table
        floor = {"training images": {"frechet": first["training images"]["frechet"]}} if "samples" in first else {}
        run.finish(config, mesh, judge.joined(table, floor))


def draw(config: Config, run: Any, data: Splits, outcomes: dict[str, Outcome]) -> None:
    """Draws reconstructions and samples of the first seed, a row for each method."""
    examples, title = data.test.one_per_class(), plain_name(config.dataset)
    models = {method: outcome.trained[0] for method, outcome in outcomes.items()}
    reconstructions = pictures.reconstructions(models, examples)
    samples = {method: one.generate(len(examples)) for method, one in models.items()}
    run.figure("reconstructions", plots.image_grid(reconstructions, f"{title}, test set"))
    run.figure("samples", plots.image_grid(samples, f"{title}: decoded from each method's prior"))


if __name__ == "__main__":
    cli.run(main, Config)
