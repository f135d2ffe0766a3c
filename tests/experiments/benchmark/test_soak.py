"""Killing and comparing, and one real run that is killed and ends as one that never was."""

import json
import sys
from pathlib import Path

import pytest

from aejax.errors import UserError
from experiments.benchmark import soak
from experiments.benchmark.soak import Config, live


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_life_says_where_it_started_and_how_far_it_came() -> None:
    talk = "import time; print('x: resuming, at step 20 of 90\\n 30%| | 25/90 [00:01', flush=True); time.sleep(60)"
    life = live(python(talk), 3.0)
    assert life is not None
    assert (life.resumed, life.reached) == (20, 25)
    assert 3 <= life.seconds < 10


def test_a_life_that_ends_by_itself_was_not_killed() -> None:
    assert live(python("pass"), 60.0) is None
    with pytest.raises(UserError, match="ended with status 3: no luck"):
        live(python("import sys; print('no luck'); sys.exit(3)"), 60.0)


# Counts to 90, keeps its place every second step, and resumes from there; with "forget" it resumes with a wrong sum.
PROGRAM = """
import json, sys, time
from pathlib import Path

run, forget = Path(sys.argv[1]), len(sys.argv) > 2
run.mkdir(parents=True, exist_ok=True)
place = run / "place.json"
step, total = json.loads(place.read_text()) if place.exists() else (0, 0)
if step:
    print(f"x: resuming, at step {step} of 90", flush=True)
    total += forget
while step < 90:
    step, total = step + 1, total + step
    print(f" 1%| | {step}/90 [00:01", flush=True)
    if step % 2 == 0:
        (run / "partial").write_text(json.dumps([step, total]))
        (run / "partial").rename(place)
    time.sleep(0.02)
(run / "metrics.jsonl").write_text(str(total))
"""


@pytest.mark.parametrize("forget", [False, True])
def test_kills_are_counted_and_both_runs_compared(
    forget: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(config: Config, runs: Path) -> list[str]:
        return [*python(PROGRAM), str(runs / "autoencoder" / "run"), *["forget"] * forget]

    monkeypatch.setattr(soak, "command", command)
    monkeypatch.setattr(soak, "final_checksum", lambda run: json.loads((run / "place.json").read_text()))
    config = Config(dataset="digits", kills=2, longest=1.0, runs=tmp_path, seed=1)
    if forget:
        with pytest.raises(SystemExit):
            soak.main(config)
    else:
        soak.main(config)
    found = json.loads((tmp_path / "soak" / "digits-autoencoder" / "kills.json").read_text())
    assert len(found["kills"]) == 2
    assert all(kill["seconds"] >= 0.5 for kill in found["kills"])
    assert found["rows"]["lives resumed from a checkpoint"] == "1"
    verdicts = [value for name, value in found["rows"].items() if "equal" in name]
    assert verdicts == ["no", "no"] if forget else ["yes", "yes"]
    assert "farthest step before the last life" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_killed_ends_as_one_left_alone(tmp_path: Path) -> None:
    config = Config(dataset="digits", image_size=12, epochs=40, kills=1, longest=7.0, devices=1, runs=tmp_path, seed=1)
    soak.main(config)
    folder = tmp_path / "soak" / "digits-autoencoder"
    rows = json.loads((folder / "kills.json").read_text())["rows"]
    assert rows["kills"] == "1"
    assert rows["parameters, optimiser state and metric sums equal"] == "yes"
    assert rows["metrics.jsonl equal, no gap and no line twice"] == "yes"
    # The comparison notices a difference.
    runs = [folder / which / "autoencoder" / "run" for which in ("in_peace", "killed")]
    with (runs[1] / "metrics.jsonl").open("a") as file:
        file.write("again\\n")
    assert "no" in soak.compare(*runs).values()
