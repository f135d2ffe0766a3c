import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aejax.data import Dataset, available, load, mirrors
from aejax.errors import UserError

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("split", ["train", "test", "train[90%:]", "train[:7]", "train[10%:20%]+test", "all"])
def test_equals_plain_tfds(tmp_path: Path, mnist: dict[str, np.ndarray], split: str) -> None:
    import tensorflow_datasets as tfds

    dataset = load("mnist", split, data_dir=tmp_path)
    expected = list(tfds.data_source("mnist", split="train+test" if split == "all" else split, data_dir=tmp_path))
    np.testing.assert_array_equal(dataset.images, [r["image"] for r in expected])
    np.testing.assert_array_equal(dataset.labels, [r["label"] for r in expected])


def test_contract(mnist: dict[str, np.ndarray]) -> None:
    for split in ("train", "train[3:]", "train[:3]+test"):
        for dataset in (load("mnist", split), load("mnist", split)):
            assert isinstance(dataset, Dataset)
            assert (dataset.name, dataset.split) == ("mnist", split)
            assert dataset.images.dtype == np.uint8
            assert dataset.images.shape[1:] == (28, 28, 1)
            assert dataset.images.flags.c_contiguous
            assert dataset.labels is not None
            assert dataset.labels.dtype == np.int32
            assert dataset.labels.shape == (len(dataset.images),)
            with pytest.raises(ValueError, match="read-only"):
                dataset.images[0] = 0


def test_second_load_in_a_fresh_process_imports_no_tfds(mnist: dict[str, np.ndarray]) -> None:
    mean = load("mnist").images.mean()
    code = "import sys; from aejax.data import load; print(load('mnist').images.mean(), *sys.modules)"
    found, *modules = run(code).split()
    assert found == str(mean)
    assert not {"tensorflow_datasets", "array_record", "PIL"} & set(modules)


def test_import_is_light() -> None:
    heavy = {"tensorflow_datasets", "jax", "sklearn", "skimage", "PIL", "requests", "array_record"}
    assert run(f"import sys, aejax.data; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_image_size_is_part_of_the_cache_key(mnist: dict[str, np.ndarray]) -> None:
    sizes = [load("mnist", image_size=size).images.shape[1:3] for size in (None, 14, 32, None, 14)]
    assert sizes == [(28, 28), (14, 14), (32, 32), (28, 28), (14, 14)]


def test_changed_records_are_decoded_again(tmp_path: Path, mnist: dict[str, np.ndarray]) -> None:
    before = load("mnist").images
    (folder,) = (tmp_path / "tfds" / "mnist").iterdir()
    (train,), (test,) = folder.glob("*train*"), folder.glob("*test*")
    train.write_bytes(test.read_bytes())
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"30"', '"12"'))
    after = load("mnist").images
    assert len(before) == 30
    np.testing.assert_array_equal(after, load("mnist", "test").images)


def test_argument_wins_over_environment(tmp_path: Path, mnist: dict[str, np.ndarray]) -> None:
    load("mnist", data_dir=tmp_path / "argument")
    assert (tmp_path / "argument" / "mnist").is_dir()
    assert not (tmp_path / "tfds").exists()


def test_raw_dir(raw_mnist: Path) -> None:
    assert len(load("mnist", raw_dir=str(raw_mnist)).images) == 30


def test_user_arrays(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 10, 12), np.uint8)
    path = tmp_path / "mine.npz"
    np.savez(path, images=images)
    dataset = load(str(path), "train[50%:]+test")
    assert (dataset.labels, dataset.class_names, dataset.classes) == (None, (), 0)
    assert len(dataset.images) == 22
    assert {image.tobytes() for image in load(str(path), "all").images} == {image.tobytes() for image in images}
    assert load(str(path), image_size=6).images.shape == (36, 6, 6, 1)
    with pytest.raises(UserError, match=r"train \(36 examples\), test \(4 examples\)"):
        load(str(path), "validation")


def test_labels_of_a_part_without_any_are_unknown(tmp_path: Path) -> None:
    images = np.zeros((4, 3, 3), np.uint8)
    np.savez(tmp_path / "mine.npz", train_images=images, train_labels=np.arange(4), test_images=images)
    labels = load(str(tmp_path / "mine.npz"), "train+test").labels
    assert labels is not None
    assert sorted(labels[:4]) == [0, 1, 2, 3]
    assert (labels[4:] == -1).all()
    assert load(str(tmp_path / "mine.npz"), "test").labels is None


def test_one_image_per_known_class() -> None:
    images = np.arange(6, dtype=np.uint8)[:, None, None, None]
    labels = np.array([-1, 2, 0, 2, -1, 1], np.int32)
    assert Dataset("", "", images, labels).one_per_class().ravel().tolist() == [2, 5, 1]
    assert Dataset("", "", images, labels).one_per_class(2).ravel().tolist() == [2, 5]
    for unknown in (None, np.full(6, -1, np.int32)):
        assert Dataset("", "", images, unknown).one_per_class(4).ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_known_classes_keep_their_numbers(mnist: dict[str, np.ndarray], name: str) -> None:
    assert load(name).class_names == tuple("0123456789")
    assert load(name).classes == 10


def test_a_limit_keeps_the_first_images_of_each_split(mnist: dict[str, np.ndarray]) -> None:
    for name in ("mnist", "digits"):
        for split in ("train", "test"):
            some, all_of_them = load(name, split, limit=5), load(name, split)
            np.testing.assert_array_equal(some.images, all_of_them.images[:5])
            np.testing.assert_array_equal(some.labels, all_of_them.labels[:5])
    with pytest.raises(UserError, match="limit"):
        load("digits", limit=0)


@pytest.mark.parametrize("name", ["nothing", "", "../mnist", "mnist/../mnist", "nothing/more", "a b"])
def test_unknown_name_lists_the_known(tmp_path: Path, mnist: dict[str, np.ndarray], name: str) -> None:
    load("mnist")
    with pytest.raises(UserError, match=r"cifar10, digits, fashion_mnist, mnist, .*\.npz.*\(mnist\)") as error:
        load(name)
    assert "\n" not in str(error.value)


def test_available() -> None:
    assert available() == sorted([*mirrors.SHA256, "digits", "sprites"])


@pytest.mark.parametrize("size", [0, -3])
def test_image_size_must_be_positive(size: int) -> None:
    with pytest.raises(UserError, match="image size"):
        load("digits", image_size=size)


@pytest.mark.parametrize("split", ["validation", "train[:0]", "train[", "train[:99999]"])
def test_bad_split(split: str) -> None:
    with pytest.raises(UserError, match="split"):
        load("digits", split)
