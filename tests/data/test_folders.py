"""Folders of image files, as splits and classes."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aejax.data import folders, load
from aejax.data.folder_layout import divided, find
from aejax.errors import UserError


def fill(folder: Path, names: Iterable[str], size: tuple[int, int] = (6, 6), mode: str = "L") -> None:
    """Writes an image of one brightness for each name: 0, 3, 6 and so on."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, 3 * i if mode == "L" else (3 * i, 0, 0)).save(folder / name)


def brightness(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def of(paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    return {file.path: (file.part, file.label) for file in divided(paths)}


def test_a_flat_folder(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i}.png" for i in range(40)])
    (tmp_path / "readme.txt").touch()
    (tmp_path / ".hidden.png").touch()
    train, test = load(str(tmp_path)), load(str(tmp_path), "test")
    assert train.labels is None
    assert train.images.shape[1:] == (6, 6, 1)
    assert sorted([*brightness(train.images), *brightness(test.images)]) == list(range(0, 120, 3))
    assert brightness(train.images) != sorted(brightness(train.images))


def test_subfolders_are_classes_and_the_rest_has_none(tmp_path: Path) -> None:
    fill(tmp_path, [*(f"bee/{i}.png" for i in range(20)), *(f"ape/deeper/{i}.PNG" for i in range(20)), "z.png"])
    dataset = load(str(tmp_path), "all")
    assert dataset.class_names == ("ape", "bee")
    assert dataset.labels is not None
    for value, label in zip(brightness(dataset.images), dataset.labels.tolist(), strict=True):
        assert label == (1 if value < 60 else 0 if value < 120 else -1)


def test_one_subfolder_is_no_class() -> None:
    assert {label for _, label in of(f"images/{i}.png" for i in range(9)).values()} == {""}


def test_train_and_test_folders() -> None:
    paths = [f"{split}/{name}/{i}.png" for split in ("Train", "val", "test") for name in "ab" for i in range(30)]
    found = of(paths)
    assert {path.split("/")[0]: part for path, (part, _) in found.items()} == {
        "Train": "learn",
        "val": "validation",
        "test": "test",
    }
    assert all(label == path.split("/")[1] for path, (_, label) in found.items())
    parts = Counter(part for path, (part, _) in of(p for p in paths if p[0] != "v").items())
    assert parts["test"] == 60
    assert 1 <= parts["held_out"] <= 15
    assert parts["learn"] == 60 - parts["held_out"]


def test_folders_called_as_splits_are_classes_where_others_stand_next_to_them() -> None:
    found = of([f"{name}/{i}.png" for name in ("train", "plane", "test") for i in range(30)])
    assert {label for _, label in found.values()} == {"train", "plane", "test"}


def test_a_file_more_moves_no_other() -> None:
    paths = [f"{'ab'[i % 2]}/{i}.png" for i in range(500)]
    before, after = of(paths), of([*paths, "a/new.png", "b/another.png"])
    assert {path: after[path] for path in paths} == before
    shares = Counter(part for part, _ in before.values())
    assert 30 <= shares["test"] <= 70
    assert 25 <= shares["held_out"] <= 65


@pytest.mark.parametrize("count", range(3, 12))
def test_few_files_are_in_all_parts(count: int) -> None:
    assert {part for part, _ in of(f"{i}.png" for i in range(count)).values()} == {"learn", "held_out", "test"}


def test_a_second_start_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, [f"{i}.png" for i in range(20)])
    before = load(str(tmp_path), "all").images
    with monkeypatch.context() as patch:
        patch.setattr(folders.image_files, "decode", lambda *_: pytest.fail("decoded again"))
        np.testing.assert_array_equal(load(str(tmp_path), "all").images, before)
    Image.new("L", (6, 6), 255).save(tmp_path / "3.png")
    assert 255 in brightness(load(str(tmp_path), "all").images)


def test_colour_anywhere_makes_all_rgb(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i}.png" for i in range(9)])
    fill(tmp_path, ["red.png"], mode="RGB")
    assert load(str(tmp_path)).images.shape[3] == 3


def test_mixed_sizes_need_an_image_size(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i}.png" for i in range(9)])
    fill(tmp_path, ["wide.png"], (18, 6))
    with pytest.raises(UserError, match=r"differ in size.*6 x 18.*--image-size"):
        load(str(tmp_path))
    assert load(str(tmp_path), "all", image_size=4).images.shape == (10, 4, 4, 1)


def test_centre_crop_or_stretch(tmp_path: Path) -> None:
    pixels = np.zeros((6, 18), np.uint8)
    pixels[:, 6:12] = 200
    for i in range(3):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    np.testing.assert_array_equal(load(str(tmp_path), image_size=6).images, 200)
    stretched = load(str(tmp_path), image_size=6, fit="stretch").images[0, 0, :, 0]
    np.testing.assert_allclose(stretched, [0, 0, 200, 200, 0, 0], atol=40)


def test_pixels_of_0_and_1_are_black_and_white_before_they_are_resized(tmp_path: Path) -> None:
    board = (np.indices((16, 16)).sum(0) % 2).astype(np.uint8)
    for i in range(4):
        Image.fromarray(board * (i > 0)).save(tmp_path / f"{i}.png")
    images = load(str(tmp_path), "all").images
    assert sorted(images.max((1, 2, 3))) == [0, 255, 255, 255]
    small = load(str(tmp_path), "all", image_size=4).images
    assert sorted(small[:, 1, 1, 0].tolist())[0] == 0
    assert 120 <= sorted(small[:, 1, 1, 0].tolist())[1] <= 135


def text(path: Path) -> None:
    path.write_text("no image")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [text, cut])
def test_what_is_no_image_is_named_or_left_out(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, [f"{'ab'[i % 2]}/{i}.png" for i in range(20)])
    damage(tmp_path / "b/7.png")
    with pytest.raises(UserError, match=r"7\.png' cannot be read .*--skip-unreadable") as error:
        load(str(tmp_path))
    assert "\n" not in str(error.value)
    dataset = load(str(tmp_path), "all", skip_unreadable=True)
    assert sorted(brightness(dataset.images)) == [3 * i for i in range(20) if i != 7]
    assert dataset.labels is not None
    np.testing.assert_array_equal(dataset.labels, dataset.images[:, 0, 0, 0] // 3 % 2)
    assert "1 of the files cannot be read and are left out ('b/7.png')" in capsys.readouterr().err


def test_a_limit_keeps_some_of_each_part(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i}.png" for i in range(80)])
    some = {split: load(str(tmp_path), split, limit=10) for split in ("train", "test")}
    whole = {split: brightness(load(str(tmp_path), split).images) for split in ("train", "test")}
    assert len(some["train"].images) == 10
    for split, dataset in some.items():
        assert set(brightness(dataset.images)) <= set(whole[split])


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for count in (0, 2):
        fill(tmp_path, [f"{i}.png" for i in range(count)])
        with pytest.raises(UserError, match=f"holds {count} image files"):
            load(str(tmp_path))


def test_links_to_folders_above_end(tmp_path: Path) -> None:
    fill(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find(tmp_path) == ["a/1.png", "b/2.png"]
