"""Antialiased resizing of images to a square."""

from typing import Literal

import numpy as np
from tqdm import tqdm

Fit = Literal["crop", "stretch"]
"""For images that are not square: cut out their centre, or change their aspect ratio."""


def resize(images: np.ndarray, size: int, fit: Fit = "crop") -> np.ndarray:
    """Resizes every image to a square with Pillow's antialiased bilinear filter.

    Args:
      images: uint8 (n, height, width, channels).
      size: the new height and width in pixels.
      fit: "crop" keeps the aspect ratio and cuts what is over at both ends alike; "stretch" keeps all of the image.

    Returns:
      uint8 (n, size, size, channels).
    """
    if images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for i in tqdm(range(len(images)), desc="resizing", unit=" images", delay=1, disable=None):
        resized[i] = resize_one(images[i], size, fit)
    return resized


def resize_one(image: np.ndarray, size: int, fit: Fit = "crop") -> np.ndarray:
    """Resizes one image: uint8 (height, width, channels) to (size, size, channels)."""
    from PIL import Image

    if fit == "crop":
        image = _centre_square(image)
    # By channel, since Pillow knows no images of 2 or 5 channels and weighs RGBA by its fourth.
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[2])]
    return np.stack([np.asarray(p.resize((size, size), Image.Resampling.BILINEAR)) for p in planes], axis=-1)


def _centre_square(image: np.ndarray) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
