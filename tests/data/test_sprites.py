"""Sprites: every factor changes what its name says, and nothing leaves the picture."""

import numpy as np
import pytest

from aejax.data import load, sprites

COUNTS = tuple(sprites.FACTORS.values())


def drawn(**values: int) -> np.ndarray:
    row = [values.get(name, count // 2) for name, count in sprites.FACTORS.items()]
    return sprites.render(np.array([row]))[0, :, :, 0] > 0


def centre(picture: np.ndarray) -> np.ndarray:
    return np.argwhere(picture).mean(axis=0)


def test_every_combination_occurs_once() -> None:
    factors = sprites.factors()
    assert len(np.unique(factors, axis=0)) == len(factors) == sprites.COUNT
    assert (factors.max(axis=0) == np.array(COUNTS) - 1).all()
    rows = np.concatenate([sprites.rows_of(split) for split in ("train", "test")])
    np.testing.assert_array_equal(np.sort(rows), np.arange(sprites.COUNT))


@pytest.mark.parametrize("shape", range(3))
def test_places_and_sizes_are_those_of_the_factors(shape: int) -> None:
    left, right = (drawn(shape=shape, x=x) for x in (0, 15))
    np.testing.assert_allclose(centre(right) - centre(left), [0, 32], atol=0.5)
    top, bottom = (drawn(shape=shape, y=y) for y in (0, 15))
    np.testing.assert_allclose(centre(bottom) - centre(top), [32, 0], atol=0.5)
    small, large = (drawn(shape=shape, size=size).sum() for size in (0, 5))
    np.testing.assert_allclose(large / small, 4, rtol=0.15)


def test_shapes_differ_and_a_turn_of_the_square_by_a_quarter_shows_nothing() -> None:
    pictures = [drawn(shape=shape, orientation=0) for shape in range(3)]
    assert all((a != b).sum() > 50 for a, b in zip(pictures, pictures[1:] + pictures[:1], strict=True))
    np.testing.assert_array_equal(drawn(shape=0, orientation=0), drawn(shape=0, orientation=5))
    assert (drawn(shape=2, orientation=0) != drawn(shape=2, orientation=10)).sum() > 50


def test_nothing_is_cut_off_at_the_edge() -> None:
    rows = np.flatnonzero((sprites.factors()[:, 1] == 5) & np.isin(sprites.factors()[:, 3], (0, 15)))[::7]
    pictures = sprites.render(sprites.factors(rows))
    edges = [pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]]
    assert not any(edge.any() for edge in edges)
    assert pictures.reshape(len(rows), -1).any(axis=1).all()


def test_they_are_loaded_by_name_with_the_shape_as_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "render", lambda values: np.full((len(values), 8, 8, 1), 255, np.uint8))
    test = load("sprites", "test", image_size=8)
    np.testing.assert_array_equal(test.labels, sprites.factors(sprites.rows_of("test"))[:, 0])
    assert test.images.shape == (sprites.COUNT // 10, 8, 8, 1)
    assert test.class_names == sprites.SHAPES
