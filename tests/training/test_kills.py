"""Runs that are killed (-9), again and again, end as runs that were left alone: an autoencoder, a VAE, an AAE."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.test_distributed import ROOT, run_of
from tests.training.victim import METHODS, train_all

# In the first epoch, while the checkpoint of its end is being saved, and in the last one.
KILLS = [("autoencoder", 3), ("autoencoder", 6), ("vae", 5), ("aae", 11), ("aae", 14)]


def live(folder: Path, until: str | None) -> tuple[int, list[str]]:
    """The exit status of the process that was killed after this line, and its lines so far."""
    words = [sys.executable, "-m", "tests.training.victim", str(folder)]
    lines = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] == until:
                process.kill()
                break
    return process.returncode, lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, step in KILLS:
        status, lines = live(folder / "killed", f"{name} {step}")
        assert status == -signal.SIGKILL, lines
        # What was lost is at most the epoch that was under way, and the one whose checkpoint was being saved.
        first = int(next(line for line in lines if line.startswith(name)).split()[1])
        before = [last for one, last in KILLS[: KILLS.index((name, step))] if one == name]
        assert first > max(before, default=0) - 10
    assert live(folder / "killed", None)[0] == 0
    train_all(folder / "in_peace")
    return folder


@pytest.mark.slow  # seven processes
@pytest.mark.parametrize("name", METHODS)
def test_killed_runs_end_as_ones_that_were_left_alone_bit_for_bit(folder: Path, name: str) -> None:
    killed, peace = (run_of(folder / how / name) for how in ("killed", "in_peace"))
    assert killed == peace
    assert [record["step"] for record in killed[1] if record["split"] == "train"] == [5, 10, 15]
