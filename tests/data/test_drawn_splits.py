import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aejax.data.drawn_splits import mixed_order, path_fraction


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_every_tenth_holds_its_share_of_every_class(sizes: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)) - 1, sizes))
    order = mixed_order(len(labels), labels)
    assert sorted(order) == list(range(len(labels)))
    for cut in range(0, len(labels) + 1, max(1, len(labels) // 10)):
        for group, size in enumerate(sizes):
            share = cut * size / len(labels)
            assert abs((labels[order[:cut]] == group - 1).sum() - share) <= len(sizes) / 2 + 1


def test_sorted_rows_are_mixed_and_the_order_is_fixed() -> None:
    order = mixed_order(10_000)
    assert order[:4].tolist() == [9539, 7813, 4967, 9334]  # on every machine
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    deciles = np.histogram(order[-1000:], 10, (0, 10_000))[0]
    assert ((deciles > 60) & (deciles < 140)).all()


def test_a_path_decides_its_fraction_alone() -> None:
    fractions = np.array([path_fraction(f"class/{i}.png") for i in range(5000)])
    np.testing.assert_allclose(np.histogram(fractions, 10, (0, 1))[0], 500, atol=100)
    assert path_fraction("caf\u00e9.png") == path_fraction("cafe\u0301.png")
    assert path_fraction("a.png") == pytest.approx(0.4962016468638204, abs=1e-15)  # on every machine
