import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.data import load
from aejax.errors import UserError
from experiments.benchmark import growth
from experiments.benchmark.contenders import jax_feeds
from experiments.benchmark.contenders.jax_feeds import FeedName
from experiments.benchmark.growth import Config
from experiments.benchmark.harness.worker import WorkerError
from experiments.benchmark.reports import growth as growth_report
from experiments.benchmark.reports.growth import Case, Measured

IMAGES = 1293  # of the digits, in train[:90%]
ROWS = [
    Measured(Case("vae", 1, 28, "resident"), 1000, [2.0, 4.0, 3.0], 500, 500, "1 x cpu"),
    Measured(Case("vae", 1, 28, "streaming"), 1000, [4.0], 700, 700, "1 x cpu"),
    Measured(Case("vae", 4, 28, "resident"), 4000, [18.0], 900, 900, "1 x cpu"),
    Measured(Case("vae", 4, 28, "streaming"), 4000, [16.0], 700, 700, "1 x cpu"),
    Measured(Case("vae", 1, 56, "resident"), 1000, [12.0], 600, 600, "1 x cpu"),
    Measured(Case("vae", 1, 56, "streaming"), 1000, note="failed: no disk"),
]


def test_growth_is_against_the_same_feeds_first_row() -> None:
    assert growth_report.growth(ROWS[2], ROWS[0]) == (4.0, 6.0)
    assert growth_report.growth(ROWS[4], ROWS[0]) == (4.0, 4.0)
    header, _, *lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in growth_report.table(ROWS).splitlines()
    ]
    assert header[4:8] == ["pixels", "time", "time / pixels", "device busy"]
    assert [line[6] for line in lines] == ["1.00", "1.00", "1.50", "1.00", "1.00", ""]
    assert lines[5][-1] == "failed: no disk"


def test_a_device_is_as_busy_as_the_resident_feed_says() -> None:
    assert [growth_report.busy(row, ROWS) for row in ROWS] == [1, 0.75, 1, 18 / 16, 1, None]


def test_memory_is_flat_beside_the_size_of_the_added_images() -> None:
    resident, streaming = growth_report.memory_lines(ROWS)
    assert "resident: the host's memory is not flat: 4 times the images change it by +400 MiB" in resident
    assert "streaming: the host's memory is flat: 4 times the images change it by +0 MiB, 0% of the 2 MiB" in streaming


def test_a_network_that_refuses_a_size_gets_the_next_that_it_takes() -> None:
    assert growth.sizes_for("autoencoder", [28, 64, 128], 1) == [28, 68, 132]
    assert growth.sizes_for("vae", [28, 64, 128, 28], 1) == [28, 64, 128]
    with pytest.raises(UserError, match="--sizes 3: autoencoder takes no images"):
        growth.sizes_for("autoencoder", [3], 1)


class FakeWorker:
    """Takes 10 ms per step; its feeds move 7 steps at once."""

    shapes: list[tuple[int, ...]] = []  # noqa: RUF012
    steps: list[int] = []  # noqa: RUF012

    def __init__(self, spec: Mapping[str, Any], log: object, variables: object) -> None:
        images = np.load(spec["images"], mmap_mode="r")
        self.shapes.append(images.shape)
        self.multiple = len(images) // IMAGES
        np.testing.assert_array_equal(images[-IMAGES:], images[:IMAGES])

    def setup(self) -> dict[str, Any]:
        if self.multiple == 2:
            raise WorkerError("out of memory")
        return {"device": "fake", "unit": 7}

    def run(self, steps: int) -> dict[str, Any]:
        self.steps.append(steps)
        return {"seconds": steps * 0.01, "memory_mib": 300, "host_mib": 200}

    def close(self) -> None:
        pass


def test_main_leaves_a_table_a_record_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "Worker", FakeWorker)
    growth.main(Config(dataset="digits", runs=tmp_path, systems=("vae",), multiples=(1, 2, 3), sizes=(8, 10), rounds=2))

    folder = tmp_path / "benchmark_growth" / "digits"
    assert {file.name for file in folder.iterdir()} == {"table.md", "results.json", "benchmark.png", "workers.log"}
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert "failed: out of memory" in table
    rows = json.loads((folder / "results.json").read_text())["rows"]
    found = [row["images"] for row in rows if row["feed"] == "resident"]
    assert found == [IMAGES, 2 * IMAGES, 3 * IMAGES, IMAGES]
    assert {row["feed"] for row in rows} == {"resident", "streaming", "memory"}
    assert rows[0]["median"] == pytest.approx(0.01 * (IMAGES // 256))
    assert all(steps % 7 == 0 for steps in FakeWorker.steps)
    assert {shape[1:] for shape in FakeWorker.shapes[:9]} == {(8, 8, 1)}
    assert {shape[1:] for shape in FakeWorker.shapes[9:12]} == {(10, 10, 1)}


def test_a_stopped_benchmark_keeps_the_cases_that_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopping(FakeWorker):
        def setup(self) -> dict[str, Any]:
            if self.multiple == stop_at[0]:
                raise KeyboardInterrupt
            return {"device": "fake", "unit": 7}

    monkeypatch.setattr(growth, "Worker", Stopping)
    config = Config(dataset="digits", runs=tmp_path, systems=("vae",), multiples=(1, 3), sizes=(8,))
    folder = tmp_path / "benchmark_growth" / "digits"
    stop_at: list[int] = []
    for multiple, written in ((1, False), (3, True)):
        stop_at[:] = [multiple]
        with pytest.raises(SystemExit) as stopped:
            growth.main(config)
        assert stopped.value.code == 130
        assert (folder / "results.json").exists() == written
    values = json.loads((folder / "results.json").read_text())
    assert not values["complete"]
    assert [bool(row["seconds"]) for row in values["rows"]] == [True] * 3 + [False] * 3
    assert values["rows"][-1]["note"] == "stopped before"
    assert "the table holds what was complete" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": ("toaster",)}, "--systems toaster: choose from autoencoder"),
        ({"sizes": ()}, "--sizes is empty"),
        ({"batch_size": 5000}, "--batch-size 5000 is more than the"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        growth.main(Config(**{"dataset": "digits", "runs": tmp_path, **options}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("feed", "seeds"), [("streaming", 1), ("memory", 1), ("resident", 2)])
def test_a_contender_trains_on_each_feed(feed: FeedName, seeds: int, tmp_path: Path) -> None:
    growth.write_multiple(tmp_path / "images.npy", load("digits", "train[:100]", image_size=8).images, 2)
    config = Config(devices=1, batch_size=40)
    spec = jax_feeds.spec_of(config, 40, tmp_path / "images.npy", system="vae", feed=feed, seeds=seeds)
    contender = jax_feeds.build(spec)
    assert contender.unit == (1 if feed == "resident" else 5)  # an epoch's steps are moved at once
    contender.block(7)  # into the second epoch
    contender.prepare()
    contender.block(5)
    assert contender.device == "1 x cpu"
