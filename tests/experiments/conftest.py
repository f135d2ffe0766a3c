"""Experiments from their command line, and small datasets as a user would bring them."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from aejax import cli
from aejax.methods.method import Method

MakeDataset = Callable[..., str]


def arguments_of(module: Any) -> tuple[Any, ...]:
    """Returns what an experiment's file gives to `cli.parse`: its options and, where it has them, its recipes."""
    if not hasattr(module, "RECIPES"):
        return (module.Config,)
    return module.Config, ("recipe" if hasattr(module.Config, "recipe") else "network", module.RECIPES)


def parsed(module: Any, *arguments: object) -> Any:
    """Returns the configuration that a command line gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
        return cli.parse(*arguments_of(module))


def run(module: Any, *arguments: object) -> None:
    """Runs an experiment, or another command, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
        cli.run(module.main, *arguments_of(module))


def summary(folder: Path) -> Any:
    """Returns what a run's folder has as its summary.json."""
    return json.loads((folder / "summary.json").read_text())


def figures(folder: Path) -> set[str]:
    """Returns the names of a run's pictures."""
    return {path.stem for path in (folder / "figures").iterdir()}


def after_a_step(method: Method, batch: Any) -> tuple[Any, Mapping[str, Any], Mapping[str, Any]]:
    """Takes one step: the parameters, the metrics of the step, and those of an evaluation after it."""

    def everything(key: jax.Array) -> Any:
        state = method.init(key, batch)
        state, metrics = method.step(state, batch, key)
        return state.params, metrics, method.evaluate(state, batch, key)

    found: Any = jax.jit(everything)(jax.random.key(0))
    return found


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """(name, size, channels) -> the path of an .npz file with 40 training images and 20 to test."""

    def make(name: str, size: int = 12, channels: int = 1) -> str:
        random = np.random.default_rng(len(name))
        small = random.integers(0, 256, (60, size // 2, size // 2, channels), np.uint8)
        images, labels = small.repeat(2, 1).repeat(2, 2), np.arange(60) % 4
        path = tmp_path / f"{name}.npz"
        np.savez(path, x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
        return str(path)

    return make
