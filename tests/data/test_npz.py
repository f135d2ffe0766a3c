import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from aejax.data.npz import load_npz
from aejax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (25, 6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (25, 6, 5, 3), np.uint8)
LABELS = np.arange(25)


def write(tmp_path: Path, **arrays: object) -> Path:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_last_tenth_is_test(tmp_path: Path) -> None:
    parts = load_npz(write(tmp_path, images=GREY, labels=LABELS))
    np.testing.assert_array_equal(parts["train"][0], GREY[:23, ..., None])
    np.testing.assert_array_equal(parts["test"][0], GREY[23:, ..., None])
    np.testing.assert_array_equal(parts["test"][1], [23, 24])


@pytest.mark.parametrize(
    "names",
    [("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test")],
)
def test_named_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (COLOUR, LABELS[:, None], COLOUR[:7], LABELS[:7, None]), strict=True))
    parts = load_npz(write(tmp_path, **arrays))
    np.testing.assert_array_equal(parts["train"][0], COLOUR)
    np.testing.assert_array_equal(parts["test"][0], COLOUR[:7])
    np.testing.assert_array_equal(parts["train"][1], LABELS)
    assert {labels.dtype for _, labels in parts.values() if labels is not None} == {np.dtype(np.int32)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_255ths(tmp_path: Path, dtype: type) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    images = load_npz(write(tmp_path, images=(levels / 255).astype(dtype)))["train"][0]
    np.testing.assert_array_equal(images[..., 0], levels)


def test_labels_are_optional(tmp_path: Path) -> None:
    assert load_npz(write(tmp_path, images=GREY))["train"][1] is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no array named"),
        ({"pictures": GREY}, "no array named"),
        ({"test_images": GREY}, "no array named"),
        ({"images": GREY.astype(np.int64)}, "dtype int64"),
        ({"images": GREY > 3}, "dtype bool"),
        ({"images": np.full((3, 4, 4), "a")}, "dtype"),
        ({"images": GREY.astype(np.float32)}, "outside"),
        ({"images": -np.ones((2, 4, 4), np.float32)}, "outside"),
        ({"images": np.full((2, 4, 4), np.nan)}, "NaN"),
        ({"images": np.full((2, 4, 4), np.inf)}, "outside"),
        ({"images": GREY[0]}, "shape"),
        ({"images": COLOUR[None]}, "shape"),
        ({"images": GREY[:0]}, "empty"),
        ({"images": GREY[:, :0]}, "empty"),
        ({"images": GREY, "labels": LABELS[:-1]}, "labels"),
        ({"images": GREY, "labels": LABELS / 2}, "dtype float64"),
        ({"images": GREY, "labels": np.eye(25, dtype=int)}, "shape"),
        ({"images": GREY, "labels": LABELS + 2**40}, "32 bits"),
        ({"x_train": GREY, "x_test": COLOUR}, "differ in shape"),
        ({"images": np.array([{}, GREY], dtype=object)}, "pickle"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    path = write(tmp_path, **arrays)
    with pytest.raises(UserError, match=words) as error:
        load_npz(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path, images=GREY).read_bytes()
    path = tmp_path / "bad.npz"
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 255
    for content in (b"", b"text", good[:-100], good[: len(good) // 2], bytes(flipped), pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.npz"):
            load_npz(path)
    with path.open("wb") as file:
        np.save(file, GREY)
    with pytest.raises(UserError, match=r"not an \.npz"):
        load_npz(path)
    with pytest.raises(UserError, match="No such file"):
        load_npz(tmp_path / "absent.npz")
    with pytest.raises(UserError, match="directory"):
        load_npz(tmp_path)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickle_inside_is_not_run(tmp_path: Path) -> None:
    payload = tmp_path / "payload-ran"
    path = write(tmp_path, images=np.array([Payload(payload)], dtype=object))
    with pytest.raises(UserError):
        load_npz(path)
    assert not payload.exists()
    with np.load(path, allow_pickle=True) as file:
        file["images"]
    assert payload.exists(), "the payload would have run if it had been admitted"
