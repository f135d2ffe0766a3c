import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from tqdm import tqdm

from aejax import rng
from aejax.data import load
from aejax.errors import UserError
from experiments.benchmark import against_pytorch
from experiments.benchmark.contenders.jax_systems import SYSTEMS
from experiments.benchmark.harness import report
from experiments.benchmark.harness.rounds import Entry, Plan, measure
from experiments.benchmark.harness.worker import SIDES, Worker, WorkerError
from experiments.benchmark.reports import against_pytorch as comparison


def test_one_device_is_a_row_of_its_own_only_where_the_default_is_more() -> None:
    spec = {"devices": 0, "system": "vae"}
    many, one = against_pytorch.entries(spec, "cpu", 2), against_pytorch.entries(spec, "gpu", 1)
    assert [e.name for e in many if e.role == "ours"] == ["aejax", "aejax, 1 device"]
    assert [e.spec["devices"] for e in many if e.role == "ours"] == [0, 1]
    assert [e.name for e in one if e.role == "ours"] == ["aejax"]
    assert {e.spec["platform"] for e in one if e.role != "ours"} == {"gpu"}
    assert len({e.name for e in many}) == len(many)


def test_on_a_gpu_lowerings_and_further_settings_of_pytorch_are_tried() -> None:
    def names(system: str, platform: str) -> list[str]:
        return [entry.name for entry in against_pytorch.entries({"devices": 0, "system": system}, platform, 1)]

    on_cpu = names("autoencoder", "cpu")
    assert names("vae", "cpu") == on_cpu
    further = [*against_pytorch.LOWERINGS, *against_pytorch.PYTORCH_GPU_SETTINGS]
    assert sorted(names("autoencoder", "gpu")) == sorted([*on_cpu, *further])
    assert sorted(names("vae", "gpu")) == sorted(
        [*on_cpu, *against_pytorch.PYTORCH_GPU_SETTINGS]
    )  # it has no convolution
    used = {word for setting in against_pytorch.PYTORCH_GPU_SETTINGS.values() for word in setting}
    assert {"cuda_graphs", "tf32", "bf16"} <= used


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    images = tmp_path / "images.npy"
    np.save(images, load("digits", "train[:100]").images)
    return {"side": "jax", "system": "autoencoder", "images": str(images), "batch_size": 32, "devices": 1, "seed": 0}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Mapping[str, Any]], Worker]]:
    with (tmp_path / "workers.log").open("w") as log:
        yield lambda spec: Worker(spec, log, {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"})  # compiles 3 times faster


def test_workers_time_this_project(spec: dict[str, Any], start: Callable[[Mapping[str, Any]], Worker]) -> None:
    contenders = [
        Entry("aejax", "ours", {**spec, "system": "vae"}),
        Entry("no such system", "rival", {**spec, "side": "perpetuum mobile"}),
    ]
    (one, unknown), spent = measure(contenders, start, Plan(2, 5, 1, 3), tqdm(disable=True))

    assert len(one.seconds) == 2
    assert 0 < min(one.seconds) < 60
    assert one.device == "1 x cpu"
    assert one.start_up_s is not None
    assert 0 < one.median < one.start_up_s < spent.starting
    assert one.memory_mib is not None
    assert 100 < one.memory_mib < 4000
    assert unknown.note == "failed: KeyError: 'perpetuum mobile'"


def test_a_users_mistake_comes_through_from_a_worker(spec: dict[str, Any], start: Callable[..., Worker]) -> None:
    with (
        contextlib.closing(start({**spec, "batch_size": 101})) as worker,
        pytest.raises(UserError, match="100 training"),
    ):
        worker.setup()


def test_a_worker_that_dies_is_an_error_of_one_line(spec: dict[str, Any], start: Callable[..., Worker]) -> None:
    with contextlib.closing(start(spec)) as worker:
        worker._process.kill()
        with pytest.raises(WorkerError, match="ended with status -9"):
            worker.setup()


class FakeWorker:
    """Takes 10 ms per step on this project's side and 20 on PyTorch's."""

    def __init__(self, spec: Mapping[str, Any], log: object, variables: object) -> None:
        self.side = spec["side"]

    def setup(self) -> dict[str, Any]:
        if self.side == "check":
            checked = {"parameters": 4385, "logits_differ_by": 2e-7, "logits_after_a_step_differ_by": 3e-6}
            return {"platform": "cpu", "devices": 2, "steps_per_epoch": 6, **checked}
        if self.side == "limits":
            return {"flops": 2e7, "matrix_flops": 1e7, "bytes": 1e6, "peak_flops": 4e9, "peak_bytes": 1e9}
        return {"build_s": 1.0, "first_step_s": 2.0, "warm_up_s": 0.5, "device": "fake"}

    def run(self, steps: int) -> dict[str, Any]:
        return {"seconds": steps * (0.01 if self.side == "jax" else 0.02), "memory_mib": 100}

    def close(self) -> None:
        pass


def test_main_leaves_a_table_a_record_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(against_pytorch, "Worker", FakeWorker)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    systems = ("autoencoder", "vae")
    config = against_pytorch.Config(dataset="digits", runs=tmp_path, rounds=3, systems=systems)

    against_pytorch.main(config)
    against_pytorch.main(config)  # overwrites

    folder = tmp_path / "benchmark" / "digits"
    assert {file.name for file in folder.iterdir()} == {"table.md", "results.json", "benchmark.png", "workers.log"}
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    ours = next(line for line in table.splitlines() if line.startswith("| aejax "))
    assert [cell.strip() for cell in ours.split("|")][2:7] == [
        "0.06000",
        "0.06000 to 0.06000",
        "25,600",
        "0.500",
        "0.500",
    ]
    assert "open: JAX found no GPU here" in table
    assert "both sides have 4385 parameters" in table
    assert "a step takes 10.00 ms for 0.02 GFLOP, 50% of them in matrix products: 2.0 GFLOP/s of 4.0 (50%)" in table
    results = json.loads((folder / "results.json").read_text())
    assert results["config"]["rounds"] == 3
    assert results["complete"]
    assert tuple(results["systems"]) == systems
    assert len(results["systems"]["autoencoder"]["rows"]) == len(against_pytorch.PYTORCH_SETTINGS) + 4


def test_a_stopped_benchmark_goes_on_with_the_next_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []
    stop_at = ["denoiser"]

    class Stopping(FakeWorker):
        def __init__(self, spec: Mapping[str, Any], log: object, variables: object) -> None:
            super().__init__(spec, log, variables)
            if spec["side"] == "limits":
                if spec["system"] in stop_at:
                    raise KeyboardInterrupt
                measured.append(spec["system"])

    monkeypatch.setattr(against_pytorch, "Worker", Stopping)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(comparison, "figure", lambda results, title: Figure())
    results = tmp_path / "benchmark" / "digits" / "results.json"
    systems = ("autoencoder", "denoiser", "vae")

    def run(**options: Any) -> list[str]:
        measured.clear()
        against_pytorch.main(against_pytorch.Config(dataset="digits", runs=tmp_path, systems=systems, **options))
        return list(measured)

    with pytest.raises(SystemExit) as stopped:
        run()
    assert stopped.value.code == 130
    printed = capsys.readouterr()
    assert "## autoencoder" in printed.out
    assert "keeps autoencoder; the same command goes on from there" in printed.err
    kept = json.loads(results.read_text())
    assert (kept["complete"], list(kept["systems"])) == (False, ["autoencoder"])

    stop_at.clear()
    assert run() == ["denoiser", "vae"]
    assert capsys.readouterr().out.count("## ") == 3
    whole = json.loads(results.read_text())
    assert whole["complete"]
    assert whole["systems"]["autoencoder"] == kept["systems"]["autoencoder"]

    assert run() == ["autoencoder", "denoiser", "vae"]  # a complete benchmark starts anew
    stop_at.append("vae")
    with pytest.raises(SystemExit):
        run()
    stop_at.clear()
    assert run(rounds=2) == ["autoencoder", "denoiser", "vae"]  # other settings, other figures


def test_every_side_of_a_worker_is_there() -> None:
    for module in SIDES.values():
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize(("load_average", "warned"), [(0.1, False), (1.0, True)])
def test_a_busy_machine_is_no_place_to_measure(
    load_average: float,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = {**report.environment(), "load_average": load_average, "cores": 2}
    monkeypatch.setattr(against_pytorch, "Worker", FakeWorker)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(report, "environment", lambda: where)

    against_pytorch.main(against_pytorch.Config(dataset="digits", runs=tmp_path, systems=("vae",)))

    output = capsys.readouterr()
    assert ("other processes are busy" in output.err) == warned
    assert f"2 cores, load average {load_average:.2f} before" in output.out


def test_without_pytorch_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[benchmark\]'"):
        against_pytorch.main(against_pytorch.Config(dataset="digits", runs=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": ("autoencoder", "toaster")}, "--systems autoencoder toaster: choose from autoencoder"),
        ({"systems": ()}, "choose from"),
        ({"runs": Path("/dev/null/runs")}, "cannot be written"),
    ],
)
def test_mistakes_are_one_line(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError, match=message):
        against_pytorch.main(against_pytorch.Config(**{"dataset": "digits", "runs": tmp_path, **options}))


@pytest.mark.parametrize("option", ["rounds", "steps", "screening_steps", "batch_size"])
def test_numbers_must_be_positive(option: str) -> None:
    with pytest.raises(UserError, match="must be at least 1"):
        against_pytorch.Config(**{option: 0})


@pytest.mark.parametrize("system", ["autoencoder", "super_resolver", "conv_vae"])
def test_a_systems_lowering_can_be_chosen(system: str) -> None:
    images = jax.ShapeDtypeStruct((4, 12, 12, 1), np.float32)
    key = jax.eval_shape(lambda: rng.root_key(0))

    def program(*lowering: str) -> str:
        method = SYSTEMS[system].method((12, 12, 1), *lowering)
        return jax.jit(method.step).lower(jax.eval_shape(method.init, key, images), images, key).as_text()

    assert "convolution" in program("native")
    assert "convolution" not in program("gemm")
