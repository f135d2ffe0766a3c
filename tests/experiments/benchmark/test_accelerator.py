"""The benchmark for the day that a GPU is lent: its order, its time, and what it keeps."""

import functools
import json
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.errors import UserError
from experiments.benchmark import accelerator
from experiments.benchmark import accelerator_stages as stages
from experiments.benchmark.contenders import card, jax_systems
from experiments.benchmark.contenders.settings import LOWERINGS, PYTORCH_GPU_SETTINGS, PYTORCH_SETTINGS
from experiments.benchmark.harness.stages import Bench, Stage


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    options, *_ = accelerator.parse(["--platform", "cpu", "--runs", str(tmp_path), "--batch-size", "8"])
    options.folder.mkdir(parents=True)
    with (options.folder / "workers.log").open("w") as log:
        yield Bench(options, log, time.monotonic() + 600, {}, {})


def lines(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bench.options.folder / "results.jsonl").read_text().splitlines()]


def test_it_starts_where_aejaxs_requirements_are_missing() -> None:
    program = "import sys, experiments.benchmark.accelerator; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert "numpy" in roots
    foreign = {"jax", "flax", "optax", "orbax", "tyro", "tqdm", "grain", "matplotlib", "absl", "filelock", "torch"}
    assert roots & foreign == set()


def test_all_that_is_to_be_found_out_has_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert set(stages.SYSTEMS) == set(jax_systems.SYSTEMS)
    assert {name for name, system in jax_systems.SYSTEMS.items() if system.dense} == set(stages._DENSE)
    options, *_ = accelerator.parse([])
    found = stages.all_stages(options)
    names = [stage.name for stage in found]
    assert len(set(names)) == len(names)
    assert tuple(dict.fromkeys(stage.group for stage in found)) == stages.GROUPS  # what is worth most comes first
    assert names[2:5] == ["smoke/autoencoder", "smoke/vae", "smoke/aae"]
    contenders = {name.split("/", 2)[2] for name in names if name.split("/")[0] in ("speed", "settings")}
    assert contenders == {"aejax", *LOWERINGS, *PYTORCH_SETTINGS, *PYTORCH_GPU_SETTINGS}
    assert "speed/vae/aejax, native lowering" not in names  # it has no convolution


def test_every_result_is_kept_at_once_and_a_failure_leaves_the_others_alone(bench: Bench) -> None:
    def fails(bench: Bench) -> dict[str, Any]:
        raise RuntimeError("out of memory\nand a long story")

    def last(bench: Bench) -> dict[str, Any]:
        return {"before": [line["stage"] for line in lines(bench)]}

    left = accelerator.run(bench, [Stage("one", lambda bench: {"value": 1}), Stage("two", fails), Stage("last", last)])
    one, two, three = lines(bench)
    assert left == []
    assert (one["stage"], one["value"]) == ("one", 1)
    assert two["failed"] == "RuntimeError: out of memory"
    assert three["before"] == ["one", "two"]

    again = accelerator.done(bench.options.folder / "results.jsonl", bench.options.as_json())
    assert list(again) == ["one", "last"]  # what failed is tried again


def test_a_stage_that_outlasts_the_time_is_killed_and_the_next_does_not_begin(bench: Bench) -> None:
    bench.deadline = time.monotonic() + accelerator._SHORTEST + 0.5

    def long(bench: Bench) -> dict[str, Any]:
        bench.deadline = time.monotonic() + 0.3
        with bench.worker({"side": "card", "ask": "device"}) as worker:
            return worker.setup()

    assert accelerator.run(bench, [Stage("long", long), Stage("late", lambda bench: {})]) == ["late"]
    assert [line["failed"] for line in lines(bench)] == ["the time was over"]


def test_a_smoke_test_that_fails_says_why_in_a_line(bench: Bench) -> None:
    result = accelerator.attempt(bench, Stage("smoke/nothing", functools.partial(stages._smoke, "nothing")))
    assert result is not None
    assert result["failed"].startswith("RuntimeError: status 1: ")
    assert result["failed"].endswith("No module named experiments.nothing")


def test_results_of_other_options_are_not_mixed(bench: Bench) -> None:
    options = bench.options.as_json()
    accelerator.keep(bench, {"stage": "machine", "options": options})
    file = bench.options.folder / "results.jsonl"
    with file.open("a") as out:
        out.write('{"stage": "cut o')
    assert list(accelerator.done(file, options)) == ["machine"]
    with pytest.raises(UserError, match=r"holds results of steps 420, not 7: choose another --name"):
        accelerator.done(file, {**options, "steps": 7})


def test_another_platform_than_asked_for_ends_it(bench: Bench) -> None:
    with pytest.raises(UserError, match="JAX found no cpu here, only a tpu: choose --platform tpu"):
        accelerator.run(bench, [Stage("device", lambda bench: {"platform": "tpu"})])


