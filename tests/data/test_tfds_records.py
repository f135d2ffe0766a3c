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

from aejax.data import tfds_preparation, tfds_records
from aejax.data.split_syntax import Range
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
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: object) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
            yield from enumerate(examples)

    Toy(data_dir=data_dir).download_and_prepare(file_format="array_record")
    prepared = tfds_records.find("toy", data_dir)
    assert prepared is not None
    return prepared


def test_images_without_labels(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    images = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3), np.uint8)
    features = {"image": tfds.features.Image(shape=(6, 5, 3))}
    prepared = write_dataset(tmp_path, features, [{"image": png(image)} for image in images])
    decoded, labels = tfds_records.decode(prepared, "train", None)
    assert labels is None
    assert tfds_records.class_labels(prepared, "train") is None
    assert decoded.dtype == np.uint8
    assert sorted(image.tobytes() for image in decoded) == sorted(image.tobytes() for image in images)


def test_images_of_several_sizes_need_an_image_size(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    examples = [{"image": png(np.full((4 + i, 5, 3), 40 * i, np.uint8))} for i in range(3)]
    prepared = write_dataset(tmp_path, {"image": tfds.features.Image(shape=(None, None, 3))}, examples)
    with pytest.raises(UserError, match="differ in size"):
        tfds_records.decode(prepared, "train", None)
    with pytest.raises(UserError, match="--image-size, or --feed resident"):
        tfds_records.StoredImages(prepared, [Range("train", 0, 3)], None)
    images, _ = tfds_records.decode(prepared, "train", 8)
    np.testing.assert_array_equal(tfds_records.StoredImages(prepared, [Range("train", 0, 3)], 8), images)
    assert images.shape == (3, 8, 8, 3)
    assert sorted(images.mean((1, 2, 3))) == [0, 40, 80]


def test_dataset_without_images_is_refused(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    prepared = write_dataset(tmp_path, {"text": tfds.features.Text()}, [{"text": "a"}])
    with pytest.raises(UserError, match="no feature 'image'"):
        tfds_records.decode(prepared, "train", None)


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
        tfds_records.decode(prepared, "train", None)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"splits": [{}]}', '{"splits": 3}'])
def test_damaged_description_is_a_user_error(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "toy" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(UserError, match="remove that folder"):
        tfds_records.find("toy", tmp_path)
