"""Tables and the picture of finished runs, from their summaries."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.errors import UserError
from aejax.training.config import options_as_json
from experiments import aae
from experiments.summarize import Config, by_configuration, main, read

CODES, FLOOR = "prior match: codes", "prior match: two prior samples"
X, Y = f"{CODES}/sliced_wasserstein", "held_out/bce"


def finished(folder: Path, bce: float | list[float], distance: float | list[float], **options: Any) -> Path:
    """Writes what a run of `experiments.aae` leaves."""
    table = {
        "held_out": {"bce": bce},
        "test: PCA, 2 components": {"mse": 0.03},  # one figure for all seeds
        CODES: {"sliced_wasserstein": distance},
        FLOOR: {"sliced_wasserstein": 0.5},
    }
    summary = {
        "experiment": "aae",
        "options": options_as_json(aae.Config(**options)),
        "environment": {"cpu": "some"},
        "per_seed": table,
    }
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def tables(printed: str) -> dict[str, list[list[str]]]:
    """Reads the printed tables: by row of the runs' tables, a list of cells for each configuration."""
    found = {}
    for block in printed.split("\n\n|")[1:]:
        lines = [line for line in ("|" + block).splitlines() if line.startswith("|")]
        name = printed.split("\n\n|" + block)[0].splitlines()[-1]
        found[name] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return found


def test_a_row_is_a_configuration_with_the_sd_over_its_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = (
        finished(tmp_path / "a0", 0.09, 1.5, generator_rate=2e-4),
        finished(tmp_path / "a1", 0.11, 1.7, generator_rate=2e-4, seed=1),
        finished(tmp_path / "b", 0.085, 2.5),
        finished(tmp_path / "plain", 0.07, 4.5, adversarial=False),
    )
    figure = tmp_path / "deep" / "tradeoff.png"
    main(Config(folders=folders, x=X, y=Y, figure=figure))
    assert figure.stat().st_size > 1000
    printed = capsys.readouterr().out
    found = tables(printed)
    assert list(found) == ["held_out", "test: PCA, 2 components", CODES, FLOOR]
    names = [
        "generator_rate 0.0002, adversarial True",
        "generator_rate 0.0001, adversarial True",
        "generator_rate 0.0001, adversarial False",
    ]
    assert found["held_out"] == [
        [name, cell] for name, cell in zip(names, ["0.1000 ± 0.014", "0.08500", "0.07000"], strict=True)
    ]
    assert found[CODES] == [[name, cell] for name, cell in zip(names, ["1.600 ± 0.14", "2.500", "4.500"], strict=True)]
    assert f"{names[0]}: mean ± sd over seeds 0, 1;" in printed


def test_runs_of_several_seeds_add_up_to_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [0.1, 0.12, 0.15, 0.11, 0.19]
    folders = (
        finished(tmp_path / "first", values[:2], [1.0, 1.1], seeds=2),
        finished(tmp_path / "second", values[2:4], [1.2, 1.3], seeds=2, seed=2),
        finished(tmp_path / "third", values[4:], [1.4], seed=9),
    )
    main(Config(folders=folders, rows=("held_out", "test: PCA, 2 components")))
    printed = capsys.readouterr().out
    assert tables(printed) == {
        "held_out": [["aae", f"{np.mean(values):#.4g} ± {np.std(values, ddof=1):.2g}"]],
        "test: PCA, 2 components": [["aae", "0.03000"]],
    }
    assert "over seeds 0, 1, 2, 3, 9;" in printed


def test_what_differs_is_named(tmp_path: Path) -> None:
    folders = [
        finished(tmp_path / "a", 0.09, 1.5, adversarial_b1=0.5),
        finished(tmp_path / "b", 0.09, 1.5, name="mine"),
        finished(tmp_path / "plain", 0.09, 1.5, adversarial=False, adversarial_b1=0.5),
    ]
    names = list(by_configuration([read(folder) for folder in folders]))
    assert names == [
        "adversarial_b1 0.5, adversarial True",
        "adversarial_b1 0.0, adversarial True",
        "adversarial_b1 0.5, adversarial False",
    ]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    first = finished(tmp_path / "first", 0.09, 1.5)
    (other := tmp_path / "other").mkdir()
    (other / "summary.json").write_text(json.dumps({"config": {"seed": 0}, "splits": {}}))
    (empty := tmp_path / "empty").mkdir()
    wrong = finished(tmp_path / "wrong", [0.1, 0.2, 0.3], 1.0, seeds=2, seed=5)
    for options, message in [
        ({"folders": (first, finished(tmp_path / "again", 0.09, 1.5))}, "are both of seed 0: leave one out"),
        ({"folders": (other,)}, "summary.json is damaged, or of another version"),
        ({"folders": (wrong,)}, "summary.json is damaged, or of another version"),
        ({"folders": (empty,)}, "empty holds no finished run"),
        ({"folders": ()}, "one or more runs"),
        ({"folders": (first,), "x": X}, "needs both --x and --y"),
        ({"folders": (first,), "rows": ("val",)}, "no run's table has the row 'val': there are held_out, test: PCA"),
        ({"folders": (first,), "x": X, "y": "test/bce"}, f"no run has the figure 'test/bce': there are {Y}"),
    ]:
        with pytest.raises(UserError, match=message):
            main(Config(**{"figure": tmp_path / "figure.png", **options}))  # type: ignore[arg-type]
    assert not (tmp_path / "figure.png").exists()
    (tmp_path / "a_file").touch()
    with pytest.raises(UserError, match="choose another --figure"):
        main(Config(folders=(first,), x=X, y=Y, figure=tmp_path / "a_file" / "figure.png"))
