"""Random flips and crops: of every image on its own, the same on all feeds, devices and starts."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from aejax import rng
from aejax.data import augmentation
from aejax.data.augmentation import augment
from aejax.data.feeds import Feed, device_feed
from aejax.data.streaming import streaming_feed
from aejax.errors import UserError

# Every pixel of an image has its own value.
IMAGES = np.arange(64 * 8 * 17 * 2).reshape(64, 8, 17, 2) % 251


def applied(*names: Any, images: np.ndarray = IMAGES, seed: int = 0) -> np.ndarray:
    return np.asarray(augment(names, rng.root_key(seed), images.astype(np.float32)))


def test_a_flip_mirrors_some_images_left_to_right_and_leaves_the_others() -> None:
    found = applied("flip")
    kept = (found == IMAGES).all(axis=(1, 2, 3))
    mirrored = (found == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 10 < mirrored.sum() < 54  # of 64


def test_a_crop_shifts_each_image_by_at_most_the_margin_and_mirrors_it_at_the_edge() -> None:
    found = applied("crop")
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    windows = {(y, x): padded[:, y : y + 8, x : x + 17] for y in range(3) for x in range(3)}
    places = [{at for at, window in windows.items() if (window[i] == image).all()} for i, image in enumerate(found)]
    assert all(len(at) == 1 for at in places)
    assert len(set.union(*places)) == 9


def test_equal_keys_give_equal_images_and_others_do_not() -> None:
    np.testing.assert_array_equal(applied("flip", "crop"), applied("crop", "flip"))
    assert (applied("flip", "crop", seed=1) != applied("flip", "crop")).any()


def test_only_images_are_augmented_and_nothing_without_a_name() -> None:
    batch = {"images": IMAGES.astype(np.float32), "labels": np.arange(64), "others": IMAGES.astype(np.float32)}
    found = augment(("flip", "crop"), rng.root_key(0), batch)
    np.testing.assert_array_equal(found["labels"], batch["labels"])
    assert (np.asarray(found["images"]) != np.asarray(found["others"])).any()  # each array is drawn for on its own
    np.testing.assert_array_equal(augment((), rng.root_key(0), batch)["images"], batch["images"])


def batches(feed: Feed, root: jax.Array, first: int) -> Iterator[np.ndarray]:
    """What training sees of each step up to the end of the third epoch."""

    @jax.jit
    def seen(images: Any, order: Any, step: Any) -> Any:
        return feed.augmented(feed.batch(images, order, step), root, step)

    step, last = first, 3 * feed.steps_per_epoch
    for block in feed.blocks(root, first, last):
        for now in range(step, min(block.stop, last)):
            yield np.asarray(seen(block.images, block.order, np.int32(now)))
        step = block.stop


def test_every_feed_start_and_number_of_devices_sees_the_same_images() -> None:
    images, root, names = IMAGES.astype(np.uint8), rng.root_key(7), ("flip", "crop")
    one, two = (Mesh(np.array(jax.devices()[:n]), ("data",)) for n in (1, 2))
    expected = list(batches(device_feed(images, 24, one, names), root, 0))
    assert len(expected) == 6
    plain = list(batches(device_feed(images, 24, one), root, 0))
    assert all((a != b).any() for a, b in zip(expected, plain, strict=True))
    np.testing.assert_array_equal(list(batches(streaming_feed(images, 24, two, names), root, 3)), expected[3:])
    np.testing.assert_array_equal(list(batches(device_feed(images, 24, two, names), root, 2)), expected[2:])


def test_what_makes_no_sense_is_refused_in_one_line() -> None:
    augmentation.check(("flip",), (1, 1, 1))
    augmentation.check(("flip", "crop"), (8, 9, 1))
    with pytest.raises(UserError, match="--augment flip flip names one twice"):
        augmentation.check(("flip", "flip"), (8, 8, 1))
    with pytest.raises(UserError, match="--augment crop needs images of at least 8 x 8 pixels, not 7 x 9"):
        augmentation.check(("crop",), (7, 9, 1))
