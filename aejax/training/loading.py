"""Trained models from runs' folders."""

import os
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from aejax import rng
from aejax.errors import UserError
from aejax.models.description import rebuild
from aejax.models.trained import Trained
from aejax.training.records import read_params, read_run


def load(
    folder: str | os.PathLike,
    checkpoint: Literal["last", "best"] = "last",
    *,
    seed_index: int = 0,
    model: Any = None,
) -> Trained:
    """Loads a trained model from its run's folder, without the experiment that trained it.

    Args:
      folder: <runs>/<experiment>/<name>.
      checkpoint: "last"; or "best", with the lowest loss on the first split that training evaluates.
      seed_index: of a run of several seeds, which one, from 0.
      model: the model that the params belong to; None: as the folder describes it.

    Returns:
      The model with its params: `encode`, `decode`, `reconstruct`, `generate` and more.

    Raises:
      UserError: if the folder holds no run with such a checkpoint, or a damaged one; or if its model has a class of
        your own whose module is not imported yet.

    >>> trained = load("runs/autoencoder/mnist-seed0")
    >>> codes = trained.encode(images)
    """
    run = read_run(folder)
    if model is None:
        if run.model is None:
            raise UserError(f"{run.path} does not say what its model is: hand the model to load(..., model=...)")
        model = rebuild(run.model)
    if run.image_shape is None:
        raise UserError(f"{run.path} does not say what shape its images have")
    step, params = read_params(folder, checkpoint, seed_index)
    params = _own(model, params, run.image_shape, run.path)
    about = {
        "experiment": run.experiment,
        "run": run.path.resolve().name,
        "options": run.options,
        "checkpoint": checkpoint,
        "step": step,
        "seed": run.seed + seed_index,
    }
    return Trained(model, params, run.image_shape, run.seed + seed_index, about=about)


def _own(model: Any, params: Any, image_shape: tuple[int, ...], folder: Path) -> Any:
    """Returns the model's part of a checkpoint's params; UserError where they are those of another model."""

    def initial(key: Any) -> Any:
        return model.own(model.init(key, jnp.zeros((1, *image_shape))))

    def shapes(tree: Any) -> Any:
        return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

    try:
        own = model.own(params)
        sound = shapes(own) == shapes(jax.eval_shape(initial, rng.root_key(0)))
    except (AttributeError, TypeError, ValueError, KeyError):
        sound = False
    if not sound:
        raise UserError(f"{folder}: the params of its checkpoint are not those of its model, as config.json has it")
    return own
