"""Starting commands and finding their first step, with small programs in the experiments' place."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from aejax.errors import UserError
from experiments.benchmark import start
from experiments.benchmark.start import Config, Start, first_step

# Programs are kept in the cache folder; a start that finds one is half a second faster. Another bar comes first.
PROGRAM = """
import os, sys, time
from pathlib import Path
from tqdm import tqdm

programs = Path(os.environ["AEJAX_CACHE_DIR"], "programs")
time.sleep(0.1 if programs.exists() else 0.6)
programs.mkdir(exist_ok=True)
(programs / "a-cache").write_bytes(b"123")
list(tqdm(range(5), unit=" images"))
with tqdm(total=90, unit="step") as bar:
    bar.set_description("epoch 1/3")
    time.sleep(0.3)
    bar.update(8)
    bar.update(1)
    time.sleep(60)
"""


def test_a_start_ends_at_the_first_step(tmp_path: Path) -> None:
    start = first_step([sys.executable, "-c", PROGRAM], tmp_path, 60)
    assert start.steps == 8
    assert 0.6 < start.ready < start.ready + 0.2 <= start.trained < 30


@pytest.mark.parametrize(
    ("code", "longest", "message"),
    [
        ("import sys; print('no luck', file=sys.stderr); sys.exit(3)", 60, "ended with status 3: no luck"),
        ("import time; time.sleep(60)", 1, "no step was taken in 1 s: raise --longest"),
    ],
)
def test_a_start_that_takes_no_step(code: str, longest: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        first_step([sys.executable, "-c", code], tmp_path, longest)


def test_main_leaves_a_table_a_record_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "command", lambda *_: [sys.executable, "-c", PROGRAM])
    start.main(Config(dataset="digits", image_size=8, experiments=("vae",), rounds=1, runs=tmp_path))

    folder = tmp_path / "benchmark_start" / "digits"
    assert {file.name for file in folder.iterdir()} == {"table.md", "results.json", "benchmark.png"}
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert "8 steps taken, s" in table
    assert "1, 0.0 MiB" in table
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())["experiments"]["vae"]
    assert (found["programs"], found["program_bytes"]) == (1, 3)
    assert found["cold"][0]["ready"] > found["warm"][0]["ready"] > 0.1  # the cache of the cold start was there


def test_a_command_is_the_users_own(tmp_path: Path) -> None:
    words = start.command(Config(dataset="digits", image_size=12, data_dir=tmp_path), "aae", tmp_path)
    assert words[1:3] == ["-m", "experiments.aae"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    expected = {"--runs": str(tmp_path), "--dataset": "digits", "--image-size": "12", "--data-dir": str(tmp_path)}
    assert expected.items() <= options.items()


def test_medians_and_ratios() -> None:
    cold, warm = [Start(9, 10, 8), Start(7, 8, 8), Start(20, 21, 8)], [Start(3, 4, 8)] * 3
    line = start.table([start.Result("vae", cold, warm, 2, 2**20)]).splitlines()[-2:]
    found = [[cell.strip() for cell in row.split("|")[2:6]] for row in line]
    assert found == [["9.000", "7.000 to 20.00", "1.00", "10.00"], ["3.000", "3.000 to 3.000", "0.33", "4.000"]]


def test_none_to_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--experiments is empty"):
        start.main(Config(experiments=(), runs=tmp_path))
