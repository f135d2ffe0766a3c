"""Rows of pictures for figures: reconstructions next to those of PCA, and lines between two images' latents."""

from collections.abc import Mapping

import numpy as np

from aejax.batching import as_float
from aejax.evaluation.pca import PCA
from aejax.models.trained import Trained

_STEPS = 12  # pictures of an interpolation, both ends included
_LINES = 5


def reconstructions(
    models: Mapping[str, Trained], images: np.ndarray, linear: PCA | None = None
) -> dict[str, np.ndarray]:
    """Reconstructs images by every model and by PCA, as rows for `plots.image_grid`.

    Args:
      models: by the label of their row.
      images: uint8 (n, height, width, channels).
      linear: `judge.linear_baseline` of one of the models; None leaves its row out.

    Returns:
      "input", the models' rows, and "PCA, k" with the number of components: float32 (n, height, width, channels) each.
    """
    rows = {"input": as_float(images)} | {name: one.reconstruct(images) for name, one in models.items()}
    return rows if linear is None else rows | {f"PCA, {len(linear.components)}": linear.reconstruct(images)}


def interpolations(trained: Trained, images: np.ndarray) -> dict[str, np.ndarray]:
    """Decodes straight lines between the latents of successive images, as rows for `plots.image_grid`.

    Args:
      trained: a model with latents.
      images: uint8 (n, height, width, channels); the first goes to the second, the third to the fourth and so on, up
        to five lines.

    Returns:
      For each line its first image as it is, the pictures decoded along the line with both ends, and its last image:
      float32 (14, height, width, channels). Empty for fewer than two images.
    """
    count = min(len(images) // 2, _LINES)
    starts, ends = images[: 2 * count : 2], images[1 : 2 * count : 2]
    if not count:
        return {}
    first, last = (trained.encode(ends_of_lines) for ends_of_lines in (starts, ends))
    rows = {}
    for i in range(count):
        t = np.linspace(0, 1, _STEPS, dtype=np.float32).reshape(-1, *[1] * (first.ndim - 1))
        between = trained.decode((1 - t) * first[i] + t * last[i])
        rows[f"{2 * i + 1} to {2 * i + 2}"] = np.concatenate(
            [as_float(starts[i : i + 1]), between, as_float(ends[i : i + 1])]
        )
    return rows
