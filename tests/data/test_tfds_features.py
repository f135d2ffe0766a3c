"""A dataset's description cannot choose code."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.data import load, tfds_features
from aejax.errors import UserError


def description(mnist_folder: Path) -> dict[str, Any]:
    return json.loads((mnist_folder / "features.json").read_text())


@pytest.fixture
def folder(tmp_path: Path, mnist: dict[str, np.ndarray]) -> Path:
    load("mnist", data_dir=tmp_path)
    return next((tmp_path / "mnist").iterdir())


def named(name: str) -> list[Any]:
    """Descriptions that name a class, as tfds has written them over the years."""
    feature = {"pythonClassName": name, "tensor": {}}
    legacy = {"type": name, "content": {}}
    dictionary = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    return [
        feature,
        legacy,
        {"pythonClassName": dictionary, "featuresDict": {"features": {"image": feature}}},
        {"pythonClassName": dictionary, "featuresDict": {"features": {"type": feature}}},
        {"python_class_name": dictionary, "json_feature": {"json": json.dumps({"image": legacy})}},
        {"type": dictionary, "proto_cls": "x", "content": json.dumps({"features": {"image": feature}})},
        {"pythonClassName": dictionary, "sequence": {"feature": feature}},
    ]


@pytest.mark.parametrize("form", range(7))
def test_a_module_of_elsewhere_is_not_imported(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, form: int
) -> None:
    (tmp_path / "surprise.py").write_text("raise AssertionError('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    (folder / "features.json").write_text(json.dumps(named("surprise.Image")[form]))
    with pytest.raises(UserError, match=r"features\.json cannot be read .*'surprise\.Image'") as error:
        load("mnist", data_dir=tmp_path)
    assert "\n" not in str(error.value)
    assert "surprise" not in sys.modules


@pytest.mark.parametrize("form", range(7))
def test_classes_of_tfds_are_admitted(tmp_path: Path, form: int) -> None:
    text = json.dumps(named("tensorflow_datasets.core.features.image_feature.Image")[form])
    (tmp_path / "features.json").write_text(text)
    assert tfds_features.check(tmp_path) == json.loads(text)


@pytest.mark.parametrize(
    "content", ["", "[]", "3", "{", "[" * 100_000, '{"a":' * 100 + "1" + "}" * 100, '{"pythonClassName": 3}']
)
def test_damaged_or_deep_descriptions_are_one_line(tmp_path: Path, folder: Path, content: str) -> None:
    (folder / "features.json").write_text(content)
    with pytest.raises(UserError, match=r"features\.json") as error:
        load("mnist", data_dir=tmp_path)
    assert "\n" not in str(error.value)


def test_every_class_that_tfds_has_is_known() -> None:
    from tensorflow_datasets.core.features import feature

    registered = {n for n in feature.FeatureConnector._registered_features if n.startswith("tensorflow_datasets.core")}
    known = {tfds_features._PACKAGE + name for name in tfds_features._CLASSES}
    assert registered - known <= {f"{tfds_features._PACKAGE}top_level_feature.TopLevelFeature"}


def test_names_of_classes(folder: Path) -> None:
    assert tfds_features.class_names(folder, description(folder)) == tuple("0123456789")
    (folder / "label.labels.txt").write_text("\n".join("abcdefghij") + "\n")
    assert tfds_features.class_names(folder, description(folder)) == tuple("abcdefghij")
    (folder / "label.labels.txt").write_text("a\nb\n")
    assert tfds_features.class_names(folder, description(folder)) == tuple("0123456789")
    assert tfds_features.class_names(folder, {"featuresDict": {"features": {}}}) is None
