"""Assembly of decoded images into one array of one size, black and white where they hold only 0 and 1."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from aejax.data.cache import Allocate
from aejax.data.resizing import Fit, resize_one
from aejax.errors import UserError


class Size(NamedTuple):
    """The size that images get: `image_size` pixels square, or their own if None, as `resize` makes it of them."""

    image_size: int | None = None
    fit: Fit = "crop"

    def of(self, image: np.ndarray) -> np.ndarray:
        """Resizes one image, uint8 (height, width, channels)."""
        return image if self.image_size is None else resize_one(image, self.image_size, self.fit)

    def key(self) -> list[object]:
        """Returns what a cached array depends on, as JSON values."""
        return [self.image_size, self.fit]


class ReadOptions(NamedTuple):
    """Options of reading images.

    Attributes:
      size: what every image is resized to.
      skip_unreadable: whether files that are no images are left out; else they are an error.
      limit: the largest number of images in a split, or None.
      workers: threads that decode files, or None for one on each core.
      most_bytes: the largest images that may be held in memory where the cache folder cannot take them; None: any.
    """

    size: Size = Size()
    skip_unreadable: bool = False
    limit: int | None = None
    workers: int | None = None
    most_bytes: int | None = None


class Decoded(NamedTuple):
    """One image.

    Attributes:
      name: for messages.
      pixels: uint8 (height, width, channels), resized.
      highest: the largest value before resizing.
    """

    name: str
    pixels: np.ndarray
    highest: int


def decoded(name: str, image: np.ndarray, size: Size, binary: bool) -> Decoded:
    """Scales an image of 0 and 1 to 0 and 255 if `binary`, and resizes it."""
    highest = int(image.max()) if binary else 255
    return Decoded(name, size.of(image * np.uint8(255) if binary and highest <= 1 else image), highest)


def assemble(
    count: int, decode: Callable[[bool], Iterator[Decoded]], allocate: Allocate, what: str
) -> tuple[np.ndarray, bool]:
    """Writes images into one array.

    Args:
      count: the largest number of images n.
      decode: binary -> the images in order; called first with True, and again with False if one holds more than 0 and
        1, since scaling must come before resizing.
      allocate: makes the array.
      what: names the dataset in messages.

    Returns:
      uint8 (n, height, width, channels), and whether the images held only 0 and 1, and some 1.

    Raises:
      UserError: for images that differ in shape.
    """
    for binary in (True, False):
        images: np.ndarray | None = None
        filled, highest = 0, 0
        with closing(decode(binary)) as source:  # type: ignore[type-var]
            for image in source:
                if binary and image.highest > 1:
                    break
                if images is None:
                    images, first = allocate((count, *image.pixels.shape)), image.name
                if image.pixels.shape != images.shape[1:]:
                    raise _differing(what, first, images.shape[1:], image)
                images[filled] = image.pixels
                filled, highest = filled + 1, max(highest, image.highest)
            else:
                if images is None:
                    raise UserError(f"{what} holds no images that can be read")
                return images if filled == count else np.array(images[:filled]), binary and highest == 1
    raise AssertionError("the second pass leaves no image out")


def _differing(what: str, first: str, shape: tuple[int, ...], image: Decoded) -> UserError:
    if shape[2] != image.pixels.shape[2]:
        return UserError(f"{what}: {first} has {shape[2]} channels and {image.name} {image.pixels.shape[2]}")
    (height, width), (other_height, other_width) = shape[:2], image.pixels.shape[:2]
    return UserError(
        f"{what}: the images differ in size, as do {first} ({height} x {width}) and {image.name} ({other_height} x "
        f"{other_width}); set --image-size"
    )
