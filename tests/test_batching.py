"""A function over an array in batches equals the function of the whole array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from aejax.batching import drawn, over_images
from aejax.training.devices import make_mesh

BATCH = 8
IMAGES = np.random.default_rng(0).integers(0, 256, (21, 3, 2, 1), np.uint8)
AS_FLOAT = IMAGES.astype(np.float32) / 255


def scaled(state: Array, images: Array, key: Array) -> dict[str, Array]:
    return {"mean": state * images.mean((1, 2, 3)), "images": images}


def noise(state: None, images: Array, key: Array) -> Array:
    return jax.random.uniform(key, (len(images),))


@pytest.mark.parametrize("devices", [1, 2])
def test_batches_equal_the_whole_for_every_length(devices: int) -> None:
    run = over_images(scaled, make_mesh(devices, BATCH), BATCH)
    for n in (1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, 21):
        outputs = run(jnp.float32(3), IMAGES[:n])
        assert set(outputs) == {"mean", "images"}
        assert all(isinstance(output, np.ndarray) for output in outputs.values())
        assert outputs["images"].dtype == np.float32
        np.testing.assert_allclose(outputs["images"], AS_FLOAT[:n], rtol=1e-6)
        np.testing.assert_allclose(outputs["mean"], 3 * AS_FLOAT[:n].mean((1, 2, 3)), rtol=1e-5)


def test_each_row_belongs_to_its_image() -> None:
    run = over_images(scaled, make_mesh(1, BATCH), BATCH)
    order = np.random.default_rng(1).permutation(len(IMAGES))
    straight, shuffled = run(jnp.float32(1), IMAGES), run(jnp.float32(1), IMAGES[order])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[order], b), straight, shuffled)


def test_arrays_of_all_lengths_share_one_program() -> None:
    sizes = []

    def traced(state: Array, images: Array, key: Array) -> Array:
        sizes.append(len(images))
        return images * state

    run = over_images(traced, make_mesh(2, BATCH), BATCH - 1)
    for n in (3, 8, 21):
        run(jnp.float32(n), IMAGES[:n])
    assert sizes == [BATCH]  # rounded up to what two devices divide


def test_the_devices_share_each_batch() -> None:
    mesh = make_mesh(2, BATCH)
    shares = []

    def share(state: None, images: Array, key: Array) -> Array:
        jax.debug.inspect_array_sharding(images, callback=lambda s: shares.append(s.shard_shape(images.shape)[0]))
        return images

    over_images(share, mesh, BATCH)(None, IMAGES)
    assert shares == [BATCH // 2]


def test_keys_differ_between_batches_and_not_between_calls() -> None:
    one, two = (over_images(noise, make_mesh(devices, BATCH), BATCH) for devices in (1, 2))
    draws = one(None, IMAGES)
    assert len(np.unique(draws)) == len(IMAGES)
    np.testing.assert_array_equal(one(None, IMAGES), draws)
    np.testing.assert_array_equal(one(None, IMAGES[: BATCH + 2]), draws[: BATCH + 2])
    np.testing.assert_array_equal(two(None, IMAGES), draws)


def test_nothing_to_apply_it_to_is_an_error() -> None:
    apply = over_images(lambda state, images, key: images, make_mesh(1, 4), batch_size=4)
    with pytest.raises(ValueError, match="no images"):
        apply(None, np.zeros((0, 2, 2, 1), np.uint8))


def test_what_is_drawn_in_blocks_is_cut_to_length_and_differs_from_block_to_block() -> None:
    def generate(state: Array, key: Array, n: int) -> Array:
        return state + jax.random.normal(key, (n, 2))

    rows = drawn(generate, jnp.float32(100), jax.random.key(0), 7, block=3)
    assert rows.shape == (7, 2)
    assert len(set(rows[:, 0].tolist())) == 7
    assert abs(rows.mean() - 100) < 2
    np.testing.assert_array_equal(drawn(generate, jnp.float32(100), jax.random.key(0), 3, block=3), rows[:3])
