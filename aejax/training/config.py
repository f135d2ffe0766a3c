"""What every experiment's configuration has in common."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from aejax import paths, rng
from aejax.data.augmentation import Augmentation
from aejax.errors import UserError
from aejax.nn.build import Network

OnNonFinite = Literal["stop", "skip"]
Schedule = Literal["constant", "cosine", "warmup_cosine"]

NETWORK_HELP = (
    "residual: convolutions in residual blocks, with a linear path around them, for images of any size from 8 pixels "
    "up; tutorial: the tutorial's small convolutional network, for heights and widths of 12, 20, 28, 36, ...; dense: "
    "fully connected layers"
)
NetworkOption = Annotated[Network, tyro.conf.arg(help=NETWORK_HELP)]
"""The type of --network, with its help, for experiments that have another default."""
NetworkRecipe = Annotated[Network, tyro.conf.arg(help=f"sets the defaults of the training options. {NETWORK_HELP}")]
"""The same where the network is the experiment's recipe."""
HIDDEN_HELP = tyro.conf.arg(
    help="widths of the hidden layers of the encoder of --network dense; the decoder's are its mirror"
)
"""The help of --hidden, for experiments that have another default."""


def at_least(minimum: float, default: Any, below: float = math.inf) -> Any:
    """A field whose value must not be less than `minimum`, and less than `below`."""
    return dataclasses.field(default=default, metadata={"minimum": minimum, "below": below})


