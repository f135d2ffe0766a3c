"""The description of a tfds dataset's examples, checked before tfds reads it.

tfds imports the modules that features.json names as the classes of features: a folder from elsewhere could run code.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from aejax.errors import UserError

_PACKAGE = "tensorflow_datasets.core.features."
_CLASSES = frozenset(
    {
        *("audio_feature.Audio", "bounding_boxes.BBoxFeature", "class_label_feature.ClassLabel"),
        *("dataset_feature.Dataset", "feature.Tensor", "features_dict.FeaturesDict", "image_feature.Image"),
        *("labeled_image.LabeledImage", "scalar.Scalar", "sequence_feature.Sequence", "tensor_feature.Tensor"),
        *("text_feature.Text", "translation_feature.Translation"),
        *("translation_feature.TranslationVariableLanguages", "video_feature.Video"),
    }
)
_DEEPEST = 32  # nested lists and objects; the deepest of tfds's own datasets has half of them


def check(folder: Path) -> dict[str, Any]:
    """Reads features.json.

    Returns:
      Its content.

    Raises:
      UserError: where it is missing, damaged or nested too deeply, or names a class that is not among tfds's own.
    """
    path = folder / "features.json"
    try:
        content = json.loads(path.read_text())
        _check(content, 0)
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read ({reason}): prepare the dataset again, or choose another") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no description of features: prepare the dataset again, or choose another")
    return content


def class_names(folder: Path, description: dict[str, Any]) -> tuple[str, ...] | None:
    """Returns the names of the classes of the feature "label", or None where that is no class label."""
    try:
        feature = description["featuresDict"]["features"]["label"]
        if feature["pythonClassName"] != f"{_PACKAGE}class_label_feature.ClassLabel":
            return None
        count = int(feature["classLabel"].get("numClasses", 0))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    try:
        names = tuple((folder / "label.labels.txt").read_text().rstrip("\n").split("\n"))
    except (OSError, ValueError):
        names = ()
    return names if len(names) == count else tuple(str(i) for i in range(count))


def _check(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            # "type" is the class in descriptions of tfds before 4.3, and may be a feature's name in later ones.
            if key in ("pythonClassName", "python_class_name", "type") and not isinstance(item, dict):
                _check_class(item)
            else:
                _check(item, depth + 1)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        # Descriptions of tfds before 4.3 hold others as text.
        with contextlib.suppress(json.JSONDecodeError):
            _check(json.loads(value), depth + 1)


def _check_class(name: Any) -> None:
    if not (isinstance(name, str) and name.startswith(_PACKAGE) and name.removeprefix(_PACKAGE) in _CLASSES):
        raise ValueError(f"its class {str(name)[:100]!r} is none of tensorflow-datasets' own features")
