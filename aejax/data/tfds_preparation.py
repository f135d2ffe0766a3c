"""Preparation of datasets into an ordinary tfds data_dir, by the upstream builders but without TensorFlow."""

import contextlib
import io
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from tqdm import tqdm

from aejax import locks
from aejax.data import mirrors, tfds_records
from aejax.errors import UserError

Contents = Mapping[str, bytes]
Example = dict[str, Any]


def prepare(name: str, data_dir: Path, raw_dir: Path | None = None) -> tfds_records.Prepared:
    """Prepares a dataset unless it is there already.

    Args:
      name: "mnist", "fashion_mnist" or "cifar10".
      data_dir: the tfds data_dir to write to.
      raw_dir: a folder with the official raw files, which is tried before the network.

    Returns:
      The prepared dataset. If several processes prepare at once, one does it and the others wait. One that is killed
      leaves only a hidden folder, which the next removes.

    Raises:
      UserError: if no source of the dataset can be reached or the data_dir cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _locked(data_dir / f".{name}.lock", name):
            prepared = tfds_records.find(name, data_dir)
            if prepared is None:
                _prepare(name, data_dir, raw_dir)
                prepared = tfds_records.find(name, data_dir)
    except OSError as error:
        raise UserError(
            f"the dataset {name!r} cannot be prepared in {data_dir} ({error.strerror or error}); "
            "name another folder, which can be written, with --data-dir or $TFDS_DATA_DIR"
        ) from error
    assert prepared is not None
    return prepared


def supported() -> list[str]:
    """Returns the names that `prepare` knows."""
    return list(_SPLITS)


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    try:
        lock = locks.acquire(path, timeout=1)
    except filelock.Timeout:
        print(f"waiting for another process that prepares {name}", file=sys.stderr)
        lock = locks.acquire(path, timeout=-1)
    with lock:
        yield


def _prepare(name: str, data_dir: Path, raw_dir: Path | None) -> None:
    prefix = f".{name}.incomplete-"
    for stale in data_dir.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    contents = mirrors.fetch(name, raw_dir)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=data_dir) as folder:
        builder = _builder(name, contents, folder)
        with tfds_records.quiet_tfds():
            builder.download_and_prepare(file_format="array_record")
        prepared = Path(builder.data_dir)
        target = data_dir / prepared.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        prepared.rename(target)


def _builder(name: str, contents: Contents, data_dir: str) -> Any:
    import tensorflow_datasets as tfds

    upstream: Any = tfds.builder_cls(name)
    # tfds takes the name from the class body; it would be "prepared" otherwise.
    dataset_name = name

    class Prepared(upstream, skip_registration=True):  # type: ignore[call-arg]
        name = dataset_name

        def _info(self) -> Any:
            info = super()._info()
            # It would look for a description in the cloud, and leave an empty folder in the temporary one.
            info.initialize_from_bucket = lambda: None
            return info

        def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[int, Example]]]:
            if dataset_name == "cifar10":
                self.info.features["label"].names = _cifar10_label_names(contents)
            return {split: self._generate_examples(split) for split in ("train", "test")}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, Example]]:
            examples = _SPLITS[dataset_name](contents, split)
            # The keys are upstream's own, and so is the order of the shuffled records, which depends on them alone.
            return enumerate(tqdm(examples, desc=f"preparing {name} {split}", unit=" images", delay=1, disable=None))

    return Prepared(data_dir=data_dir)


def _mnist_examples(contents: Contents, split: str) -> Iterator[Example]:
    part = {"train": "train", "test": "t10k"}[split]
    images = _idx(contents[f"{part}-images-idx3-ubyte"])
    labels = _idx(contents[f"{part}-labels-idx1-ubyte"])
    for image, label in zip(images, labels, strict=True):
        yield {"image": _png(image), "label": int(label)}


def _cifar10_examples(contents: Contents, split: str) -> Iterator[Example]:
    batches = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}[split]
    members = _cifar10_members(contents, batches)
    index = 0
    for batch in batches:
        for row in np.frombuffer(members[batch], np.uint8).reshape(-1, 1 + 3 * 32 * 32):
            image = row[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            yield {"id": f"{split}_{index:05d}", "image": _png(image), "label": int(row[0])}
            index += 1


_SPLITS: dict[str, Callable[[Contents, str], Iterator[Example]]] = {
    "mnist": _mnist_examples,
    "fashion_mnist": _mnist_examples,
    "cifar10": _cifar10_examples,
}


def _cifar10_label_names(contents: Contents) -> list[str]:
    return _cifar10_members(contents, ["batches.meta.txt"])["batches.meta.txt"].decode().split()


def _cifar10_members(contents: Contents, names: list[str]) -> dict[str, bytes]:
    """Reads members of the archive by name; nothing is unpacked to the disk."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(contents["cifar-10-binary.tar.gz"]), mode="r|gz") as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if folder == "cifar-10-batches-bin" and name in names and (file := archive.extractfile(member)):
                members[name] = file.read()
    return members


def _idx(content: bytes) -> np.ndarray:
    """Reads the IDX format of unsigned bytes: magic number 0, 0, 8, rank; big-endian sizes; the bytes."""
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _png(image: np.ndarray) -> io.BytesIO:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file
