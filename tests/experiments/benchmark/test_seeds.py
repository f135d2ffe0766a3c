import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aejax.errors import UserError
from experiments.benchmark import seeds
from experiments.benchmark.harness.rounds import Plan, Row
from experiments.benchmark.seeds import Config, Result


def result(**seconds: float) -> Result:
    """Of seconds by the number of seeds: one=2.0, n4=6.0."""
    rows = {1 if name == "one" else int(name[1:]): Row(name, "ours", [s]) for name, s in seconds.items()}
    return Result("vae", Plan(1, 10, 1, 10), rows)


def test_ratios_are_to_as_many_runs_in_turn() -> None:
    found = result(one=2.0, n2=3.0, n4=10.0)
    assert [seeds.ratio(found, count) for count in (1, 2, 4)] == [1.0, 0.75, 1.25]
    found.rows[4].seconds.clear()
    assert seeds.ratio(found, 4) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ({"one": 2.0, "n2": 3.0, "n4": 4.0}, ["least with 4 at once: 0.50"]),
        ({"one": 2.0, "n2": 3.0, "n4": 7.0}, ["least with 2 at once: 0.75", "More stop paying: with 4 it is 0.88"]),
        ({"one": 2.0, "n2": 3.0, "n4": 9.0}, ["least with 2", "From 4 on, runs one after another"]),
        ({"one": 2.0, "n2": 5.0}, ["no faster than runs one after another"]),
        ({"one": 2.0}, ["No seeds were measured"]),
    ],
)
def test_where_it_stops_paying(seconds: dict[str, float], said: list[str]) -> None:
    sentence = seeds.verdict(result(**seconds))
    assert all(words in sentence for words in said), sentence


class FakeWorker:
    """Takes 10 ms per step, and 4 more for each further seed."""

    def __init__(self, spec: Mapping[str, Any], log: object, variables: object) -> None:
        self.seeds = spec["seeds"]

    def setup(self) -> dict[str, Any]:
        return {"build_s": 1.0, "first_step_s": 2.0, "warm_up_s": 0.5, "device": "fake"}

    def run(self, steps: int) -> dict[str, Any]:
        return {"seconds": steps * (0.006 + 0.004 * self.seeds), "memory_mib": 100 * self.seeds}

    def close(self) -> None:
        pass


def test_main_leaves_a_table_a_record_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seeds, "Worker", FakeWorker)
    seeds.main(Config(dataset="digits", image_size=8, systems=("vae",), counts=(2, 4), runs=tmp_path))

    folder = tmp_path / "benchmark_seeds" / "digits"
    assert {file.name for file in folder.iterdir()} == {"table.md", "results.json", "benchmark.png", "workers.log"}
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    four = next(cells for cells in lines if cells[0] == "4 seeds at once")
    assert [four[1], *four[3:9]] == ["0.1100", "0.02750", "46,545", "0.55", "3.0", "12.0", "400"]
    assert "A seed costs least with 4 at once: 0.55 of a run of its own." in table
    assert "GPU: open" not in table  # the device is a fake
    rows = json.loads((folder / "results.json").read_text())["systems"]["vae"]["rows"]
    assert [row["seeds"] for row in rows] == [1, 2, 4]
    assert rows[1]["time_over_runs_in_turn"] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": ()}, "choose from autoencoder"),
        ({"counts": ()}, "--counts is empty"),
        ({"batch_size": 5000}, "--batch-size 5000 is more than"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        seeds.main(Config(**{"dataset": "digits", "image_size": 8, "runs": tmp_path, **options}))
    assert not list(tmp_path.iterdir())
