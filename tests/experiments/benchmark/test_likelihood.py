import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.data import load
from aejax.errors import UserError
from experiments.benchmark import likelihood
from experiments.benchmark.contenders import jax_likelihood
from experiments.benchmark.likelihood import Config


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """For each model size what its contenders share, with params of a short training."""
    folder, made = tmp_path_factory.mktemp("nll"), {}
    np.save(folder / "images.npy", load("digits", "train[:100]", image_size=8).images)
    for size in jax_likelihood.SIZES:
        params = str(folder / f"{size}.npz")
        spec = {"size": size, "images": f"{folder}/images.npy", "params": params, "seed": 0, "devices": 1}
        trained = jax_likelihood.build({**spec, "form": "params", "steps": 3})
        assert isinstance(trained, dict)
        assert trained["loss"] < 64  # ln 2 for each of 64 pixels, as before any training
        made[size] = {**spec, "platform": "cpu", "samples": 400, "check": 12}
    return made


@pytest.mark.parametrize("size", jax_likelihood.SIZES)
def test_all_contenders_estimate_the_same(specs: dict[str, dict[str, Any]], size: str) -> None:
    torch = pytest.importorskip("torch")
    from experiments.benchmark.contenders import torch_likelihood

    threads, found = torch.get_num_threads(), []
    for side, form in likelihood.CONTENDERS.values():
        module = jax_likelihood if side == "jax_likelihood" else torch_likelihood
        answer = module.build({**specs[size], "form": form})
        assert isinstance(answer, dict)
        found.append(np.array(answer["nll"]))
    torch.set_num_threads(threads)
    for estimates in found:
        assert estimates.shape == (12,)
        agreement = likelihood.agreement(estimates, found[0])
        assert agreement.standard_error < 0.2


def test_estimates_of_another_density_are_not_compared() -> None:
    ours = np.random.default_rng(0).normal(40, 5, 20)
    noise = np.random.default_rng(1).normal(0, 0.1, 20)
    assert abs(likelihood.agreement(ours + noise, ours).difference) < 0.1
    with pytest.raises(RuntimeError, match="differ from this project's by 1"):
        likelihood.agreement(ours + noise + 1, ours)
    with pytest.raises(RuntimeError, match="differ"):
        likelihood.agreement(ours * np.nan, ours)


class FakeWorker:
    """Takes 1 ms per image in this project's form and 20 in loops."""

    def __init__(self, spec: Mapping[str, Any], log: object, variables: object) -> None:
        self.spec = spec

    def setup(self) -> dict[str, Any]:
        if self.spec["form"] == "params":
            return {"platform": "cpu", "loss": 40.0}
        if "check" in self.spec:
            values = np.linspace(30, 50, self.spec["check"])
            return {
                "nll": list(values + (0 if self.spec["form"] == "aejax" else 0.01 * (-1) ** np.arange(len(values))))
            }
        return {"build_s": 1.0, "first_step_s": 2.0, "warm_up_s": 0.5, "device": "fake"}

    def run(self, steps: int) -> dict[str, Any]:
        assert steps == (40 if self.spec["form"] == "aejax" else 10)
        return {"seconds": steps * (0.001 if self.spec["form"] == "aejax" else 0.02), "memory_mib": 100}

    def close(self) -> None:
        pass


def test_main_leaves_a_table_a_record_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(likelihood, "Worker", FakeWorker)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    config = Config(dataset="digits", image_size=8, images=40, loop_images=10, rounds=2, runs=tmp_path)
    likelihood.main(config)

    folder = tmp_path / "benchmark_likelihood" / "digits"
    assert {file.name for file in folder.iterdir()} == {"table.md", "results.json", "benchmark.png", "workers.log"}
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    loop = next(cells for cells in lines if cells[0] == "JAX, loop over images, not compiled")
    assert loop[1:7] == ["50.00", "0.8000", "0.8000 to 0.8000", "10 images", "20.00", "+0.0000 ± 0.0023"]
    assert any(cells[0] == "GPU" and "open: JAX found no GPU" in cells[-1] for cells in lines)
    rows = json.loads((folder / "results.json").read_text())["sizes"]["flax"]["rows"]
    assert rows[0]["median"] == pytest.approx(0.04)


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[benchmark\]'"):
        likelihood.main(Config(dataset="digits", runs=tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="--sizes is empty"):
        likelihood.main(Config(dataset="digits", runs=tmp_path, sizes=()))
    assert not list(tmp_path.iterdir())
