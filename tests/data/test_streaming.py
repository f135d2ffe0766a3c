"""The streaming feed shows training what the resident one does, at any start, and holds few images at a time."""

import mmap
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from aejax import rng
from aejax.data import load, streaming
from aejax.data.feeds import Feed, device_feed
from aejax.data.streaming import streaming_feed
from aejax.errors import UserError

BATCH, STEPS = 8, 5  # per epoch
IMAGES = np.arange(BATCH * STEPS + 3, dtype=np.uint8)[:, None, None, None].repeat(2, 1)
LAST = 3 * STEPS


def mesh_of(devices: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


@pytest.fixture(autouse=True)
def two_steps_per_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_BLOCK_BYTES", 2 * BATCH * IMAGES[0].size)


def batches(feed: Feed, root: jax.Array, first: int = 0, last: int = LAST) -> Iterator[Any]:
    """What the compiled steps get to see."""
    batch = feed.batch
    if root.ndim:
        batch = jax.vmap(batch, (*feed.seed_axes, None))  # type: ignore[assignment]
    compiled = jax.jit(batch)
    step = first
    for block in feed.blocks(root, first, last):
        assert step < block.stop <= last or block.stop % feed.steps_per_epoch == 0
        while step < min(block.stop, last):
            yield jax.device_get(compiled(block.images, block.order, np.int32(step)))
            step += 1
    assert step == last


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("first", [0, 3, 5, 14])
def test_every_step_sees_what_it_sees_on_the_resident_feed(first: int, devices: int) -> None:
    mesh, root = mesh_of(devices), rng.root_key(7)
    expected = list(batches(device_feed(IMAGES, BATCH, mesh), root))
    found = list(batches(streaming_feed(IMAGES, BATCH, mesh), root, first))
    np.testing.assert_array_equal(found, expected[first:])


def test_every_seed_has_its_own_images() -> None:
    roots = jax.numpy.stack([rng.root_key(seed) for seed in range(3)])
    found = np.array(list(batches(streaming_feed(IMAGES, BATCH, mesh_of(1)), roots)))
    for seed, root in enumerate(roots):
        alone = list(batches(device_feed(IMAGES, BATCH, mesh_of(1)), root))
        np.testing.assert_array_equal(found[:, seed], alone)


def test_a_tree_keeps_its_rows_together() -> None:
    tree = {"images": IMAGES, "labels": np.arange(len(IMAGES), dtype=np.int32)}
    feed = streaming_feed(tree, BATCH, mesh_of(2))
    for batch in batches(feed, rng.root_key(0)):
        np.testing.assert_allclose(batch["images"][:, 0, 0, 0] * 255, batch["labels"], rtol=1e-6)
    assert jax.tree.map(np.shape, feed.zeros()) == jax.tree.map(np.shape, batch)


def test_blocks_have_one_shape_so_that_one_program_does_for_all() -> None:
    blocks = list(streaming_feed(IMAGES, BATCH, mesh_of(1)).blocks(rng.root_key(0), 0, LAST))
    assert [block.stop for block in blocks] == [2, 4, 6, 8, 10, 12, 14, 15]
    assert {block.images.shape for block in blocks} == {(2, BATCH, *IMAGES.shape[1:])}


class Watched:
    """Images that count how many batches were asked for."""

    dtype = np.dtype(np.uint8)
    shape = (1000 * BATCH, 2, 1, 1)

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray, axis: int, out: np.ndarray, mode: str) -> np.ndarray:
        self.asked += len(rows) // BATCH
        return out


def test_no_more_is_read_than_the_blocks_ahead() -> None:
    images = Watched()
    blocks = streaming_feed(images, BATCH, mesh_of(1)).blocks(rng.root_key(0), 0, 1000)
    for _ in range(20):
        next(blocks)
    blocks.close()  # no thread reads on
    # Two steps each: those taken, the one on its way to the devices, and what the threads hold.
    assert 40 <= images.asked <= 2 * (20 + 1 + streaming._AHEAD)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


class Broken(Watched):
    """Images that cannot be read."""

    def take(self, rows: np.ndarray, axis: int, out: np.ndarray, mode: str) -> np.ndarray:
        raise OSError("the disk is gone")


def test_a_disk_that_fails_ends_training() -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        next(streaming_feed(Broken(), BATCH, mesh_of(1)).blocks(rng.root_key(0), 0, 1000))


def test_a_decoded_dataset_is_read_from_the_cache(mnist: dict[str, np.ndarray]) -> None:
    images = load("mnist", "train[:90%]").images
    base: Any = images
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, mmap.mmap)
    root = rng.root_key(0)
    expected = np.array(list(batches(device_feed(np.array(images), BATCH, mesh_of(2)), root, 0, 7)))
    np.testing.assert_array_equal(list(batches(streaming_feed(images, BATCH, mesh_of(2)), root, 2, 7)), expected[2:])


def test_integers_that_are_no_images_are_not_divided_by_255() -> None:
    codes = np.zeros((40, 7), np.uint8)
    for feed in (streaming_feed, device_feed):
        with pytest.raises(UserError, match=r"uint8 array of shape \(40, 7\).*int32"):
            feed({"images": IMAGES, "codes": codes}, 8, mesh_of(1))
        feed({"images": IMAGES, "codes": codes.astype(np.int32)}, 8, mesh_of(1))


def test_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="--batch-size 44 is more than the 43 training images"):
        streaming_feed(IMAGES, 44, mesh_of(1))
    with pytest.raises(UserError, match=r"--batch-size 9 .* 2 devices"):
        streaming_feed(IMAGES, 9, mesh_of(2))
