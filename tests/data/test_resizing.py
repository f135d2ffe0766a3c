import numpy as np

from aejax.data.resizing import resize


def test_fine_checkerboard_becomes_grey_and_not_stripes() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = resize(board.astype(np.uint8)[None, ..., None], 16)
    assert small.shape == (1, 16, 16, 1)
    assert np.abs(small[0, 2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_channels_are_independent() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 9, 7, 5), np.uint8)
    together = resize(images, 4)
    assert together.shape == (3, 4, 4, 5)
    for channel in range(5):
        np.testing.assert_array_equal(together[..., [channel]], resize(images[..., [channel]], 4))


def test_own_size_leaves_the_images_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(resize(images, 8), images)
