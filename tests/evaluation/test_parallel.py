"""Blocks in threads: their order, their end on an interruption, and output that nobody can see."""

import sys
import time

import numpy as np
import pytest

from aejax.evaluation import parallel


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_blocks_come_together_in_their_order(count: int) -> None:
    values = np.arange(count)

    def negative(rows: slice) -> np.ndarray:
        time.sleep(0.005 * (rows.start == 0))
        return -values[rows]

    np.testing.assert_array_equal(parallel.on_all_cores(negative, count, 2, "blocks"), -values)


def test_an_interruption_does_not_wait_for_blocks_that_have_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def block(rows: slice) -> np.ndarray:
        begun.append(rows)
        time.sleep(0.01)
        return np.zeros(1)

    class Interrupted:
        def __enter__(self) -> "Interrupted":
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, _: int) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "bar", lambda *_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        parallel.on_all_cores(block, 2000, 1, "blocks")
    assert len(begun) < 1000


def test_a_closed_stderr_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(parallel, "_SILENCE", 0)
    with parallel.bar(2, "nobody sees it") as bar:
        bar.update(2)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_log_file_has_a_bar_and_few_of_them(at_once: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with parallel.bar(1000, "work", at_once=at_once) as bar:
        for _ in range(1000):
            bar.update()
    assert capsys.readouterr().err.count("work") == at_once
