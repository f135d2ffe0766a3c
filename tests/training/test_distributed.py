"""Two processes that train together: what they compute, and how they end."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.errors import UserError
from aejax.training import distributed
from aejax.training.checkpoints import Checkpoints
from aejax.training.records import read_run
from tests.training.pair import STOP
from tests.training.test_loop import train

ROOT = Path(__file__).parents[2]
SECONDS = 400  # the machine may be busy
# As the schedulers set them for process {0}.
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "{0}",
    "OMPI_COMM_WORLD_LOCAL_RANK": "{0}",
}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "{0}",
    "SLURM_LOCALID": "{0}",
}
BY_HAND = {"JAX_COORDINATOR_ADDRESS": "localhost:{1}", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "{0}"}
SCHEDULERS = ("OMPI_", "SLURM_", "KUBERNETES_", "JAX_COORDINATOR", "JAX_NUM_", "JAX_PROCESS")


class Pair:
    """Two processes of tests.training.pair on this machine."""

    def __init__(self, story: str, folder: Path, variables: dict[str, str]) -> None:
        with socket.create_server(("", 0)) as server:
            port = server.getsockname()[1]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(SCHEDULERS)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.training.pair", story, folder],
                **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT},
                env=inherited
                | {"JAX_COORDINATOR_PORT": str(port)}
                | {name: value.format(process, port) for name, value in variables.items()},
            )
            for process in range(2)
        ]

    def ended(self) -> list[tuple[int, str, str]]:
        """Of each process its exit status, stdout and stderr."""
        results = []
        for process in self.processes:
            out, err = process.communicate(timeout=SECONDS)
            results.append((process.returncode, out, err))
        return results


@contextlib.contextmanager
def pair(story: str, folder: Path, variables: dict[str, str]) -> Iterator[Pair]:
    two = Pair(story, folder, variables)
    try:
        yield two
    finally:
        for process in two.processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pair")


@pytest.fixture(scope="module")
def trained(folder: Path) -> list[tuple[int, str, str]]:
    """What the pair left behind that Open MPI started."""
    train(folder / "one_then_two", devices=2, epochs=2)
    with pair("training", folder, OPEN_MPI) as two:
        ended = two.ended()
    assert [status for status, *_ in ended] == [0, 0], ended
    return ended


def run_of(folder: Path) -> tuple[Any, list[dict]]:
    """The checksum of a run's last checkpoint, and its metrics."""
    (run,) = folder.glob("test/*")
    checkpoints = Checkpoints(run / "checkpoints", read_run(run).identity)
    last = checkpoints.saved_checksum(max(checkpoints.steps()))
    checkpoints.close()
    return last, [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_close(left: list[dict], right: list[dict]) -> None:
    """Metrics of runs whose sums over the devices were taken in another order: equal to a relative 1e-6."""
    assert [list(record) for record in left] == [list(record) for record in right]
    for one, other in zip(left, right, strict=True):
        assert {k: v for k, v in one.items() if k != "split"} == pytest.approx(
            {k: v for k, v in other.items() if k != "split"}, rel=1e-6
        )


@pytest.mark.usefixtures("trained")
def test_two_processes_train_as_one_does(folder: Path, tmp_path: Path) -> None:
    for name, seeds in (("whole", 1), ("seeds", 2)):
        _, records = train(tmp_path / name, devices=2, seeds=seeds)
        assert [record["step"] for record in records if record["split"] == "train"] == [5, 10, 15]
        assert_close(run_of(folder / name)[1], records)


@pytest.mark.usefixtures("trained")
def test_each_process_streams_its_own_part_of_the_same_batches(folder: Path) -> None:
    assert run_of(folder / "streamed") == run_of(folder / "whole")


@pytest.mark.usefixtures("trained")
def test_one_process_goes_on_where_two_were_and_the_reverse(folder: Path) -> None:
    train(folder / "two_then_one", devices=2)
    for name in ("two_then_one", "one_then_two"):
        assert_close(run_of(folder / name)[1], run_of(folder / "whole")[1])


def test_all_stop_at_the_same_step_when_one_is_asked_to(folder: Path, trained: list[tuple[int, str, str]]) -> None:
    for _, out, _ in trained:
        assert f"stopped at {STOP} by 15\n" in out
    assert run_of(folder / "stopped") == run_of(folder / "whole")


def test_process_0_alone_shows_progress(trained: list[tuple[int, str, str]]) -> None:
    assert ["step/s" in err for *_, err in trained] == [True, False]
    assert [f"resuming, at step {STOP} of 15" in err for *_, err in trained] == [True, False]


@pytest.mark.slow  # four processes more
@pytest.mark.usefixtures("trained")
def test_a_run_that_lost_a_process_ends_and_goes_on_from_its_checkpoint(folder: Path) -> None:
    with pair("killed", folder, BY_HAND) as two:
        assert two.processes[1].stdout
        assert "ready\n" in iter(two.processes[1].stdout.readline, "")
        two.processes[1].kill()
        status, _, err = two.ended()[0]
        assert status == 1
        assert err.splitlines()[-1].startswith("error: another process was lost")
        assert "Traceback" not in err

    with pair("resumed", folder, SLURM) as two:
        ended = two.ended()
    assert run_of(folder / "killed") == run_of(folder / "whole")

    assert [status for status, *_ in ended] == [2, 2]
    lines = [err.splitlines()[-1] for *_, err in ended]
    assert lines[0].startswith("error: ")
    assert "seed=0, not 1" in lines[0]
    assert lines[1] == f"process 0: {lines[0]}"
    assert not any("Traceback" in err for *_, err in ended)


def test_processes_that_were_started_differently_are_refused_by_the_field(tmp_path: Path) -> None:
    with pair("disagreeing", tmp_path, BY_HAND) as two:
        ended = two.ended()
    assert [status for status, *_ in ended] == [2, 2]
    lines = [err.splitlines()[-1] for *_, err in ended]
    assert lines[1] == "error: process 0 has seed=0, not 1: start all processes with the same command and data"
    assert lines[0] == f"process 1: {lines[1]}"
    assert not any("opened" in out or "Traceback" in err for _, out, err in ended)


def test_a_single_process_gathers_its_own_values() -> None:
    np.testing.assert_array_equal(distributed.gather(3, 2**40), [[3, 2**40]])
    assert (distributed.count(), distributed.first()) == (1, True)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, r"^--distributed: found no Slurm.*JAX_COORDINATOR_ADDRESS.*: set all three"),
        ({"JAX_COORDINATOR_ADDRESS": "localhost:1"}, r"^--distributed: .*Number of processes must be defined"),
        (
            {"JAX_COORDINATOR_ADDRESS": "localhost", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            r"^--distributed: .*<host of process 0>:<port>",
        ),
        ({"JAX_NUM_PROCESSES": "two"}, r"^JAX_NUM_PROCESSES must be a whole number, not 'two'"),
    ],
)
def test_processes_that_cannot_find_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name in os.environ:
        if name.startswith(SCHEDULERS):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    with pytest.raises(UserError, match=message), distributed.joined(True):
        pass
