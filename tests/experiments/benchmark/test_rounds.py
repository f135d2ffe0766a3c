from collections.abc import Mapping
from typing import Any

import pytest
from tqdm import tqdm

from experiments.benchmark.harness import rounds
from experiments.benchmark.harness.rounds import Entry, Plan, Row, measure
from experiments.benchmark.harness.worker import WorkerError
from experiments.benchmark.reports.against_pytorch import best_rival

PLAN = Plan(rounds=2, steps=50, screening_steps=10, steps_per_epoch=100)


class FakeWorkers:
    """Makes workers that take spec["seconds"] per step, in a list one after another, or fail as spec["fails"] says."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | int]] = []
        self.open: set[str] = set()

    def __call__(self, spec: Mapping[str, Any]) -> "FakeWorker":
        self.open.add(spec["name"])
        return FakeWorker(self, spec)


class FakeWorker:
    def __init__(self, workers: FakeWorkers, spec: Mapping[str, Any]) -> None:
        self.workers, self.spec, self.runs = workers, spec, 0

    def setup(self) -> dict[str, Any]:
        self.workers.calls.append((self.spec["name"], "setup"))
        if self.spec.get("fails") == 0:
            raise WorkerError("no compiler")
        return {"build_s": 1.0, "first_step_s": 2.0, "warm_up_s": 0.5, "device": "fake"}

    def run(self, steps: int) -> dict[str, Any]:
        self.workers.calls.append((self.spec["name"], steps))
        self.runs += 1
        if self.spec.get("fails") == self.runs:
            raise WorkerError("out of memory")
        seconds = self.spec["seconds"]
        return {"seconds": steps * seconds[(self.runs - 1) % len(seconds)], "memory_mib": 100 + self.runs}

    def close(self) -> None:
        self.workers.open.remove(self.spec["name"])


def entry(name: str, role: Any, *seconds: float, fails: int | None = None) -> Entry:
    return Entry(name, role, {"name": name, "seconds": seconds, "fails": fails})


def measured(*entries: Entry) -> tuple[dict[str, Row], FakeWorkers]:
    workers = FakeWorkers()
    rows, _ = measure(entries, workers, PLAN, tqdm(disable=True))
    assert [row.name for row in rows] == [entry.name for entry in entries]
    assert not workers.open
    return {row.name: row for row in rows}, workers


def test_contenders_take_turns() -> None:
    rows, workers = measured(
        entry("ours", "ours", 1.0, 3.0),
        entry("fast", "rival", 2.0),
        entry("slow", "rival", 2.5),
        entry("dl", "once", 9.0),
    )

    setups = [("ours", "setup"), ("fast", "setup"), ("slow", "setup"), ("dl", "setup"), ("dl", 50)]
    screening = [("fast", 10), ("slow", 10)] * 2
    rounds = [("ours", 50), ("fast", 50), ("slow", 50)] * 2
    assert workers.calls == setups + screening + rounds
    assert rows["ours"] == Row("ours", "ours", [100.0, 300.0], 3.0, 0.5, 102, "fake")
    assert rows["fast"].seconds == [200.0, 200.0]
    assert rows["dl"].seconds == [900.0]
    assert rows["dl"].note == "timed once, not counted"


def test_settings_that_screening_finds_hopeless_are_not_timed_further() -> None:
    rows, workers = measured(
        entry("ours", "ours", 9.0),
        entry("best", "rival", 4.0, 2.0),
        entry("near", "rival", 3.0),
        entry("far", "rival", 4.0, 3.5),
    )

    assert workers.calls.count(("far", 50)) == 0
    assert rows["far"].seconds == [350.0]  # the faster of its two tries
    assert rows["far"].note == "screened out, timed over 10 steps"
    assert rows["near"].note == rows["ours"].note == ""
    assert len(rows["near"].seconds) == 2


@pytest.mark.parametrize(
    ("fails", "message"), [(0, "no compiler"), (1, "out of memory"), (3, "out of memory"), (4, "out of memory")]
)
def test_a_contender_that_fails_says_so_and_leaves_the_others_alone(fails: int, message: str) -> None:
    rows, _ = measured(entry("ours", "ours", 1.0), entry("bad", "rival", 2.0, fails=fails), entry("good", "rival", 2.0))

    assert rows["bad"].note == f"failed: {message}"
    assert rows["bad"].seconds == []
    assert rows["ours"].seconds == [100.0, 100.0]
    assert rows["good"].seconds == [200.0, 200.0]
    best = best_rival(list(rows.values()))
    assert best is rows["good"]


def test_starting_is_told_apart_from_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: clock[0])

    class Slow(FakeWorker):
        def setup(self) -> dict[str, Any]:
            clock[0] += 7
            return super().setup()

        def run(self, steps: int) -> dict[str, Any]:
            clock[0] += 2
            return super().run(steps)

    workers = FakeWorkers()
    workers.open |= {"a", "b"}
    found = [entry("a", "ours", 1.0), entry("b", "ours", 2.0)]
    _, spent = measure(found, lambda spec: Slow(workers, spec), PLAN, tqdm(disable=True))
    assert spent == (14, 8, 0)  # two processes that start once, and twice two measurements


def test_workers_are_closed_when_the_user_stops_it() -> None:
    class Stopping(FakeWorkers):
        def __call__(self, spec: Mapping[str, Any]) -> FakeWorker:
            if spec["name"] == "second":
                raise KeyboardInterrupt
            return super().__call__(spec)

    workers = Stopping()
    with pytest.raises(KeyboardInterrupt):
        measure([entry("first", "ours", 1.0), entry("second", "rival", 1.0)], workers, PLAN, tqdm(disable=True))
    assert not workers.open
