"""Arrays of pixels as people have them, as uint8 images (n, height, width, channels).

What an array means is told from its shape and the values it holds, over all splits together. Where that is not certain,
the array is refused.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from aejax.errors import UserError

_MOST_CHANNELS = 4  # of an axis that is taken for the channels by its size alone
_BLOCK = 1000
_LEAST_BRIGHT = 64  # floats whose largest is less are as likely on another scale, 0 ... 16 for one


class Pixels(NamedTuple):
    """Conversion of an array: clip(rint((value - low) * scale), 0, 255), and the order of its axes.

    Attributes:
      low, scale: of the formula.
      channels_first: whether the axes are (n, channels, height, width).
      note: what was found out about the values, for the user; empty where they are as documented.
    """

    low: float
    scale: float
    channels_first: bool
    note: str

    def convert(self, images: np.ndarray) -> np.ndarray:
        """Converts images (n, height, width), (n, height, width, channels) or (n, channels, height, width)."""
        if images.ndim == 3:
            images = images[..., np.newaxis]
        elif self.channels_first:
            images = np.moveaxis(images, 1, -1)
        if images.dtype == np.uint8 and self.scale == 1:
            return np.ascontiguousarray(images)
        converted = np.empty(images.shape, np.uint8)
        for start in range(0, len(images), _BLOCK):
            block = images[start : start + _BLOCK].astype(np.float32)
            converted[start : start + _BLOCK] = np.rint(np.clip((block - self.low) * self.scale, 0, 255))
        return converted


def understand(arrays: Mapping[str, np.ndarray]) -> Pixels:
    """Finds out what arrays of images hold.

    Args:
      arrays: by what to call them in messages, the images of each split: booleans, integers or floats of shape
        (n, height, width), (n, height, width, channels) or (n, channels, height, width).

    Returns:
      How to convert them. Booleans, and integers or floats that are all 0 or 1, become 0 and 255; floats in [0, 1]
      and [-1, 1] are scaled to 0 ... 255; integers in 0 ... 255 and floats in 0 ... 255 stay; uint16 beyond 255 is
      scaled from 0 ... 65535.

    Raises:
      UserError: for other shapes, types and values, NaN among them, and splits whose images differ in shape.
    """
    orders = {_channels_first(name, array) for name, array in arrays.items()}
    shapes = {array.shape[1:]: name for name, array in arrays.items()}
    if len(shapes) > 1 or len(orders) > 1:
        found = ", ".join(f"{shape} in {name}" for shape, name in shapes.items())
        raise UserError(f"the images of the splits differ in shape: {found}")
    what = next(iter(arrays))
    kinds = {array.dtype for array in arrays.values()}
    for name, array in arrays.items():
        if array.dtype.kind not in "buif":
            raise UserError(f"{name} has dtype {array.dtype}, not uint8 or floats in [0, 1]")
    low, high = _extremes(arrays, stop_above=1 if kinds == {np.dtype(np.uint8)} else None)
    floating = any(kind.kind == "f" for kind in kinds)
    binary = kinds == {np.dtype(bool)} or (low >= 0 and high == 1 and _only_0_and_1(arrays))
    scaled = _scale(what, kinds, floating, low, high, binary)
    return Pixels(*scaled[:2], channels_first=orders.pop(), note=scaled[2])


def _scale(
    what: str, kinds: set[np.dtype], floating: bool, low: float, high: float, binary: bool
) -> tuple[float, float, str]:
    types = " and ".join(sorted(str(kind) for kind in kinds))
    if binary:
        note = "" if kinds == {np.dtype(bool)} else f"{what}: {types} of 0 and 1, read as black and white"
        return 0.0, 255.0, note
    if not floating:
        if low >= 0 and high <= 255:
            return 0.0, 1.0, "" if kinds == {np.dtype(np.uint8)} else f"{what}: {types} read as 0 ... 255"
        if kinds == {np.dtype(np.uint16)}:
            return 0.0, 255 / 65535, f"{what}: uint16 up to {high:g}, read as 0 ... 65535"
        raise UserError(f"{what} has dtype {types} with values from {low:g} to {high:g}, not uint8 or 0 ... 255")
    if low >= 0 and high <= 1:
        return 0.0, 255.0, f"{what}: {types} read as [0, 1]"
    if -1 <= low <= -0.5 and 0 < high <= 1:
        return -1.0, 127.5, f"{what}: {types} from {low:g} to {high:g}, read as [-1, 1]"
    if low >= 0 and _LEAST_BRIGHT <= high <= 255:
        return 0.0, 1.0, f"{what}: {types} up to {high:g}, read as 0 ... 255"
    raise UserError(
        f"{what} holds floats from {low:g} to {high:g} (NaN: not a number), which are not clearly [0, 1], [-1, 1] or "
        "0 ... 255; scale them to [0, 1] or save uint8"
    )


def _channels_first(what: str, array: np.ndarray) -> bool:
    if array.ndim not in (3, 4):
        raise UserError(f"{what} has shape {array.shape}, not (n, height, width) or (n, height, width, channels)")
    if array.size == 0:
        raise UserError(f"{what} is empty: its shape is {array.shape}")
    if array.ndim == 3:
        return False
    _, first, middle, last = array.shape
    if last == 1 or first == 1:
        return last != 1
    could_be_last, could_be_first = last <= _MOST_CHANNELS, first <= _MOST_CHANNELS
    if could_be_last != could_be_first:
        return could_be_first
    if (first == middle) != (middle == last):
        return middle == last
    if first == middle == last:
        return False
    raise UserError(
        f"{what} has shape {array.shape}, whose axes may be (n, height, width, channels) or (n, channels, height, "
        "width): save them as the first, with height equal to width or at most 4 channels"
    )


def _extremes(arrays: Mapping[str, np.ndarray], stop_above: float | None) -> tuple[float, float]:
    """Returns the least and the largest value, or NaN; what follows a value above `stop_above` is not looked at."""
    low, high = np.inf, -np.inf
    for array in arrays.values():
        for start in range(0, len(array), _BLOCK):
            block = array[start : start + _BLOCK]
            low, high = np.minimum(low, float(block.min())), np.maximum(high, float(block.max()))
            if stop_above is not None and high > stop_above:
                return low, high
    return float(low), float(high)


def _only_0_and_1(arrays: Mapping[str, np.ndarray]) -> bool:
    for array in arrays.values():
        for start in range(0, len(array), _BLOCK):
            block = array[start : start + _BLOCK]
            if block.dtype.kind == "f" and ((block != 0) & (block != 1)).any():
                return False
    return True
