from typing import Any

import numpy as np
import pytest

from aejax.data.labels import ClassLabels, class_labels, missing_classes
from aejax.errors import UserError


def of(**parts: Any) -> ClassLabels:
    arrays = {name: None if part is None else np.asarray(part) for name, part in parts.items()}
    return class_labels(arrays, {name: 0 if a is None else len(a) for name, a in arrays.items()}, "mine")


@pytest.mark.parametrize(
    ("labels", "indices", "names"),
    [
        ([3, 1, 3, 2], [2, 0, 2, 1], ("1", "2", "3")),
        ([2_000_000_000, -(2**31), 17, 17], [2, 0, 1, 1], ("-2147483648", "17", "2000000000")),
        (np.array([2**64 - 1, 5], np.uint64), [1, 0], ("5", str(2**64 - 1))),
        ([1999, -1, 2024, 1999], [0, -1, 1, 0], ("1999", "2024")),
        ([7.0, float("nan"), -1.0, 3.0], [1, -1, -1, 0], ("3", "7")),
        (["cat", "", "ape", " cat "], [1, -1, 0, 1], ("ape", "cat")),
        (np.array([b"cat", b"", b"ape"]), [1, -1, 0], ("ape", "cat")),
        ([[True], [False]], [1, 0], ("False", "True")),
        (np.arange(10), list(range(10)), tuple("0123456789")),
    ],
)
def test_distinct_known_labels_are_the_classes(labels: Any, indices: list[int], names: tuple[str, ...]) -> None:
    found = of(train=labels)
    assert found.parts["train"] is not None
    assert found.parts["train"].dtype == np.int32
    assert found.parts["train"].tolist() == indices
    assert found.class_names == names


def test_one_mapping_for_all_splits() -> None:
    found = of(train=[30, 10], test=[20, 30, -1], validation=None)
    assert {name: None if a is None else a.tolist() for name, a in found.parts.items()} == {
        "train": [2, 0],
        "test": [1, 2, -1],
        "validation": None,
    }
    assert found.class_names == ("10", "20", "30")
    assert found.notes == ("mine: 1 of 5 images have no label",)


def test_a_split_without_a_known_label_has_none() -> None:
    found = of(train=[0, 1], test=[-1, -1])
    assert found.parts["test"] is None
    assert of(train=[-1, -1]) == ClassLabels({"train": None}, (), ("mine: no label is known",))
    assert of(train=None) == ClassLabels({"train": None}, ())


def test_identifiers_are_no_classes() -> None:
    found = of(train=17 + 1_000_003 * np.arange(1000))
    assert found.parts == {"train": None}
    assert found.class_names == ()
    assert "1,000 different labels for 1,000 images" in found.notes[0]
    assert of(train=np.arange(1000) // 5).class_names == tuple(str(i) for i in range(200))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train": [0.5, 1]}, "not whole numbers"),
        ({"train": [float("inf"), 1]}, "not whole numbers"),
        ({"train": [1j, 1]}, "dtype complex"),
        ({"train": np.eye(3)}, "one label for each"),
        ({"train": [1, 2], "test": ["a"]}, "text in one split and numbers in another"),
    ],
)
def test_what_is_no_class_is_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        of(**parts)


def test_missing_classes_are_named() -> None:
    names = ("ape", "bee", "cat")
    assert missing_classes(np.array([0, 2, -1]), names, "test") == (
        "the test split has no image of 1 of the 3 classes ('bee')",
    )
    assert missing_classes(np.array([0, 2, 1]), names, "test") == ()
    assert missing_classes(None, names, "test") == ()
