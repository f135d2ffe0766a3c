"""A run's folder: opened by one process at a time, and again only with an equal configuration."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from aejax.errors import UserError
from aejax.training.config import RunConfig, at_least, options_as_json
from aejax.training.devices import make_mesh
from aejax.training.runs import Run, open_run, write_json

SEED = "seed 4 of 4 to 6"


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    epochs: int = at_least(1, 30)
    sizes: tuple[int, ...] = (4, 2)


def refusal(config: RunConfig) -> str:
    """The one line that `open_run` refuses with."""
    with pytest.raises(UserError) as error, open_run(config, "exp"):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def opened(config: RunConfig) -> Path:
    with open_run(config, "exp") as run:
        return run.path


def test_a_run_has_its_folder_and_configuration(tmp_path: Path) -> None:
    assert opened(Config(runs=tmp_path, name="one")) == tmp_path / "exp" / "one"
    record = json.loads((tmp_path / "exp/one/config.json").read_text())
    assert (record["layout"], record["experiment"], record["options"]) == (2, "exp", options_as_json(Config()))
    assert record["environment"]["platform"] == jax.default_backend()


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({}, "mnist-seed0"),
        ({"dataset": "digits", "seed": 3}, "digits-seed3"),
        ({"dataset": "some/where/mine.npz"}, "mine.npz-seed0"),
    ],
)
def test_a_run_without_a_name_is_called_by_dataset_and_seed(tmp_path: Path, options: dict, folder: str) -> None:
    assert opened(Config(runs=tmp_path, **options)) == tmp_path / "exp" / folder


def test_an_equal_configuration_opens_the_run_again(tmp_path: Path) -> None:
    config = Config(runs=tmp_path, name="one")
    with open_run(config, "exp") as run:
        run.log.rewind(0)
        run.log.write(5, 1, {"train": {"loss": 1.0}})
    with open_run(config, "exp") as run:
        assert [record["step"] for record in run.log.records()] == [5]


def test_places_may_differ(tmp_path: Path) -> None:
    opened(Config(runs=tmp_path, name="one", devices=1))
    opened(Config(runs=tmp_path, name="one", devices=2, data_dir=tmp_path, raw_dir=tmp_path))


def test_another_configuration_is_refused_with_its_differences(tmp_path: Path) -> None:
    opened(Config(runs=tmp_path, name="one"))
    message = refusal(Config(runs=tmp_path, name="one", clip_norm=3, sizes=(4,)))
    assert str(tmp_path / "exp" / "one") in message
    assert "clip_norm=None, not 3" in message
    assert "sizes=[4, 2], not [4]" in message
    assert "seed" not in message
    assert "--name" in message
    assert json.loads((tmp_path / "exp/one/config.json").read_text())["options"]["clip_norm"] is None


IDENTITY: dict[str, Any] = {
    "model": {"kind": "vae", "encoder": {"features": [16, 8]}, "parts": [{"kind": "a"}, {"kind": "b"}]},
    "image_shape": (4, 4, 1),
    "data": {"train": {"images": "12ab"}},
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": {**IDENTITY["model"], "encoder": {"features": [16]}}}, r"model.encoder.features=[16, 8], not [16]"),
        ({"model": {**IDENTITY["model"], "parts": [{"kind": "a"}, {"kind": "c"}]}}, "model.parts[1].kind='b', not 'c'"),
        ({"image_shape": (8, 8, 1)}, "image_shape=[4, 4, 1], not [8, 8, 1]"),
        ({"data": {"train": {"images": "34cd"}}}, "data.train.images='12ab', not '34cd'"),
        ({"data": None}, "data={'train': {'images': '12ab'}}, not None"),
    ],
)
def test_another_model_or_other_data_are_refused_by_the_field(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    config = Config(runs=tmp_path, name="one")
    for _ in range(2):
        with open_run(config, "exp", **IDENTITY):
            pass
    with pytest.raises(UserError) as error, open_run(config, "exp", **{**IDENTITY, **changed}):
        pass
    assert f" holds a run with {message}: " in str(error.value)


def test_another_precision_is_refused_and_another_jax_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(runs=tmp_path, name="one")
    opened(config)
    with jax.enable_x64(True):
        assert "x64=False, not True" in refusal(config)
    with jax.default_matmul_precision("highest"):
        assert "matmul_precision=None, not 'highest'" in refusal(config)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(jax, "__version__", "99.0")
    opened(config)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "begun with jax" in err
    assert "going on with jax 99.0 on" in err


@pytest.mark.parametrize("change", ["taken", "added"])
def test_an_option_that_only_one_of_the_two_has_is_a_difference(tmp_path: Path, change: str) -> None:
    config = Config(runs=tmp_path, name="one")
    file = opened(config) / "config.json"
    record = json.loads(file.read_text())
    if change == "taken":
        del record["options"]["sizes"]
    else:
        record["options"]["old_option"] = 5
    file.write_text(json.dumps(record))
    assert {"taken": "sizes=None, not [4, 2]", "added": "old_option=5, not None"}[change] in refusal(config)


@pytest.mark.parametrize(("content", "age"), [({"seed": 0, "epochs": 30}, "an older"), ({"layout": 3}, "a newer")])
def test_a_run_of_another_layout_is_refused(tmp_path: Path, content: dict, age: str) -> None:
    config = Config(runs=tmp_path, name="one")
    (opened(config) / "config.json").write_text(json.dumps(content))
    assert f"one holds a run of {age} layout" in refusal(config)


@pytest.mark.parametrize("options", [{"seed": 2**32}, {"seed": 2**63}, {"seed": 2**32 - 2, "seeds": 3}])
def test_a_seed_that_would_be_another_ones_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=rf"^--seeds? {options.get('seeds', '')}.*must be below {2**32}"):
        Config(**options)
    assert Config(seed=2**32 - 2, seeds=2).seeds == 2


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    config = Config(runs=tmp_path, name="one")
    with open_run(config, "exp"):
        assert re.search(r"one is in use by another process.*--name", refusal(config))
        opened(Config(runs=tmp_path, name="two"))
    opened(config)


def test_an_error_inside_closes_and_frees_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(runs=tmp_path, name="one")
    closed = []

    def fail(run: Run) -> None:
        for part in (run.log, run.checkpoints):
            monkeypatch.setattr(part, "close", lambda part=part, close=part.close: closed.append(part) or close())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), open_run(config, "exp") as run:
        fail(run)
    assert closed == [run.log, run.checkpoints]
    opened(config)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    message = refusal(Config(runs=file, name="one"))
    assert f"{file}/exp/one cannot be written (Not a directory)" in message
    assert "--runs" in message


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "one").touch()
    assert "exp/one cannot be written (File exists)" in refusal(Config(runs=tmp_path, name="one"))


def test_a_configuration_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "exp/one/.config.json.tmp").mkdir(parents=True)
    assert "exp/one cannot be written (Is a directory)" in refusal(Config(runs=tmp_path, name="one"))


@pytest.mark.parametrize(
    "content", [b"", b'{"epochs": 3', b"[1, 2]", b"{}", b'{"layout": 2}', b"\xff\xfe\x00", b"[" * 100_000]
)
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    config = Config(runs=tmp_path, name="one")
    (opened(config) / "config.json").write_bytes(content)
    assert re.search(r"one/config\.json is damaged: .*--name", refusal(config))


@pytest.mark.parametrize("left", ["metrics.jsonl", "checkpoints"])
def test_a_run_that_lost_its_configuration_is_refused(tmp_path: Path, left: str) -> None:
    (tmp_path / "exp/one" / left).mkdir(parents=True)
    assert "holds a run without its config.json" in refusal(Config(runs=tmp_path, name="one"))


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"x": 1})
    with pytest.raises(TypeError):
        write_json(file, {"x": [2] * 100_000, "y": object()})
    assert json.loads(file.read_text()) == {"x": 1}
    write_json(file, {"x": 3})
    assert json.loads(file.read_text()) == {"x": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_figure_lands_in_figures(tmp_path: Path) -> None:
    with open_run(Config(runs=tmp_path, name="one"), "exp") as run:
        run.figure("empty", Figure())
        assert (run.path / "figures/empty.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("seeds", "every_seed", "shown"), [(1, False, []), (3, False, [SEED]), (3, True, [])])
def test_a_figure_of_one_of_several_seeds_says_which(
    tmp_path: Path, seeds: int, every_seed: bool, shown: list[str]
) -> None:
    figure = Figure()
    with open_run(Config(runs=tmp_path, name="one", seed=4, seeds=seeds), "exp") as run:
        run.figure("empty", figure, every_seed=every_seed)
    assert [text.get_text() for text in figure.texts] == shown


def test_finish_leaves_a_summary_curves_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(runs=tmp_path, name="one")
    splits: Any = {"train": {"loss": 81.4321, "bce": 0.25}, "test": {"loss": 90.0, "bce": 1 / 3}}
    seeds = {"samples": {"frechet": np.array([1.0, 3.0])}}
    with open_run(config, "exp") as run:
        run.log.rewind(0)
        for epoch in (1, 2):
            run.log.write(5 * epoch, epoch, {name: {"loss": 9.0 / epoch, "bce": 0.5 / epoch} for name in splits})
        run.finish(config, make_mesh(2, 4), splits | seeds)

    summary = json.loads((tmp_path / "exp/one/summary.json").read_text())
    assert set(summary) == {"experiment", "options", "environment", "command", "seconds", "splits", "per_seed"}
    assert (summary["experiment"], summary["options"]) == ("exp", options_as_json(config))
    assert summary["environment"]["devices"].startswith("2 x cpu")
    assert summary["splits"] == splits | {"samples": {"frechet": 2.0, "frechet_sd": pytest.approx(2**0.5)}}
    assert summary["per_seed"] == splits | {"samples": {"frechet": [1.0, 3.0]}}
    assert (tmp_path / "exp/one/figures/learning_curves.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "| test    | 90.00 | 0.3333 |             |" in printed
    assert "| samples |       |        | 2.000 ± 1.4 |" in printed
    assert str(tmp_path / "exp" / "one") in printed


def test_the_time_is_that_of_one_program_or_not_known(tmp_path: Path) -> None:
    config, mesh = Config(runs=tmp_path, name="one"), make_mesh(2, 4)
    seconds = []
    for _ in range(2):
        with open_run(config, "exp") as run:
            run.finish(config, mesh, {"test": {"loss": 1.0}})
        seconds.append(json.loads((run.path / "summary.json").read_text())["seconds"])
    assert seconds[0] > 0
    assert seconds[1] is None
