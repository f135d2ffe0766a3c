import lzma
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aejax.data.assembly import Size
from aejax.data.cache import Arrays
from aejax.data.npz import open_arrays
from aejax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (25, 6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (25, 6, 5, 3), np.uint8)
LABELS = np.arange(25)


def write(tmp_path: Path, **arrays: object) -> Path:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def read(path: Path) -> dict[str, Arrays]:
    source = open_arrays(path, Size())
    return {split: source.read(split) for split in source.shard_lengths}


def rows(images: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


def test_a_tenth_is_drawn_for_test_where_there_is_none(tmp_path: Path) -> None:
    source = open_arrays(write(tmp_path, images=GREY, labels=LABELS // 13), Size())
    train, test = source.read("train"), source.read("test")
    assert (len(train.images), len(test.images)) == (23, 2)
    assert rows([*train.images, *test.images]) == rows(GREY)  # type: ignore[arg-type]
    assert test.labels is not None
    assert sorted(test.labels) == [0, 1]
    for part in (train, test):  # labels go with their images
        for image, label in zip(part.images, part.labels, strict=True):  # type: ignore[arg-type]
            assert (GREY[label * 13 : label * 13 + 13] == image[..., 0]).all((1, 2)).sum() == 1
    assert "25 images, no test part: 2 of them, drawn by" in source.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("x", "y", "x_test", "y_test"),
    ],
)
def test_named_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (COLOUR, LABELS[:, None], COLOUR[:7], LABELS[:7, None]), strict=True))
    parts = read(write(tmp_path, **arrays))
    for part, count in (("train", 25), ("test", 7)):
        images, labels, _ = parts[part]
        assert labels is not None
        assert labels.dtype == np.int32
        assert sorted(labels) == list(range(count))
        np.testing.assert_array_equal(images, COLOUR[labels])


def test_a_validation_part_is_a_split(tmp_path: Path) -> None:
    parts = read(write(tmp_path, x_train=GREY, x_val=GREY[:5], x_test=GREY[5:8]))
    assert {name: len(part.images) for name, part in parts.items()} == {"train": 25, "validation": 5, "test": 3}


@pytest.mark.parametrize(
    "arrays", [{"imgs": GREY}, {"data": GREY}, {"pictures": GREY, "latents": np.zeros((25, 3)), "kind": np.array("a")}]
)
def test_images_under_other_names(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    # As in dSprites, whose metadata is a pickle.
    path = write(tmp_path, **arrays, metadata=np.array({"author": "me"}, object))
    assert rows(np.concatenate([part.images for part in read(path).values()])) == rows(GREY)


def test_npy(tmp_path: Path) -> None:
    images = RNG.random((2500, 5, 6, 3)).astype(np.float32)
    np.save(tmp_path / "mine.npy", images)
    path = tmp_path / "mine.npy"
    expected = rows(np.rint(images * 255).astype(np.uint8))
    for _ in range(2):
        source = open_arrays(path, Size())
        parts = [source.read(split).images for split in ("train", "test")]
        assert [len(part) for part in parts] == [2250, 250]
        assert rows(np.concatenate(parts)) == expected
        assert any("read as [0, 1]" in note for note in source.notes)
    np.save(path, images[:50])
    assert open_arrays(path, Size(8)).read("train").images.shape == (45, 8, 8, 3)


def test_labels_are_optional(tmp_path: Path) -> None:
    assert read(write(tmp_path, images=GREY))["train"].labels is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no array named"),
        ({"flat": GREY.reshape(25, 30)}, "no array named"),
        ({"pictures": GREY, "photos": GREY}, "several look like images"),
        ({"test_images": GREY}, "no array named"),
        ({"images": np.full((3, 4, 4), "a")}, "dtype"),
        ({"images": GREY[0]}, "shape"),
        ({"images": GREY, "labels": LABELS[:-1]}, "labels"),
        ({"images": GREY, "labels": LABELS / 2}, "not whole numbers"),
        ({"images": GREY, "labels": np.eye(25, dtype=int)}, "shape"),
        ({"x_train": GREY, "x_test": COLOUR}, "differ in shape"),
        ({"images": np.array([{}, GREY], dtype=object)}, "pickle"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    path = write(tmp_path, **arrays)
    with pytest.raises(UserError, match=words) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def with_header(text: str) -> bytes:
    header = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (25, 6, 5)",  # tokenize.TokenError
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70}, 6, 5), }}",  # OverflowError
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 6, 5), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': ('a', 6, 5), }",  # TypeError
        "{'descr': '|q1', 'fortran_order': False, 'shape': (25, 6, 5), }",
        "(" * 5000,
    ],
)
def test_damaged_headers_are_one_line(tmp_path: Path, header: str) -> None:
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", with_header(header))
    with pytest.raises(UserError, match=r"bad\.npz") as error:
        read(path)
    assert "\n" not in str(error.value)
    (tmp_path / "bad.npy").write_bytes(with_header(header))
    with pytest.raises(UserError, match=r"bad\.npy"):
        read(tmp_path / "bad.npy")


def test_bad_files_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path, images=GREY).read_bytes()
    path = tmp_path / "bad.npz"
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 255
    for content in (b"", b"text", good[:-100], good[: len(good) // 2], bytes(flipped), pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.npz"):
            read(path)
    with path.open("wb") as file:
        np.save(file, GREY)
    with pytest.raises(UserError, match=r"not an \.npz"):
        read(path)
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "absent.npz")
    with pytest.raises(UserError, match="directory"):
        read(tmp_path)


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("images.npy", (tmp_path / "mine").name * 1000)
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(lzma.LZMAError), zipfile.ZipFile(path) as archive:
        archive.read("images.npy")
    with pytest.raises(UserError, match=r"bad\.npz"):
        read(path)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickle_inside_is_not_run(tmp_path: Path) -> None:
    payload = tmp_path / "payload-ran"
    path = write(tmp_path, images=np.array([Payload(payload)], dtype=object))
    with pytest.raises(UserError):
        read(path)
    assert not payload.exists()
    with np.load(path, allow_pickle=True) as file:
        file["images"]
    assert payload.exists(), "the payload would have run if it had been admitted"
