"""Antialiased resizing of whole arrays of images."""

import numpy as np
from tqdm import tqdm


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes every image to a square with Pillow's antialiased bilinear filter.

    Args:
      images: uint8 (n, height, width, channels).
      size: the new height and width in pixels; the aspect ratio is not kept.

    Returns:
      uint8 (n, size, size, channels).
    """
    if images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for i in tqdm(range(len(images)), desc="resizing", unit=" images", delay=1, disable=None):
        resized[i] = resize_one(images[i], size)
    return resized


def resize_one(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes one image: uint8 (height, width, channels) to (size, size, channels)."""
    from PIL import Image

    # By channel, since Pillow knows no images of 2 or 5 channels and weighs RGBA by its fourth.
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[2])]
    return np.stack([np.asarray(p.resize((size, size), Image.Resampling.BILINEAR)) for p in planes], axis=-1)
