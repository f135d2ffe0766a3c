import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aejax.data import load, tfds_preparation, tfds_records
from aejax.data.assembly import Size
from aejax.data.cache import Arrays
from aejax.errors import UserError


def png(array: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return io.BytesIO(file.getvalue())


def write_dataset(data_dir: Path, features: dict[str, Any], examples: list[dict[str, Any]]) -> tfds_records.Prepared:
    """Writes the dataset "toy" with one split, by a builder of plain tfds."""
    import tensorflow_datasets as tfds

    class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version("1.0.0")
        name = "toy"

        def _info(self) -> Any:
            info = tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))
            info.initialize_from_bucket = lambda: None  # it would leave a folder in the temporary one
            return info

        def _split_generators(self, dl_manager: object) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
            yield from enumerate(examples)

    Toy(data_dir=data_dir).download_and_prepare(file_format="array_record")
    prepared = tfds_records.find("toy", data_dir)
    assert prepared is not None
    return prepared


def decode(prepared: tfds_records.Prepared, image_size: int | None = None) -> Arrays:
    rows = np.arange(sum(prepared.shard_lengths["train"]))
    return tfds_records.decode(prepared, "train", rows, Size(image_size), lambda shape: np.empty(shape, np.uint8))


def test_images_without_labels(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    images = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3), np.uint8)
    features = {"image": tfds.features.Image(shape=(6, 5, 3))}
    prepared = write_dataset(tmp_path, features, [{"image": png(image)} for image in images])
    decoded, labels, _ = decode(prepared)
    assert labels is None
    assert tfds_records.class_labels(prepared, "train") is None
    assert decoded.dtype == np.uint8
    assert sorted(image.tobytes() for image in decoded) == sorted(image.tobytes() for image in images)


def test_images_of_several_sizes_need_an_image_size(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    examples = [{"image": png(np.full((4 + i, 5, 3), 40 * i, np.uint8))} for i in range(3)]
    prepared = write_dataset(tmp_path, {"image": tfds.features.Image(shape=(None, None, 3))}, examples)
    with pytest.raises(UserError, match="differ in size"):
        decode(prepared)
    images = decode(prepared, 8).images
    assert images.shape == (3, 8, 8, 3)
    assert sorted(images.mean((1, 2, 3))) == [0, 40, 80]


def test_pixels_of_0_and_1_are_black_and_white_before_they_are_resized(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    board = (np.indices((16, 16)).sum(0) % 2).astype(np.uint8)
    examples = [{"image": png(board * (i > 0))} for i in range(4)]
    prepared = write_dataset(tmp_path, {"image": tfds.features.Image(shape=(16, 16, 1))}, examples)
    images, _, meta = decode(prepared)
    assert sorted(images.max((1, 2, 3))) == [0, 255, 255, 255]
    assert meta == {"binary": True}
    assert 120 <= sorted(decode(prepared, 4).images[:, 1, 1, 0])[1] <= 135


def test_a_set_without_a_test_split_gets_one_of_all_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tensorflow_datasets as tfds

    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), np.uint8)
    features = {"image": tfds.features.Image(shape=(4, 4, 3)), "label": tfds.features.ClassLabel(names=["ape", "bee"])}
    write_dataset(tmp_path, features, [{"image": png(image), "label": i // 30} for i, image in enumerate(images)])
    train, test = load("toy", "train", tmp_path), load("toy", "test", tmp_path)
    assert (len(train.images), len(test.images)) == (54, 6)
    assert train.class_names == ("ape", "bee")
    assert sorted(test.labels.tolist()) == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]
    for dataset in (train, test):
        for image, label in zip(dataset.images, dataset.labels, strict=True):  # type: ignore[arg-type]
            assert any((image == one).all() for one in images[30 * label : 30 * label + 30])
    assert "60 images, no test split: 6 of them, drawn by" in capsys.readouterr().err


def test_unknown_labels_stay_unknown(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=(4, 4, 1)), "label": tfds.features.ClassLabel(num_classes=3)}
    image = np.zeros((4, 4), np.uint8)
    write_dataset(tmp_path, features, [{"image": png(image), "label": label} for label in [-1] * 9 + [2]])
    labels = load("toy", "all", tmp_path).labels
    assert labels is not None
    assert sorted(labels.tolist()) == [-1] * 9 + [2]


def test_dataset_without_images_is_refused(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    prepared = write_dataset(tmp_path, {"text": tfds.features.Text()}, [{"text": "a"}])
    with pytest.raises(UserError, match="no feature 'image'"):
        decode(prepared)


def test_newest_complete_version_is_found(tmp_path: Path, mnist: dict[str, np.ndarray]) -> None:
    folder = tfds_preparation.prepare("mnist", tmp_path).folder
    for version in ("3.0.9", "3.0.10"):
        shutil.copytree(folder, folder.parent / version)
    (folder.parent / "9.0.0").mkdir()
    shutil.copytree(folder, folder.parent / "9.9.9.incomplete")
    found = tfds_records.find("mnist", tmp_path)
    assert found is not None
    assert found.folder.name == "3.0.10"
    assert tfds_records.names(tmp_path) == ["mnist"]
    assert tfds_records.find("absent", tmp_path) is None


def test_dataset_with_configurations(tmp_path: Path, mnist: dict[str, np.ndarray]) -> None:
    folder = tfds_preparation.prepare("mnist", tmp_path).folder
    shutil.copytree(folder, tmp_path / "emnist" / "letters" / "3.0.1")
    assert tfds_records.names(tmp_path) == ["emnist/letters", "mnist"]
    found = tfds_records.find("emnist/letters", tmp_path)
    assert found is not None
    assert found.shard_lengths == {"train": [30], "test": [12]}


def test_tensorflow_format_is_refused_with_the_remedy(tmp_path: Path, mnist: dict[str, np.ndarray]) -> None:
    path = tfds_preparation.prepare("mnist", tmp_path).folder / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fileFormat": "tfrecord"}))
    with pytest.raises(UserError, match="tfds convert_format"):
        tfds_records.find("mnist", tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "remove", "garbage"])
def test_damaged_records_are_a_user_error(tmp_path: Path, mnist: dict[str, np.ndarray], damage: str) -> None:
    prepared = tfds_preparation.prepare("mnist", tmp_path)
    (path,) = prepared.folder.glob("*train*")
    if damage == "truncate":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "remove":
        path.unlink()
    else:
        path.write_bytes(os.urandom(path.stat().st_size))
    with pytest.raises(UserError, match="remove that folder"):
        decode(prepared)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"splits": [{}]}', '{"splits": 3}'])
def test_damaged_description_is_a_user_error(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "toy" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(UserError, match="remove that folder"):
        tfds_records.find("toy", tmp_path)
