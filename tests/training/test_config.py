"""Bounds of options, and which of them a run is known by."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aejax.errors import UserError
from aejax.training.config import RunConfig, above, at_least, options_as_json

NAN, INFINITY = float("nan"), float("inf")


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    MAY_DIFFER_ON_RESUME = RunConfig.MAY_DIFFER_ON_RESUME | {"pictures"}

    epochs: int = at_least(1, 30)
    learning_rate: float = above(0, 1e-3)
    kl_weight: float = at_least(0, 1.0)
    hidden_sizes: tuple[int, ...] = at_least(1, (512, 256))
    initial: Path | None = None
    pictures: str = "pictures"


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 0},
        {"seed": -1},
        {"devices": -1},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"learning_rate": -1e-3},
        {"learning_rate": NAN},
        {"learning_rate": INFINITY},
        {"kl_weight": -0.1},
        {"kl_weight": NAN},
        {"hidden_sizes": (4, 0)},
    ],
    ids=str,
)
def test_a_value_out_of_bounds_is_refused_by_the_name_of_its_option(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(UserError) as error:
        Config(**options)
    message = str(error.value)
    assert message.startswith(f"--{name.replace('_', '-')} must be ")
    assert message.endswith(f"not {value[1] if isinstance(value, tuple) else value}")
    assert "\n" not in message


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 1},
        {"image_size": None},
        {"seed": 0},
        {"devices": 0},
        {"epochs": 1},
        {"learning_rate": 1e-30},
        {"kl_weight": 0.0},
        {"hidden_sizes": ()},
        {"hidden_sizes": (1,)},
        {"name": "a.b-c d"},
    ],
    ids=str,
)
def test_a_value_on_its_bound_is_taken(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    assert getattr(Config(**options), name) == value


@pytest.mark.parametrize("name", ["a/b", "/a", "a\\b", ".", ".."])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^--name must be a plain folder name, not "):
        RunConfig(name=name)


def test_the_identity_leaves_out_places_and_is_json() -> None:
    values = options_as_json(Config(initial=Path("a/b")))
    assert values == {
        "dataset": "mnist",
        "image_size": None,
        "fit": "crop",
        "limit": None,
        "skip_unreadable": False,
        "augment": [],
        "seed": 0,
        "seeds": 1,
        "clip_norm": None,
        "weight_decay": 0.0,
        "schedule": "constant",
        "ema_decay": 0.0,
        "epochs": 30,
        "learning_rate": 1e-3,
        "kl_weight": 1.0,
        "hidden_sizes": [512, 256],
        "initial": "a/b",
    }
    assert json.loads(json.dumps(values)) == values


def test_places_do_not_change_the_identity_and_all_else_does() -> None:
    elsewhere = Config(
        on_nonfinite="skip", devices=2, data_dir=Path("a"), raw_dir=Path("b"), runs=Path("c"), name="d", pictures="e"
    )
    assert options_as_json(elsewhere) == options_as_json(Config())
    for options in (
        {"seed": 1},
        {"dataset": "digits"},
        {"image_size": 8},
        {"epochs": 3},
        {"hidden_sizes": (512,)},
        {"clip_norm": 1.0},
    ):
        assert options_as_json(Config(**options)) != options_as_json(Config())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": Path("gs://bucket/runs")}, "^--runs gs:/bucket/runs: choose a local folder"),
        ({"data_dir": Path("s3://bucket")}, "^--data-dir s3:/bucket: "),
        ({"raw_dir": Path("hdfs://host/a")}, "^--raw-dir hdfs:/host/a: "),
    ],
)
def test_a_remote_folder_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RunConfig(**options)
    assert RunConfig(runs=Path("C:/runs"), data_dir=Path("a:b/c")).name == ""
