"""Which images each step sees: every image at most once per epoch, in an order that (seed, epoch) alone decides."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.batching import as_float
from aejax.data.feeds import DeviceFeed, device_feed
from aejax.errors import UserError
from aejax.rng import root_key

N, BATCH = 43, 8  # five batches, and three images over
STEPS = N // BATCH
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 2, 3, 1), np.uint8)
IMAGES[:, 0, 0, 0] = range(N)  # by which an image is known


def mesh_of(devices: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


def rows_seen(feed: DeviceFeed) -> Callable[[int, int], np.ndarray]:
    """(seed, epoch) -> the images that the epoch's steps see, compiled as in training: (steps, batch)."""

    @jax.jit
    def batches(images: jax.Array, root: jax.Array, epoch: jax.Array) -> jax.Array:
        order = feed.order(root, epoch)
        return jax.lax.map(lambda i: feed.batch(images, order, i), np.arange(feed.steps_per_epoch))

    def rows(seed: int, epoch: int) -> np.ndarray:
        seen = np.asarray(batches(feed.images, root_key(seed), np.int32(epoch)))
        return np.rint(seen[..., 0, 0, 0] * 255).astype(int)

    return rows


def test_an_epoch_takes_as_many_different_images_as_fill_its_batches() -> None:
    feed = device_feed(IMAGES, BATCH, mesh_of(1))
    assert (feed.steps_per_epoch, feed.batch_size, feed.image_shape) == (STEPS, BATCH, (2, 3, 1))
    rows = rows_seen(feed)(0, 0)
    assert rows.shape == (STEPS, BATCH)
    assert len(np.unique(rows)) == STEPS * BATCH
    assert not (np.sort(rows, axis=None) == np.arange(STEPS * BATCH)).all()  # those left out are drawn, too


def test_every_epoch_and_seed_has_its_own_order() -> None:
    rows_of = rows_seen(device_feed(IMAGES, BATCH, mesh_of(1)))
    orders = [rows_of(seed, epoch) for seed in range(2) for epoch in range(3)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one != other).mean() > 0.8
    left_out = [set(range(N)) - set(rows.ravel().tolist()) for rows in orders]
    assert set.intersection(*left_out) == set()


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    feed = device_feed(IMAGES, BATCH, mesh_of(1))
    other_images = device_feed(np.zeros_like(IMAGES), BATCH, mesh_of(2))
    late = np.asarray(feed.order(root_key(5), 7))
    np.testing.assert_array_equal(other_images.order(root_key(5), 7), late)
    np.testing.assert_array_equal(rows_seen(feed)(5, 7), late)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_batches_are_the_images_of_the_order_on_any_number_of_devices(devices: int) -> None:
    mesh = mesh_of(devices)
    feed = device_feed(IMAGES, BATCH, mesh)
    order = feed.order(root_key(3), 1)

    batch = jax.jit(feed.batch)(feed.images, order, 2)

    assert batch.dtype == np.float32
    rows = np.asarray(device_feed(IMAGES, BATCH, mesh_of(1)).order(root_key(3), 1))[2]
    np.testing.assert_allclose(batch, IMAGES[rows].astype(np.float64) / 255, rtol=1e-6)
    assert batch.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec("data")), batch.ndim)
    assert feed.images.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec()), feed.images.ndim)


def test_black_is_0_and_white_is_1() -> None:
    every_value = np.arange(256, dtype=np.uint8)
    for values in (as_float(every_value), np.asarray(as_float(jax.numpy.asarray(every_value)))):
        assert values.dtype == np.float32
        assert (values[0], values[-1]) == (0, 1)
        np.testing.assert_allclose(values, every_value / 255, rtol=1e-6)


def test_a_batch_larger_than_the_dataset_is_refused() -> None:
    assert device_feed(IMAGES, N, mesh_of(1)).steps_per_epoch == 1
    with pytest.raises(UserError, match=rf"^--batch-size {N + 1} .* {N} training images"):
        device_feed(IMAGES, N + 1, mesh_of(1))


def test_a_batch_that_the_devices_do_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--batch-size 9 .* 2 devices"):
        device_feed(IMAGES, 9, mesh_of(2))


def test_a_tree_keeps_its_rows_together_and_scales_images_alone() -> None:
    images, labels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10, dtype=np.int32)
    feed = device_feed({"images": images, "labels": labels}, 4, mesh_of(2))
    assert feed.steps_per_epoch == 2
    assert feed.image_shape == (1, 1, 1)
    order = feed.order(jax.random.key(0), 0)
    batch = jax.jit(feed.batch)(feed.images, order, 1)
    assert batch["images"].dtype == np.float32
    assert batch["labels"].dtype == np.int32
    np.testing.assert_allclose(batch["images"][:, 0, 0, 0] * 255, batch["labels"], rtol=1e-6)
    assert jax.tree.map(np.shape, feed.zeros()) == jax.tree.map(np.shape, batch)
