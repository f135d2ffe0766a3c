"""A user's own images in an .npz file, checked before anything else sees them."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from aejax.data.cache import Arrays
from aejax.errors import UserError

# Images and labels of train, then of test. Keras and numpy users name them in these ways.
_SCHEMES = (
    (("images", "labels"), None),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
    (("x_train", "y_train"), ("x_test", "y_test")),
)


def load_npz(path: Path) -> dict[str, Arrays]:
    """Loads and checks a file of arrays.

    Args:
      path: an .npz file with `images` and perhaps `labels`, or `train_images`, `test_images` and perhaps
        `train_labels`, `test_labels`, or Keras's `x_train`, `y_train`, `x_test`, `y_test`. Images are uint8, or floats
        in [0, 1], of shape (n, height, width) or (n, height, width, channels); labels are integers (n,) or (n, 1).

    Returns:
      By split, "train" and "test": images uint8 (n, height, width, channels) and labels int32 (n,) or None. Floats are
      rounded to multiples of 1/255. Without a test part, the last tenth in file order (n // 10 images) is "test".

    Raises:
      UserError: for a file that cannot be read or is not as above.
    """
    members = _read(path)
    scheme = next((scheme for scheme in _SCHEMES if scheme[0][0] in members), None)
    if scheme is None:
        raise UserError(f"{path} holds no array named 'images', 'train_images' or 'x_train'")
    train, test = scheme
    images, labels = _pair(path, members, *train)
    if test is not None and test[0] in members:
        parts = {"train": (images, labels), "test": _pair(path, members, *test)}
        shapes = [part[0].shape[1:] for part in parts.values()]
        if shapes[0] != shapes[1]:
            raise UserError(f"{path}: the images of train and test differ in shape: {shapes[0]} and {shapes[1]}")
        return parts
    cut = len(images) - len(images) // 10
    return {
        "train": (images[:cut], None if labels is None else labels[:cut]),
        "test": (images[cut:], None if labels is None else labels[cut:]),
    }


def _read(path: Path) -> dict[str, np.ndarray]:
    known = [name for scheme in _SCHEMES for pair in scheme if pair for name in pair]
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is not an .npz file but a single array")
        with loaded as file:
            members = {name: file[name] for name in file.files if name in known}
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as an .npz file of arrays ({reason[:200]})") from error
    for name, array in members.items():
        if not isinstance(array, np.ndarray):
            raise UserError(f"{path}: {name!r} is not an array")
    return members


def _pair(path: Path, members: dict[str, np.ndarray], images_name: str, labels_name: str) -> Arrays:
    images = _images(f"{path}: {images_name!r}", members[images_name])
    if labels_name not in members:
        return images, None
    return images, _labels(f"{path}: {labels_name!r}", members[labels_name], len(images))


def _images(what: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4:
        raise UserError(f"{what} has shape {images.shape}, not (n, height, width) or (n, height, width, channels)")
    if images.size == 0:
        raise UserError(f"{what} is empty: its shape is {images.shape}")
    if np.issubdtype(images.dtype, np.floating):
        # Written so that NaN fails too.
        if not (images.min() >= 0 and images.max() <= 1):
            raise UserError(f"{what} holds floats outside [0, 1] or NaN; scale them to [0, 1] or save uint8")
        images = np.rint(images * 255).astype(np.uint8)
    if images.dtype != np.uint8:
        raise UserError(f"{what} has dtype {images.dtype}, not uint8 or floats in [0, 1]")
    return np.ascontiguousarray(images)


def _labels(what: str, labels: np.ndarray, count: int) -> np.ndarray:
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{what} has dtype {labels.dtype}, not an integer type")
    if labels.shape not in ((count,), (count, 1)):
        raise UserError(f"{what} has shape {labels.shape}, not ({count},): one label for each image")
    if labels.min() < -(2**31) or labels.max() >= 2**31:
        raise UserError(f"{what} does not fit 32 bits")
    return labels.reshape(count).astype(np.int32)