def test_stages_that_are_timed_run_alone() -> None:
    todo = [Stage(name, lambda bench: {}, overlaps=name in "bcef") for name in "abcdefg"]
    together = [[stage.name for stage in stages] for stages in accelerator.batches(todo)]
    assert together == [["a"], ["b", "c"], ["d"], ["e", "f"], ["g"]]


def test_a_stop_ends_the_processes_and_keeps_what_is_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(bench: Bench) -> dict[str, Any]:
        with bench.worker({"side": "card", "ask": "device"}) as worker:
            threading.Timer(0.2, bench.stop).start()  # as Ctrl-C does
            return worker.setup()

    todo = [Stage("done", lambda bench: {}), Stage("stopped", stopped), Stage("late", lambda bench: {})]
    began = time.monotonic()
    assert accelerator.run(bench, todo) == ["late"]
    assert time.monotonic() - began < 5
    assert [line["stage"] for line in lines(bench) if "failed" not in line] == ["done"]
    assert bench.running == []


def test_what_is_missing_can_be_carried(tmp_path: Path) -> None:
    assert "tyro" not in accelerator.missing_requirements({})
    assert accelerator.how_to_carry(["tyro", "grain"]).startswith("where there is a network: pip download")
    wheel = tmp_path / "carried-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("carried.py", "value = 7\n")
        for name, text in (
            ("METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n"),
            ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("RECORD", ""),
        ):
            file.writestr(f"carried-1.0.dist-info/{name}", text)
    environment = accelerator.unpacked(tmp_path, tmp_path / "packages")
    assert environment["PYTHONPATH"].startswith(str(tmp_path / "packages"))
    assert (tmp_path / "packages" / "carried.py").exists()
    # What the machine has is not replaced.
    wheel.rename(tmp_path / "numpy-1.0-py3-none-any.whl")
    assert accelerator.unpacked(tmp_path, tmp_path / "others") == {}


def test_requirements_that_no_distribution_meets_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", lambda path: [])
    missing = accelerator.missing_requirements({})
    assert {"jax", "tyro", "tensorflow-datasets", "importlib-resources"} <= set(missing)
    assert all(name.replace("-", "").isalnum() for name in missing)


def test_two_processes_take_the_same_step_and_a_difference_is_seen(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1))
    spec = {"ask": "step", "system": "vae", "images": f"{tmp_path}/images.npy", "batch_size": 4, "seed": 0}
    for name in ("one", "other"):
        assert card.build({**spec, "start": f"{tmp_path}/start.npz", "to": f"{tmp_path}/{name}"}) == {"platform": "cpu"}
    same = stages.differences(tmp_path / "one-highest.npz", tmp_path / "other-default.npz")
    assert same == {"losses": 0, "gradients": 0, "parameters": 0}

    with np.load(tmp_path / "one-highest.npz") as saved:
        arrays = dict(saved)
    groups = {"[1]": "losses", "[0].params": "parameters", "[0].opt_state": "gradients"}
    for beginning, what in groups.items():
        name = next(
            name for name in arrays if name.startswith(beginning) and np.issubdtype(arrays[name].dtype, np.floating)
        )
        changed = {**arrays, name: arrays[name] + 0.25 * np.abs(arrays[name]).max()}
        np.savez(tmp_path / "changed.npz", **changed)
        found = stages.differences(tmp_path / "one-highest.npz", tmp_path / "changed.npz")
        assert found.pop(what) == pytest.approx(0.25, rel=1e-3)
        assert set(found.values()) == {0}


def test_images_are_written_whatever_the_dataset_needs(tmp_path: Path) -> None:
    spec = {"ask": "images", "dataset": "no such dataset", "count": 700, "to": f"{tmp_path}/images.npy"}
    assert "random images" in card.build(spec)["note"]
    images = np.load(tmp_path / "images.npy")
    assert (images.shape, images.dtype) == ((700, 28, 28, 1), np.uint8)
    np.testing.assert_array_equal(images[512:], images[: 700 - 512])


def test_ratios_are_to_pytorchs_best() -> None:
    found = {f"speed/vae/{name}": {"ms_per_step": ms} for name, ms in (("aejax", 2.0), ("PyTorch", 8.0))}
    found |= {"settings/vae/PyTorch, bf16": {"ms_per_step": 4.0}, "speed/aae/aejax": {"ms_per_step": 1.0}}
    found["speed/vae/PyTorch, compiled"] = {"failed": "no compiler"}
    assert list(stages.ratios(found)) == ["vae: 2.000 ms per step, 0.50 of PyTorch's best (PyTorch, bf16, 4.000 ms)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes.*must be above 0.*--help explains"),
        (["--platform", "abacus"], "abacus.*--help explains"),
        (["--only", "smoke,smoking"], "--only smoke,smoking: choose from prepare, smoke"),
        (["--steps", "0"], "--steps must be at least 1, not 0"),
        (["--images", "5"], "--batch-size 256 is more than --images 5: lower it"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        accelerator.parse(arguments)


def test_a_folder_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(UserError, match=r"cannot be written .* another folder with --runs"):
        accelerator.main(["--platform", "cpu", "--runs", "/dev/null/runs"])