def above(bound: float, default: Any) -> Any:
    """A field whose value must be finite and greater than `bound`."""
    return dataclasses.field(default=default, metadata={"above": bound})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Options of every experiment; an experiment's own class adds its own.

    Raises:
      UserError: at construction, for a value out of bounds.
    """

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = frozenset(
        {"devices", "distributed", "data_dir", "raw_dir", "runs", "name", "feed", "workers", "on_nonfinite"}
    )
    """Options that say where a run computes or keeps things, not what it computes: they may differ on resume."""

    dataset: str = "mnist"
    """mnist, fashion_mnist, cifar10, digits (no download), a tfds dataset prepared in --data-dir, a folder of images,
    or an .npz or .npy file"""
    image_size: int | None = at_least(1, None)
    """resize images to this many pixels square; None: the dataset's own size"""
    fit: Literal["crop", "stretch"] = "crop"
    """with --image-size, images that are not square: cut out their centre, or stretch them"""
    limit: int | None = at_least(10, None)
    """for a first try, at most this many images of each split"""
    skip_unreadable: bool = False
    """leave out files of a folder that are no images, instead of refusing the folder"""
    augment: tuple[Augmentation, ...] = ()
    """flip: training images are mirrored left to right at random, which most digits and letters do not bear; crop: they
    are shifted by up to an eighth of their size"""
    seed: int = at_least(0, 0, below=rng.SEEDS)
    """root of all randomness: initialisation, shuffling, noise"""
    seeds: int = at_least(1, 1)
    """trains the seeds --seed, --seed + 1, ... in one program; figures become mean and sd over them"""
    clip_norm: float | None = above(0, None)
    """largest global norm of a gradient, beyond which it is scaled down; None: gradients as they are"""
    weight_decay: float = at_least(0, 0.0)
    """share of each parameter taken away per step, times the learning rate (AdamW); 0: none"""
    schedule: Schedule = "constant"
    """of the learning rate: constant; cosine: falls to 0 over the run; warmup_cosine: rises over the first 5% first"""
    ema_decay: float = at_least(0, 0.0, below=1)
    """evaluate and keep an exponential moving average of the parameters with this decay; 0: no average"""
    on_nonfinite: OnNonFinite = "stop"
    """a step with a NaN or infinite loss or gradient ends training; or is left out, and the tenth in a row ends it"""
    devices: int = at_least(0, 0)
    """devices to split each batch over; 0: all GPUs or TPU cores; on a CPU one per core for convolutional networks, and
    one for dense ones, whose products use all cores"""
    distributed: bool = False
    """this is one of several processes that train together, started by Slurm, Open MPI or Kubernetes, on a Cloud TPU or
    by hand (experiments/guides/clusters.md); --devices and --batch-size are those of all"""
    feed: Literal["auto", "resident", "streaming"] = "auto"
    """where training images are: resident, all on each device; streaming, read from the cache folder while it trains;
    auto: resident up to a quarter of a device's memory. Both train alike"""
    workers: int | None = at_least(0, None)
    """threads that decode image files when a folder is first read; None: one for each core, at most 16"""
    data_dir: Path | None = None
    """the tensorflow-datasets folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets"""
    raw_dir: Path | None = None
    """a folder with the dataset's official raw files, to prepare it from"""
    runs: Path = Path("runs")
    """the folder that holds all runs"""
    name: str = ""
    """the run's folder, <runs>/<experiment>/<name>; empty: <dataset>-seed<seed>. Started again, a run resumes"""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.seed + self.seeds > rng.SEEDS:
            raise UserError(f"--seeds {self.seeds} from --seed {self.seed}: the last one must be below {rng.SEEDS}")
        for option in ("runs", "data_dir", "raw_dir"):
            if (path := getattr(self, option)) is not None:
                paths.local(path, f"--{option.replace('_', '-')}")
        if any(separator in self.name for separator in "/\\") or self.name in (".", ".."):
            raise UserError(f"--name must be a plain folder name, not {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class NetworkSizes(RunConfig):
    """Options of the networks of `aejax.nn.build`."""

    width: int = at_least(1, 16)
    """channels of --network residual at half the resolution; they double with each further halving"""
    levels: int = at_least(1, 2)
    """how often --network residual halves the resolution"""
    blocks: int = at_least(0, 1)
    """residual blocks at each level of --network residual, in the encoder and in the decoder"""
    hidden: Annotated[tuple[int, ...], HIDDEN_HELP] = at_least(1, (1024, 1024))


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(NetworkSizes):
    """Options of experiments that take any of the networks of `aejax.nn.build`, and no other."""

    network: NetworkOption = "residual"


@dataclass(frozen=True, kw_only=True)
class JudgedConfig(RunConfig):
    """Options of experiments whose models have a prior: how much to judge of them."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = RunConfig.MAY_DIFFER_ON_RESUME | {
        "nll_samples",
        "nll_images",
        "judge_samples",
        "parzen_samples",
    }

    nll_samples: int = at_least(0, 5000)
    """latents for the importance-sampled likelihood of test images, where the model has a density; 0 leaves it out"""
    nll_images: int = at_least(1, 1000)
    """the number of test images, from the first, to estimate it on"""
    judge_samples: bool = True
    """judge samples by a classifier that is trained for it: Frechet distance and balance of classes"""
    parzen_samples: int = at_least(0, 0)
    """decoded samples for the Parzen-window log-likelihood of the test images, a weak measure; 0 leaves it out"""


def seeds_name(config: RunConfig) -> str:
    """Returns the part of a run's folder that names its seeds: seed0, or seeds0-4."""
    return f"seed{config.seed}" if config.seeds == 1 else f"seeds{config.seed}-{config.seed + config.seeds - 1}"


def shown_seed(config: RunConfig) -> str:
    """Says which seed is shown where only one of several can be, as in a picture; empty for a run of one."""
    return "" if config.seeds == 1 else f"seed {config.seed} of {config.seed} to {config.seed + config.seeds - 1}"


def plain_name(dataset: str) -> str:
    """For a run's folder: the dataset's name, or that of its file."""
    return Path(dataset).name or Path(dataset).resolve().name


def options_as_json(config: RunConfig) -> dict[str, Any]:
    """The options that decide what is computed, as JSON values."""
    return {
        field.name: _as_json(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.name not in config.MAY_DIFFER_ON_RESUME
    }


def options_of_all(config: RunConfig) -> dict[str, Any]:
    """Returns the options that processes which train together must share, as JSON values: all but places."""
    places = ("runs", "data_dir", "raw_dir", "workers")
    fields = [field.name for field in dataclasses.fields(config) if field.name not in places]
    return {name: _as_json(getattr(config, name)) for name in fields}


def check_bounds(config: Any) -> None:
    """UserError for a field of the dataclass whose value is outside `at_least` or `above`, or is no finite number."""
    for field in dataclasses.fields(config):
        _check(field, getattr(config, field.name))


def _check(field: dataclasses.Field, value: Any) -> None:
    option = "--" + field.name.replace("_", "-")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"{option} must be a finite number, not {number}")
        if number is None:
            continue
        if "minimum" in field.metadata and not number >= field.metadata["minimum"]:
            raise UserError(f"{option} must be at least {field.metadata['minimum']}, not {number}")
        if "below" in field.metadata and not number < field.metadata["below"]:
            raise UserError(f"{option} must be below {field.metadata['below']}, not {number}")
        if "above" in field.metadata and not (number > field.metadata["above"] and math.isfinite(number)):
            raise UserError(f"{option} must be a finite number above {field.metadata['above']}, not {number}")


def _as_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
