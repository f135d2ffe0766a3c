import json
from pathlib import Path
from typing import Any

import pytest

from aejax.cli import parse
from aejax.errors import UserError
from aejax.training.config import RunConfig
from experiments.benchmark.contenders.limits import Limits
from experiments.benchmark.harness.report import open_on_gpu, options_of_runs, refuse_other_recipes
from experiments.benchmark.harness.rounds import Plan, Row, Spent
from experiments.benchmark.reports import against_pytorch as report
from experiments.benchmark.reports.against_pytorch import Result

ROWS = [
    Row("ours", "ours", [2.0, 1.0, 4.0], 12.0, 0.25, 700, "2 x cpu"),
    Row("PyTorch", "rival", [9.0, 9.0, 9.0], 1.0, 0.5, 800, "cpu"),
    Row("PyTorch, channels_last", "rival", [4.0, 8.0, 5.0], 1.0, 0.5, 810, "cpu"),
    Row("PyTorch, compiled", "rival", [3.0], note="screened out, timed over 10 steps"),
    Row("PyTorch, fused Adam", "rival", note="failed: no compiler"),
    Row("tutorial", "once", [1.5], note="timed once, not counted"),
    Row("GPU", "ours", note="open: no GPU"),
]
RESULT = Result(
    "autoencoder",
    {"parameters": 4385, "logits_differ_by": 2e-7, "logits_after_a_step_differ_by": 3e-6},
    Plan(3, 10, 5, 10),
    100,
    ROWS,
    Limits(2e7, 1e7, 1e6, 4e9, 1e9),
    Spent(30.0, 60.0, 10.0),
    0.25,
)


def test_the_best_is_the_setting_with_the_lowest_median_over_all_rounds() -> None:
    assert report.best_rival(ROWS) is ROWS[2]
    assert report.best_rival(ROWS[:1] + ROWS[3:]) is None


def test_ratios_of_medians_and_by_round() -> None:
    assert report.ratios(ROWS[0], ROWS[2]) == (2.0 / 5.0, 0.5)  # the median of 2/4, 1/8, 4/5
    assert report.ratios(ROWS[2], ROWS[2]) == (1.0, 1.0)
    assert report.ratios(ROWS[5], ROWS[2]) == (0.3, None)


def test_a_gpu_that_was_not_there_is_said_to_be_missing() -> None:
    assert open_on_gpu(["2 x cpu", "", "1 x cpu"]) == ["GPU: open, as JAX found none here."]
    assert open_on_gpu(["1 x NVIDIA H100"]) == []


def test_table() -> None:
    lines = report.table(ROWS, RESULT.images_per_epoch).splitlines()
    header, _, ours, slow, best, screened, failed, tutorial, gpu = [
        [c.strip() for c in line.split("|")[1:-1]] for line in lines
    ]

    assert header[:6] == ["contender", "s/epoch", "min to max", "images/s", "ratio to PyTorch's best", "by round"]
    assert header[6:] == ["start-up, s", "warm-up, s", "peak memory, MiB", "device", "note"]
    assert ours == ["ours", "2.000", "1.000 to 4.000", "500", "0.400", "0.500", "12.0", "0.25", "700", "2 x cpu", ""]
    assert slow[4:6] == ["1.800", "1.800"]
    assert best[4:6] == ["1.000", "1.000"]
    assert best[-1] == "PyTorch's best"
    assert screened == ["PyTorch, compiled", "3.000", "", "333", "0.600", "", "", "", "", "", ROWS[3].note]
    assert failed == ["PyTorch, fused Adam", *[""] * 9, "failed: no compiler"]
    assert tutorial[1:6] == ["1.500", "", "667", "0.300", ""]
    assert gpu == ["GPU", *[""] * 9, "open: no GPU"]


def test_table_without_any_of_pytorch() -> None:
    lines = report.table([ROWS[0], ROWS[4]], 1000).splitlines()
    assert [c.strip() for c in lines[2].split("|")[1:7]] == ["ours", "2.000", "1.000 to 4.000", "500", "", ""]


def test_record_holds_the_figures_of_the_table() -> None:
    values = json.loads(json.dumps(report.record([RESULT], {})))["systems"]["autoencoder"]

    assert values["pytorch_best"] == "PyTorch, channels_last"
    assert values["steps_per_epoch"] == 10
    ours, *_, gpu = values["rows"]
    assert ours["seconds"] == [2.0, 1.0, 4.0]
    assert (ours["median"], ours["images_per_second"]) == (2.0, 500.0)
    assert (ours["ratio_of_medians"], ours["median_of_ratios"]) == (0.4, 0.5)
    assert "median" not in gpu


def test_a_record_gives_the_results_back() -> None:
    bare = RESULT._replace(system="vae", rows=ROWS[:1], limits=None, spent=None, load_average=None)
    values = json.loads(json.dumps(report.record([RESULT, bare], {})))
    assert report.results_of(values) == [RESULT, bare]


def test_the_time_that_went_into_compilation_is_said() -> None:
    said = "This took 100 s: 30 s (30%) to start and compile, 60 s in measurements, 10 s for checks."
    assert f"{said} The load average before was 0.25." in report.section(RESULT)


def test_figure_shows_what_was_measured() -> None:
    figure = report.figure([RESULT, RESULT._replace(system="denoiser", rows=ROWS[4:5])], "title")
    panel, empty = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == [row.name for row in ROWS if row.seconds]
    assert [bar.get_width() for bar in panel.patches] == [2.0, 9.0, 5.0, 3.0, 1.5]
    texts = [text.get_text() for text in panel.texts]
    assert texts[0] == "2.000 s, ratio 0.40"
    assert texts[2] == "5.000 s, PyTorch's best"
    assert texts[4] == "1.500 s, ratio 0.30, timed once"
    assert not empty.patches


OTHER_RECIPES: list[dict[str, Any]] = [
    {"clip_norm": 1.0},
    {"weight_decay": 0.1},
    {"schedule": "cosine"},
    {"ema_decay": 0.9},
    {"seeds": 2},
    {"limit": 100},
    {"feed": "streaming"},
    {"distributed": True},
]


@pytest.mark.parametrize("options", OTHER_RECIPES, ids=str)
def test_options_that_would_time_something_else_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    taken = {"dataset": "digits", "image_size": 12, "seed": 3, "devices": 1, "runs": tmp_path, "name": "a"}
    refuse_other_recipes(RunConfig(**taken))
    (option,) = options
    with pytest.raises(UserError, match=f"--{option.replace('_', '-')} has no meaning here"):
        refuse_other_recipes(RunConfig(**taken, **options))


def test_an_experiment_gets_the_options_that_were_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = RunConfig(dataset="digits", clip_norm=0.5, skip_unreadable=True, schedule="cosine", data_dir=tmp_path)
    monkeypatch.setattr("sys.argv", ["experiment", *options_of_runs(config)])
    assert parse(RunConfig) == config
    assert options_of_runs(RunConfig(name="a", runs=tmp_path)) == []
    with pytest.raises(UserError, match="--distributed belongs to the experiments"):
        options_of_runs(RunConfig(distributed=True))
