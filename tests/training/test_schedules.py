"""Learning rates by the step."""

import optax
import pytest

from aejax.training.schedules import scheduled


def test_constant_is_the_rate_itself() -> None:
    assert scheduled("constant", 0.3, 100) == 0.3


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (25, 0.5 + 0.5 * 2**-0.5), (50, 0.5), (100, 0.0), (200, 0.0)])
def test_cosine_falls_from_the_peak_to_nothing(step: int, share: float) -> None:
    rate = scheduled("cosine", 0.3, 100)
    assert callable(rate)
    assert float(rate(step)) == pytest.approx(0.3 * share, abs=1e-7)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (5, 0.5), (10, 1.0), (105, 0.5), (200, 0.0)])
def test_warmup_comes_first_and_counts_among_the_steps(step: int, share: float) -> None:
    rate: optax.ScalarOrSchedule = scheduled("warmup_cosine", 0.3, 200)
    assert callable(rate)
    assert float(rate(step)) == pytest.approx(0.3 * share, abs=1e-7)
