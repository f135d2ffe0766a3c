"""Image files decoded to 8 bits, grey or RGB. What each kind becomes:

- PNG, JPEG, WebP, BMP, TIFF and GIF are read; of several frames or pages, the first.
- 1 bit: 0 and 255. Grey: as it is. 16-bit grey: 0 ... 65535 scaled to 0 ... 255. Floating point: [0, 1] scaled so.
- Palettes: their colours; grey where all of them are grey. CMYK, YCbCr, LAB: converted to RGB by Pillow.
- Transparency: composed over white, as a browser shows it. Colours that are hidden under it would else come to light.
- Rotation and mirroring in EXIF: applied.
- Grey images become RGB where others of the dataset are in colour.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


class UnreadableError(Exception):
    """A file that is no image of a known kind, or is damaged; the message says why."""


def is_grey(path: Path) -> bool:
    """Tells from a file's header whether its image has no colours.

    Raises:
      UnreadableError: for a file that cannot be opened.
    """
    try:
        with _open(path) as image:
            return _is_grey(image)
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise _unreadable(error) from error


def decode(path: Path, grey: bool) -> np.ndarray:
    """Decodes a file.

    Args:
      path: the file.
      grey: whether to return one channel instead of three.

    Returns:
      uint8 (height, width, 1 or 3).

    Raises:
      UnreadableError: for a file that cannot be decoded whole.
    """
    from PIL import ImageOps

    try:
        with _open(path) as image:
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(_opaque(_eight_bits(upright)).convert("L" if grey else "RGB"))
    except Exception as error:  # as above
        raise _unreadable(error) from error
    return pixels[..., np.newaxis] if grey else pixels


def _open(path: Path) -> "Image":
    from PIL import Image

    return Image.open(path, formats=_FORMATS)


def _is_grey(image: "Image") -> bool:
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB") or [0, 0, 1]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in _GREY_MODES


def _eight_bits(image: "Image") -> "Image":
    """Scales grey images of more bits, which Pillow would clip."""
    from PIL import Image

    if image.mode == "F":
        pixels = np.asarray(image)
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN fails too
            raise ValueError("floating-point pixels outside [0, 1]")
        return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("pixels of more than 16 bits")
        return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
    return image


def _opaque(image: "Image") -> "Image":
    from PIL import Image

    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _unreadable(error: Exception) -> UnreadableError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    # Pillow repeats the path, and names no reason but that no decoder knows the file.
    reason = "no image of a known kind" if "cannot identify" in reason else reason
    return UnreadableError(" ".join(reason.split())[:200])
