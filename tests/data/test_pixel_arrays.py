"""What arrays of pixels mean, by their shape and values."""

import numpy as np
import pytest

from aejax.data.pixel_arrays import understand
from aejax.errors import UserError

LEVELS = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
BINARY = (LEVELS % 3 == 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("array", "expected", "words"),
    [
        (LEVELS, LEVELS, ""),
        (LEVELS.astype(np.int64), LEVELS, "int64 read as 0 ... 255"),
        (LEVELS.astype(np.uint16) * 257, LEVELS, "read as 0 ... 65535"),
        (BINARY, BINARY * 255, "uint8 of 0 and 1"),
        (BINARY.astype(np.float32), BINARY * 255, "float32 of 0 and 1"),
        (BINARY.astype(bool), BINARY * 255, ""),
        (np.zeros_like(BINARY).astype(bool), np.zeros_like(BINARY), ""),
        ((LEVELS / 255).astype(np.float16), LEVELS, r"read as \[0, 1\]"),
        ((LEVELS / 255).astype(np.float32), LEVELS, r"read as \[0, 1\]"),
        (LEVELS / 127.5 - 1, LEVELS, r"read as \[-1, 1\]"),
        (LEVELS.astype(np.float64), LEVELS, "up to 255, read as 0 ... 255"),
    ],
)
def test_values_are_told_from_what_the_array_holds(array: np.ndarray, expected: np.ndarray, words: str) -> None:
    pixels = understand({"mine": array})
    np.testing.assert_array_equal(pixels.convert(array)[..., 0], expected)
    assert pixels.convert(array).dtype == np.uint8
    assert bool(pixels.note) == bool(words)
    if words:
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(pixels.note)


def test_splits_are_looked_at_together() -> None:
    dark = np.ones((2, 8, 8), np.uint8)
    pixels = understand({"train": dark, "test": LEVELS})
    np.testing.assert_array_equal(pixels.convert(dark), dark[..., None])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 9, 7), (9, 7, 1)),
        ((5, 9, 7, 1), (9, 7, 1)),
        ((5, 9, 7, 2), (9, 7, 2)),
        ((5, 9, 7, 3), (9, 7, 3)),
        ((5, 8, 8, 13), (8, 8, 13)),
        ((5, 2, 2, 1), (2, 2, 1)),
        ((5, 3, 3, 3), (3, 3, 3)),
        ((5, 1, 9, 7), (9, 7, 1)),
        ((5, 3, 9, 7), (9, 7, 3)),
        ((5, 13, 8, 8), (8, 8, 13)),
        ((5, 3, 4, 4), (4, 4, 3)),
    ],
)
def test_channels_first_are_recognised(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    images = understand({"mine": array}).convert(array)
    assert images.shape[1:] == expected
    assert images.flags.c_contiguous
    if shape[1:] != expected and len(shape) == 4:
        np.testing.assert_array_equal(images, array.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((5, 3, 9, 4), np.uint8), r"\(n, height, width, channels\) or \(n, channels, height, width\)"),
        (np.zeros((5, 20, 9, 12), np.uint8), r"\(n, height, width, channels\) or \(n, channels, height, width\)"),
        (np.zeros((5, 4), np.uint8), "shape"),
        (np.zeros((1, 2, 3, 4, 5), np.uint8), "shape"),
        (LEVELS[:0], "empty"),
        (LEVELS[:, :0], "empty"),
        (LEVELS.astype(np.complex64), "dtype complex64"),
        (LEVELS.astype(np.int16) - 1, "from -1 to 254"),
        (LEVELS.astype(np.int32) * 2, "up to 510|from 0 to 510"),
        (LEVELS / 16, "scale them to"),
        (LEVELS / 255 * 1.5, "scale them to"),
        (LEVELS / 255 - 0.1, "scale them to"),
        (-np.ones((2, 4, 4)), "scale them to"),
        (np.where(LEVELS == 7, np.nan, LEVELS / 255), "nan"),
        (np.where(LEVELS == 7, np.inf, LEVELS / 255), "inf"),
    ],
)
def test_what_is_not_certain_is_refused_in_one_line(array: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        understand({"mine": array})
    assert "\n" not in str(error.value)


def test_splits_of_other_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="differ in shape"):
        understand({"train": LEVELS, "test": LEVELS[:, :4]})
