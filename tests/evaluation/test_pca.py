"""PCA against its closed form, the discarded eigenvalues, and against scikit-learn."""

import numpy as np
import pytest
from sklearn import decomposition

from aejax.evaluation import pca

RANDOM = np.random.default_rng(0)


def pictures(n: int = 120, shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    """uint8, correlated, of falling variances, and never near 0 or 255, so that nothing is clipped."""
    values = int(np.prod(shape))
    mixing = RANDOM.normal(size=(values, values)) * np.linspace(1, 0.05, values)[:, None]
    return (128 + 6 * RANDOM.normal(size=(n, values)) @ mixing).clip(0, 255).astype(np.uint8).reshape(n, *shape)


def mean_squared_error(fitted: pca.PCA, images: np.ndarray) -> float:
    return float(np.square(fitted.reconstruct(images) - images / np.float64(255)).mean())


@pytest.mark.parametrize("n", [120, 30], ids=["covariance", "Gram matrix"])
@pytest.mark.parametrize("components", [1, 7, 20])
def test_the_error_is_the_sum_of_the_discarded_variances_and_all_is_scikit_learns(n: int, components: int) -> None:
    images = pictures(n)
    fitted = pca.fit(images, components)
    flat = images.reshape(n, -1) / 255
    everything = np.linalg.eigvalsh(np.cov(flat, rowvar=False, bias=True))[::-1]
    discarded = everything[components:].sum()
    assert mean_squared_error(fitted, images) == pytest.approx(discarded / 60, rel=1e-5)
    assert (fitted.total_variance - fitted.variances.sum()) / 60 == pytest.approx(discarded / 60, rel=1e-9)
    theirs = decomposition.PCA(components, svd_solver="full").fit(flat)
    np.testing.assert_allclose(np.abs(fitted.components @ theirs.components_.T), np.eye(components), atol=1e-6)
    np.testing.assert_allclose(fitted.variances * n / (n - 1), theirs.explained_variance_, rtol=1e-9)
    unseen = pictures(9)
    expected = theirs.inverse_transform(theirs.transform(unseen.reshape(9, -1) / 255)).clip(0, 1)
    np.testing.assert_allclose(fitted.reconstruct(unseen).reshape(9, -1), expected, atol=1e-6)


def test_blocks_and_floats_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for images in (pictures(), pictures(30)):
        whole = pca.fit(images, 5)
        monkeypatch.setattr(pca, "_BLOCK_BYTES", 8 * 60 * 7)
        blocks = pca.fit((images / 255), 5)
        monkeypatch.undo()
        np.testing.assert_allclose(blocks.reconstruct(images / 255), whole.reconstruct(images), atol=1e-6)
        np.testing.assert_allclose(blocks.variances, whole.variances)


def test_the_iteration_for_large_images_comes_to_the_exact_components(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures()
    exact = pca.fit(images, 5)
    monkeypatch.setattr(pca, "_EXACT", 50)
    monkeypatch.setattr(pca, "_START", 40)
    found = pca.fit(images, 5)
    np.testing.assert_allclose(found.variances, exact.variances, rtol=1e-4)
    np.testing.assert_allclose(mean_squared_error(found, images), mean_squared_error(exact, images), rtol=1e-4)


def test_a_reconstruction_is_clipped_and_codes_are_centred() -> None:
    images = RANDOM.choice(np.array([0, 255], np.uint8), (50, 4, 4, 1))
    fitted = pca.fit(images, 3)
    codes = fitted.encode(images)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(codes.var(axis=0), fitted.variances, rtol=1e-5)
    far = fitted.decode(100 * codes)
    assert (far.min(), far.max(), far.dtype, far.shape) == (0, 1, np.float32, images.shape)
    assert fitted.encode(images[:0]).shape == (0, 3)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_more_components_than_directions_give_the_images_back(n: int) -> None:
    images = pictures(n, (2, 3, 1))
    fitted = pca.fit(images, 150)
    assert len(fitted.components) == min(n - 1, 6)
    np.testing.assert_allclose(fitted.reconstruct(images), images / 255, atol=1e-6)


def test_constant_images_are_their_mean() -> None:
    images = np.full((9, 3, 3, 1), 77, np.uint8)
    np.testing.assert_allclose(pca.fit(images, 2).reconstruct(images), 77 / 255, rtol=1e-6)


def test_other_shapes_are_refused() -> None:
    images = pictures(8)
    for wrong, components in ((images[0], 2), (images[:0], 2), (images, 0)):
        with pytest.raises(ValueError, match="expected images"):
            pca.fit(wrong, components)
    with pytest.raises(ValueError, match=r"expected images \(n, 5, 4, 3\), got \(8, 5, 4, 1\)"):
        pca.fit(images, 2).encode(images[..., :1])
