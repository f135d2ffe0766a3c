"""Intervals against their formulas."""

import numpy as np
import pytest

from aejax.evaluation import intervals


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (4, 10), (1000, 1000), (312, 1000)])
def test_the_interval_of_a_share_is_wilsons(hits: int, n: int) -> None:
    found = intervals.share(np.arange(n) < hits)
    z, p = 1.959964, hits / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert found == pytest.approx((p, centre - half, centre + half), abs=1e-6)
    assert 0 <= found.low <= p <= found.high <= 1


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, 25)
    without = (values.sum() - values) / 24
    found = intervals.jackknife(float(values.mean()), without)
    half = 2.063899 * values.std(ddof=1) / 5  # Student's t with 24 degrees of freedom
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), rel=1e-6)
    wider = intervals.jackknife(0, without, further_variance=9)
    assert wider.high == pytest.approx(np.hypot(half, 3 * 2.063899), rel=1e-6)


def test_the_root_of_a_negative_square_is_0() -> None:
    assert intervals.Estimate(-0.1, -0.3, 0.09).root() == pytest.approx((0, 0, 0.3))


def test_other_arrays_are_refused() -> None:
    for wrong in (np.array([0, 1]), np.zeros((2, 2), bool), np.zeros(0, bool)):
        with pytest.raises(ValueError, match="expected booleans"):
            intervals.share(wrong)
