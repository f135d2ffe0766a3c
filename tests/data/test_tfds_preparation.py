import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.data import mirrors, tfds_preparation, tfds_records
from aejax.errors import UserError
from tests.data.conftest import hashes

# A fresh process that prepares the small MNIST; `before` may change the modules first.
SCRIPT = """
import sys
from pathlib import Path
from typing import Any
from aejax.data import mirrors, tfds_preparation
from tests.data.conftest import hashes, small_mnist
mirrors.SHA256["mnist"] = hashes(small_mnist()[1])
{before}
tfds_preparation.prepare("mnist", Path(sys.argv[1]), Path(sys.argv[2]))
"""


def start(data_dir: Path, raw_dir: Path, before: str = "", prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    script = SCRIPT.format(before=textwrap.dedent(before))
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", script, str(data_dir), str(raw_dir)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def read_with_plain_tfds(data_dir: Path, name: str, split: str) -> list[dict[str, Any]]:
    import tensorflow_datasets as tfds

    return list(tfds.data_source(name, split=split, data_dir=data_dir))


def assert_holds(data_dir: Path, mnist: dict[str, np.ndarray]) -> None:
    """Plain tfds finds every image with its label, in its own shuffled order, and nothing lies beside them."""
    for split, part in (("train", "train"), ("test", "t10k")):
        found = read_with_plain_tfds(data_dir, "mnist", split)
        expected = zip(mnist[f"{part}-images-idx3-ubyte"], mnist[f"{part}-labels-idx1-ubyte"], strict=True)
        assert sorted((r["image"].tobytes(), int(r["label"])) for r in found) == sorted(
            (image.tobytes(), int(label)) for image, label in expected
        )
        assert found[0]["image"].shape == (28, 28, 1)
    assert sorted(p.name for p in data_dir.iterdir()) == [".mnist.lock", "mnist"]


def test_plain_tfds_reads_what_was_prepared(
    tmp_path: Path, mnist: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow_datasets as tfds

    data_dir = tmp_path / "a" / "tfds"
    (tmp_path / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        prepared = tfds_preparation.prepare("mnist", data_dir)
    assert list((tmp_path / "temporary").iterdir()) == []
    upstream = tfds.builder_cls("mnist")
    assert prepared.folder == data_dir / "mnist" / str(upstream.VERSION)
    assert prepared.shard_lengths == {"train": [30], "test": [12]}
    assert_holds(data_dir, mnist)
    builder = tfds.builder("mnist", data_dir=data_dir)
    assert isinstance(builder, upstream)
    assert builder.info.features["label"].num_classes == 10
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1, "only the line that says where the data came from"


def test_prepared_dataset_needs_no_source(tmp_path: Path, mnist: dict[str, np.ndarray]) -> None:
    first = tfds_preparation.prepare("mnist", tmp_path)
    mnist.clear()
    files = first.fingerprint()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirrors, "fetch", lambda *_: pytest.fail("fetched again"))
        assert tfds_preparation.prepare("mnist", tmp_path) == first
    assert first.fingerprint() == files


def test_fashion_mnist_keeps_its_label_names(tmp_path: Path, raw_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    monkeypatch.setitem(mirrors.SHA256, "fashion_mnist", mirrors.SHA256["mnist"])
    tfds_preparation.prepare("fashion_mnist", tmp_path / "tfds", raw_mnist)
    names = tfds.builder("fashion_mnist", data_dir=tmp_path / "tfds").info.features["label"].names
    assert names[9] == "Ankle boot"


def small_cifar10() -> tuple[bytes, np.ndarray, np.ndarray]:
    """An archive of 6 images in the official layout, with members in another order and one that is not wanted."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 32, 32, 3), np.uint8), np.arange(6, dtype=np.uint8)
    names = ["test_batch.bin", *(f"data_batch_{i}.bin" for i in range(5, 0, -1))]
    members = {"batches.meta.txt": b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"}
    for name, image, label in zip(names, images, labels, strict=True):
        members[name] = bytes([label]) + image.transpose(2, 0, 1).tobytes()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for path in ["../escape.bin", *(f"cifar-10-batches-bin/{name}" for name in members)]:
            content = members.get(path.rpartition("/")[2], b"x")
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue(), images, labels


def test_cifar10_from_the_official_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    content, images, labels = small_cifar10()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "cifar-10-binary.tar.gz").write_bytes(content)
    monkeypatch.setitem(mirrors.SHA256, "cifar10", hashes({"cifar-10-binary.tar.gz": content}))
    data_dir = tmp_path / "tfds"
    tfds_preparation.prepare("cifar10", data_dir, tmp_path / "raw")
    (test,) = read_with_plain_tfds(data_dir, "cifar10", "test")
    np.testing.assert_array_equal(test["image"], images[0])
    train = {r["id"]: r for r in read_with_plain_tfds(data_dir, "cifar10", "train")}
    assert sorted(train) == [b"train_0000%d" % i for i in range(5)]
    # Batch 1 is the archive's last member, and gives the first example.
    np.testing.assert_array_equal(train[b"train_00000"]["image"], images[5])
    assert train[b"train_00000"]["label"] == labels[5]
    assert tfds.builder("cifar10", data_dir=data_dir).info.features["label"].names[5] == "dog"
    assert not (tmp_path / "escape.bin").exists()


def test_two_processes_at_once(tmp_path: Path, mnist: dict[str, np.ndarray], raw_mnist: Path) -> None:
    data_dir = tmp_path / "tfds"
    slow = "png = tfds_preparation._png; import time; tfds_preparation._png = lambda x: (time.sleep(0.03), png(x))[1]"
    processes = [start(data_dir, raw_mnist, slow) for _ in range(2)]
    outputs = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted("mnist: from raw files" in err for _, err in outputs) == [False, True], "one prepares, one waits"
    assert_holds(data_dir, mnist)


def test_killed_in_the_middle(tmp_path: Path, mnist: dict[str, np.ndarray], raw_mnist: Path) -> None:
    data_dir = tmp_path / "tfds"
    process = start(data_dir, raw_mnist, "import time; tfds_preparation._png = lambda x: time.sleep(60)")
    wait_for(lambda: list(data_dir.glob(".mnist.incomplete-*/mnist/*")) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(data_dir.glob(".mnist.incomplete-*")), "the kill came too early or too late"
    assert tfds_records.find("mnist", data_dir) is None
    tfds_preparation.prepare("mnist", data_dir)
    assert_holds(data_dir, mnist)


def test_failure_in_the_middle_leaves_nothing(
    tmp_path: Path, mnist: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: np.ndarray) -> io.BytesIO:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tfds_preparation, "_png", full)
        with pytest.raises(UserError, match="No space left on device"):
            tfds_preparation.prepare("mnist", tmp_path / "tfds")
    assert [p.name for p in (tmp_path / "tfds").iterdir()] == [".mnist.lock"]
    tfds_preparation.prepare("mnist", tmp_path / "tfds")
    assert_holds(tmp_path / "tfds", mnist)


def test_altered_bytes_leave_no_dataset(tmp_path: Path, raw_mnist: Path) -> None:
    path = raw_mnist / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="wrong SHA-256"):
        tfds_preparation.prepare("mnist", tmp_path / "tfds", raw_mnist)
    assert tfds_records.find("mnist", tmp_path / "tfds") is None


def test_unwritable_data_dir_is_a_user_error(tmp_path: Path, mnist: dict[str, np.ndarray]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--data-dir") as error:
        tfds_preparation.prepare("mnist", tmp_path / "file" / "tfds")
    assert "\n" not in str(error.value)


def test_read_only_data_dir(tmp_path: Path, mnist: dict[str, np.ndarray], raw_mnist: Path) -> None:
    """What is there can be read; what is not is a clear error, and leaves no trace."""
    data_dir = tmp_path / "tfds"
    tfds_preparation.prepare("mnist", data_dir)
    script = """
        from aejax.data import load
        from aejax.errors import UserError
        assert len(load("mnist").images) == 30
        try:
            load("fashion_mnist")
        except UserError as error:
            print(error)
        sys.exit()
    """
    # Without this capability not even root may write to a folder whose mode forbids it.
    powerless = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    data_dir.chmod(0o555)
    process = start(data_dir, raw_mnist, script, powerless)
    out, err = process.communicate(timeout=30)
    data_dir.chmod(0o755)
    assert process.returncode == 0, err
    assert "'fashion_mnist' cannot be prepared in" in out
    assert "Permission denied" in out
    assert sorted(p.name for p in data_dir.iterdir()) == [".mnist.lock", "mnist"]
