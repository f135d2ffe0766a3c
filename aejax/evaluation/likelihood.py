"""Latents that carry something, and likelihoods in other units."""

import math

import numpy as np


def active_units(means: np.ndarray, threshold: float = 0.01) -> int:
    """Counts the latents whose posterior mean varies over images by more than `threshold`: means (n, latents).

    Burda et al. (2015, arXiv:1509.00519), section 5.1, equation 12.
    """
    return int((np.var(means, axis=0, dtype=np.float64) > threshold).sum())


def bits_per_dimension(nats: np.ndarray | float, values: int) -> np.ndarray | float:
    """Converts nats per image to bits per value, for images of `values` = height * width * channels values each."""
    return nats / (values * math.log(2))
