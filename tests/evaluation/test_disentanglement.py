"""Disentanglement scores of codes whose scores are known."""

import jax
import numpy as np
import pytest

from aejax.evaluation import disentanglement
from aejax.evaluation.disentanglement import dci, factor_vae_score, mutual_information, mutual_information_gap

FACTORS = np.stack(np.unravel_index(np.arange(4 * 5 * 6 * 8), (4, 5, 6, 8)), axis=1)
FACTORS = FACTORS[np.argsort(np.sin(np.arange(len(FACTORS)) * 12.9898) * 43758.5453 % 1)]  # a mixed order
KEY = jax.random.key(0)


def scores(codes: np.ndarray) -> dict[str, float]:
    found = {"mig": mutual_information_gap(codes, FACTORS), "factor_vae": factor_vae_score(KEY, codes, FACTORS, 200)}
    return found | dci(codes, FACTORS)


def test_one_latent_for_each_factor_has_the_highest_scores() -> None:
    codes = FACTORS[:, ::-1] * np.array([1.0, -3.0, 0.5, 2.0]) + 7
    for name, score in scores(codes).items():
        assert score > 0.97, name


def test_a_rotation_that_mixes_all_factors_lowers_every_score_but_informativeness() -> None:
    standard = (FACTORS - FACTORS.mean(axis=0)) / FACTORS.std(axis=0)
    mixing = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    mixed = scores(standard @ mixing)
    assert mixed["mig"] < 0.1
    assert mixed["dci_disentanglement"] < 0.5
    assert mixed["dci_completeness"] < 0.5
    assert mixed["factor_vae"] < 0.8


def test_codes_that_know_nothing_have_a_score_of_zero() -> None:
    constant = np.ones((len(FACTORS), 3))
    assert mutual_information_gap(constant, FACTORS) == 0
    assert factor_vae_score(KEY, constant, FACTORS) == 0


def test_a_factor_in_two_latents_has_no_gap() -> None:
    codes = np.repeat(FACTORS, 2, axis=1).astype(float)
    np.testing.assert_allclose(mutual_information_gap(codes, FACTORS), 0, atol=1e-9)


def test_mutual_information_of_a_copy_is_the_entropy() -> None:
    found = mutual_information(FACTORS.astype(float), FACTORS)
    np.testing.assert_allclose(np.diag(found), np.log([4, 5, 6, 8]), rtol=1e-9)
    np.testing.assert_allclose(found - np.diag(np.diag(found)), 0, atol=1e-9)


def test_an_unused_latent_changes_nothing() -> None:
    codes = FACTORS.astype(float)
    tiny = 1e-4 * np.sin(np.arange(len(codes)))[:, None]
    with_unused = np.hstack([codes, tiny])
    assert mutual_information_gap(with_unused, FACTORS) == pytest.approx(mutual_information_gap(codes, FACTORS))
    assert factor_vae_score(KEY, with_unused, FACTORS, 100) == factor_vae_score(KEY, codes, FACTORS, 100)


def test_an_even_spread_of_importance_has_an_entropy_of_one() -> None:
    shares = np.array([[0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(disentanglement._relative_entropy(shares, axis=1), [1, 0], atol=1e-12)
