"""Trained models from runs' folders."""

import os
from typing import Any, Literal

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
    about = {
        "experiment": run.experiment,
        "run": run.path.resolve().name,
        "options": run.options,
        "checkpoint": checkpoint,
        "step": step,
        "seed": run.seed + seed_index,
    }
    return Trained(model, model.own(params), run.image_shape, run.seed + seed_index, about=about)
