"""Records of metrics through crashes and resumption, and TensorBoard's files."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aejax.errors import UserError
from aejax.training.metrics_log import MetricsLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[MetricsLog]:
    made = MetricsLog(tmp_path)
    made.rewind(0)
    yield made
    made.close()


def test_no_file_means_no_records(tmp_path: Path) -> None:
    assert MetricsLog(tmp_path).records() == []


def test_records_come_back_in_order_one_per_split(log: MetricsLog, tmp_path: Path) -> None:
    log.write(10, 1, {"train": {"loss": 1 / 3, "mse": 2.0}, "held_out": {"loss": np.float32(0.5)}})
    log.write(20, 2, {"train": {"loss": 1e-300}})
    expected = [
        {"step": 10, "epoch": 1, "split": "train", "loss": 1 / 3, "mse": 2.0},
        {"step": 10, "epoch": 1, "split": "held_out", "loss": 0.5},
        {"step": 20, "epoch": 2, "split": "train", "loss": 1e-300},
    ]
    assert log.records() == expected
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == expected


def test_values_that_are_not_finite_are_null(log: MetricsLog, tmp_path: Path) -> None:
    log.write(1, 1, {"train": {"nan": float("nan"), "infinity": float("-inf"), "fine": 0.0}})
    assert log.records() == [{"step": 1, "epoch": 1, "split": "train", "nan": None, "infinity": None, "fine": 0.0}]
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_rewind_drops_what_came_after_the_step(log: MetricsLog, tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        log.write(10 * epoch, epoch, {"train": {"loss": 1 / epoch}, "held_out": {"loss": 1 / epoch}})
    before = log.records()
    log.rewind(20)
    assert log.records() == before[:4]
    log.write(30, 3, {"train": {"loss": 7.0}})
    assert [record["step"] for record in log.records()] == [10, 10, 20, 20, 30]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_a_last_line_cut_short_is_dropped(log: MetricsLog, tmp_path: Path) -> None:
    log.write(10, 1, {"train": {"loss": 1.0}})
    log.write(20, 2, {"train": {"loss": 2.0}})
    file = tmp_path / "metrics.jsonl"
    whole = file.read_text()
    for cut in (1, 5, 30):
        file.write_text(whole[:-cut])
        assert [record["step"] for record in log.records()] == [10]

    log.rewind(10)
    log.write(20, 2, {"train": {"loss": 3.0}})
    assert [record["loss"] for record in log.records()] == [1.0, 3.0]


def test_tensorboard_gets_scalars_and_pictures(log: MetricsLog, tmp_path: Path) -> None:
    log.write(10, 1, {"train": {"loss": 1.0}, "held_out": {"loss": 1.5}})
    log.scalar("images_per_second", 123.0, 10)
    log.picture("reconstructions", np.zeros((4, 6, 3), np.uint8), 10)
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert "tfevents" in events.name
    content = events.read_bytes()
    for tag in (b"loss/train", b"loss/held_out", b"images_per_second", b"reconstructions", b"PNG"):
        assert tag in content


def test_tensorboard_goes_on_in_a_new_file_after_a_rewind(
    log: MetricsLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write(10, 1, {"train": {"before": 1.0}})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1)  # files are named by the second
    log.rewind(10)
    log.write(20, 2, {"train": {"after": 1.0}})
    log.close()
    contents = [path.read_bytes() for path in (tmp_path / "tensorboard").iterdir()]
    assert sum(b"before/train" in content for content in contents) == 1
    assert sum(b"after/train" in content for content in contents) == 1


@pytest.mark.parametrize(
    "damaged", [b'{"step": 20, "ep', b"\xff\xfe", b"[1, 2]", b'{"stop": 20}', b"[" * 100_000, b'{"step": "x"}', b"null"]
)
def test_a_damaged_line_is_said_and_the_rest_is_kept(
    log: MetricsLog, tmp_path: Path, damaged: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (10, 20, 30):
        log.write(step, step // 10, {"train": {"loss": 1.0}})
    file = tmp_path / "metrics.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], damaged, lines[2]]) + b"\n")
    assert [record["step"] for record in log.records()] == [10, 30]
    log.rewind(30, steps_per_epoch=10)
    dropped, lost = capsys.readouterr().err.splitlines()
    assert dropped == f"{file}: 1 damaged lines are dropped, and the rest is kept"
    assert lost == f"{file}: the metrics of epochs 2 were lost"
    assert file.read_bytes().splitlines() == [lines[0], lines[2]]


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics.jsonl is a folder, not a file: remove it"):
        MetricsLog(tmp_path).rewind(0)


def test_metrics_are_on_the_disk_before_write_returns(log: MetricsLog, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    log.write(10, 1, {"train": {"loss": 1.0}})
    assert synced == [len(json.dumps(log.records()[0])) + 1]


def test_tensorboards_files_are_written_without_pytorch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    program = (
        "import pathlib, sys; from aejax.training.metrics_log import MetricsLog; "
        "log = MetricsLog(pathlib.Path(sys.argv[1])); log.rewind(0); log.scalar('a', 1.0, 1); log.close(); "
        "assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}  # noqa: PTH109
    found = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True)
    assert found.returncode == 0, found.stderr
    assert any((tmp_path / "tensorboard").iterdir())
