"""Recorded results: files, comparison with a new run, and the pages' tables."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.errors import UserError
from experiments import reproduce
from experiments.rows import grids, pages, result, running
from experiments.rows.comparison import compare, overall
from experiments.rows.result import Figure, Result
from tests.experiments import conftest

TINY = (
    "python -m experiments.autoencoder --dataset digits --limit 40 --network dense --hidden 8 --latents 2"
    " --epochs 1 --batch-size 20"
)


@pytest.fixture(autouse=True)
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(result, "ROWS", tmp_path / "rows")
    return tmp_path / "rows"


def finished(folder: Path, seeds: list[int], **more: Any) -> Path:
    """Writes the summary of a run with these seeds, whose loss is 1 + seed / 10."""
    folder.mkdir(parents=True)
    summary = {
        "experiment": "vae",
        "options": {"dataset": "digits", "epochs": 3, "seed": seeds[0], "seeds": len(seeds)},
        "environment": {"commit": "abc", "finished": "2026-01-02", "jax": "0"},
        "command": "python -m experiments.vae --dataset digits",
        "seconds": 5.0,
        "per_seed": {"test": {"loss": [1 + seed / 10 for seed in seeds]}, "test: PCA": {"psnr": 20.0}},
    }
    (folder / "summary.json").write_text(json.dumps(summary | more))
    return folder


def test_a_figure_is_equal_to_all_recorded_digits_or_it_is_not() -> None:
    recorded = Figure.of_seeds([1.0000001, 2.0])
    assert compare(recorded, Figure.of_seeds([1.00000012, 2.0])).kind == "equal"
    assert compare(recorded, Figure.of_seeds([1.00001, 2.0])).kind == "within"
    assert compare(Figure(0.5), Figure(0.5)).kind == "equal"
    assert compare(Figure(0.5), Figure(0.50002)).kind == "within"
    assert compare(Figure(0.5), Figure(0.5002)).kind == "differs"
    assert compare(Figure(0.5), Figure(0.5002), tolerance=1e-3).kind == "within"
    assert compare(Figure(0.5), None).kind == "differs"


def test_printed_figures_are_equal_to_the_digits_that_were_printed() -> None:
    found = Figure.of_seeds([1.23, 1.25, 1.2745])
    assert compare(Figure(1.252, 0.022, printed=True), found).kind == "equal"
    assert compare(Figure(1.251, 0.022, printed=True), found).kind == "within"
    assert compare(Figure(101.17, printed=True), Figure.of_seeds([101.1699])).kind == "equal"
    assert compare(Figure(101.17, printed=True), Figure.of_seeds([101.24])).kind == "unknown"


def test_z_is_the_normal_score_of_students_t() -> None:
    """Two seeds each: two degrees of freedom, whose t of 9.925 has the two-sided probability 0.01, as 2.576 of N."""
    spread = np.array([-0.5, 0.5])  # s² = 0.5, and sqrt(s² (1/2 + 1/2)) = sqrt(0.5)
    recorded = Figure.of_seeds(spread)
    assert compare(recorded, Figure.of_seeds(spread + 9.925 * math.sqrt(0.5))).text.endswith("(z = 2.6)")
    assert compare(recorded, Figure.of_seeds(spread - 9.925 * math.sqrt(0.5))).text.endswith("(z = -2.6)")
    assert compare(recorded, Figure.of_seeds(spread + 20 * math.sqrt(0.5))).kind == "differs"
    many = np.random.default_rng(0).normal(size=2000)
    many /= many.std(ddof=1)
    z = compare(Figure.of_seeds(many), Figure.of_seeds(many + 2.5 * math.sqrt(2 / 2000))).z
    assert z == pytest.approx(2.5, abs=0.01)


def test_a_printed_sd_counts_as_many_seeds_as_the_new_figure_has() -> None:
    values = np.array([1.0, 2.0, 3.0])
    new = Figure.of_seeds(values + 0.3)
    assert compare(Figure(2.0, 1.0, printed=True), new).z == pytest.approx(compare(Figure.of_seeds(values), new).z)


def test_of_one_seed_no_spread_is_known_unless_a_tolerance_is_named() -> None:
    one, other = Figure.of_seeds([1.0]), Figure.of_seeds([1.1])
    assert compare(one, other).kind == "unknown"
    assert compare(one, other, tolerance=0.2).kind == "within"
    assert compare(one, other, tolerance=0.01).kind == "differs"


def test_the_line_for_all_figures_is_the_worst_of_them() -> None:
    equal, near, far = (compare(Figure.of_seeds([0.0, 1.0]), Figure.of_seeds([x, 1 + x])) for x in (0, 0.5, 1e3))
    assert overall({"a": equal}) == "equal"
    assert overall({"a": equal, "b": near}) == f"within the spread of seeds (z = {near.z:.1f})"
    assert overall({"a": equal, "b": near, "c": far}) == "differs: 1 of 3 figures"


def test_a_file_gives_back_what_was_written(rows: Path) -> None:
    figures = {
        "test": {"a": Figure.of_seeds([1.0, 2.5]), "b": Figure(3.25), "c": Figure(1.2, 0.1, printed=True)},
        "other: x, y": {"a": Figure(7.0, printed=True), "d": Figure(text="0.2 to 0.3")},
    }
    reference = {"study": "s", "measure": "m", "figure": "test/a", "better": "lower", "value": 2, "source": None}
    whole = Result(title="t", commands=("python -m x",), seeds=(0, 1), references=(reference,), figures=figures)
    file = result.write("vae/some-1.5", whole)
    assert result.read("vae/some-1.5") == whole
    assert result.names() == ["vae/some-1.5"]
    assert list(rows.rglob("*.tmp")) == []
    result.write("vae/some-1.5", result.read("vae/some-1.5"))
    assert '      "a": {"values": [1.0, 2.5]},\n' in file.read_text()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("digits", ["aae/digits", "vae/digits", "vae/digits-conv"]),
        ("aae", ["aae/digits", "aae/mnist"]),
        ("vae/digits-c", ["vae/digits-conv"]),
    ],
)
def test_a_word_means_a_study_or_the_start_of_a_name(word: str, meant: list[str]) -> None:
    for name in ("aae/digits", "aae/mnist", "aae_priors/x", "vae/digits", "vae/digits-conv"):
        result.write(name, Result(title="t"))
    assert result.matching((word,)) == meant
    with pytest.raises(UserError, match="--list"):
        result.matching(("none",))


def test_finished_runs_become_one_result(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "a", [0, 1]), finished(tmp_path / "b", [2], seconds=7.0)
    conftest.run(reproduce, "--record", "vae/digits", "--from", first, second, "--title", "some words")
    found = result.read("vae/digits")
    assert found.title == "some words"
    assert found.seeds == (0, 1, 2)
    assert found.seconds == 12.0
    assert (found.commit, found.date, found.environment) == ("abc", "2026-01-02", {"jax": "0"})
    assert found.commands == ("python -m experiments.vae --dataset digits",)
    assert found.figure("test/loss").values == (1.0, 1.1, 1.2)
    assert found.figure("test: PCA/psnr") == Figure(20.0)


def test_what_was_written_by_hand_stays_when_a_result_is_recorded_again(tmp_path: Path) -> None:
    reference = {"study": "s", "measure": "m", "figure": "test/loss", "better": "lower", "value": 2}
    by_hand = Result(title="by hand", note="a note", tolerance=0.5, references=(reference,))
    result.write("vae/digits", by_hand)
    conftest.run(reproduce, "--record", "vae/digits", "--from", finished(tmp_path / "a", [0]))
    found = result.read("vae/digits")
    kept = ("title", "note", "tolerance", "references")
    assert [getattr(found, name) for name in kept] == [getattr(by_hand, name) for name in kept]
    assert found.figure("test/loss").values == (1.0,)


def test_runs_of_other_options_or_of_one_seed_are_no_result(tmp_path: Path) -> None:
    one = running.read_finished(finished(tmp_path / "a", [0, 1]))
    with pytest.raises(UserError, match="a seed in common"):
        running.figures_of([one, running.read_finished(finished(tmp_path / "b", [1, 2]))])
    options = {"dataset": "digits", "epochs": 4, "seed": 5}
    with pytest.raises(UserError, match="differ in --epochs"):
        running.figures_of([one, running.read_finished(finished(tmp_path / "c", [5], options=options))])
    with pytest.raises(UserError, match="--command"):
        running.result_of([running.read_finished(finished(tmp_path / "d", [7], command=None))])


def test_a_recorded_command_names_no_place_of_the_machine_that_ran_it(tmp_path: Path) -> None:
    command = "python -m experiments.vae --runs /a/b --name x --data-dir=/c --dataset /home/me/emoji --seeds 2"
    made = running.result_of([running.read_finished(finished(tmp_path / "a", [0, 1], command=command))])
    assert made.commands == ("python -m experiments.vae --dataset emoji --seeds 2",)
    assert "emoji" in (made.not_remade or "")


def test_a_recorded_run_made_again_is_equal_and_what_was_changed_differs(capfd: pytest.CaptureFixture[str]) -> None:
    conftest.run(reproduce, "--record", "autoencoder/tiny", "--command", f"{TINY} --seeds 2")
    recorded = result.read("autoencoder/tiny")
    assert recorded.commands == (f"{TINY} --seeds 2",)
    assert recorded.seeds == (0, 1)
    assert recorded.seconds is not None
    assert {"machine", "python", "jax", "flax", "optax"} <= set(recorded.environment)
    loss = recorded.figure("test/loss")
    assert len(set(loss.values)) == 2
    moved = {**recorded.figures["test"], "loss": Figure.of_seeds(np.array(loss.values) + 1e6)}
    result.write("autoencoder/tiny", dataclasses.replace(recorded, figures={**recorded.figures, "test": moved}))
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        conftest.run(reproduce, "autoencoder/tiny")
    assert ended.value.code == 1
    said = capfd.readouterr().out.splitlines()
    assert said[-1].startswith("autoencoder/tiny: differs: 1 of ")
    others = [line for line in said if re.match(r"  [^:]+.*/", line) and "test/loss" not in line]
    assert len(others) > 5
    assert all(line.endswith(": equal") for line in others)


def test_a_command_that_fails_is_one_line() -> None:
    result.write("vae/wrong", Result(title="t", commands=("python -m experiments.none",)))
    with pytest.raises(UserError, match="ended with status 1"):
        reproduce.reproduce(["vae/wrong"], None)


def test_what_cannot_be_run_again_says_why() -> None:
    result.write("speed/some", Result(title="t", not_remade="times hold for one machine"))
    with pytest.raises(UserError, match="times hold for one machine"):
        reproduce.reproduce(["speed/some"], None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "a"),
        ("digits", "--pages"),
        ("--record", "no-study", "--from", "none"),
        ("--record", "vae/new"),
        ("nothing",),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        conftest.run(reproduce, *arguments)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.fixture
def recorded() -> Result:
    figures = {
        "test": {"psnr": Figure.of_seeds([20.0, 21.0]), "loss": Figure.of_seeds([1.0, 2.0])},
        "test: PCA, 2": {"psnr": Figure(15.0)},
    }
    references = (
        {"study": "[a]", "measure": "PSNR", "figure": "test/psnr", "better": "higher", "value": "test: PCA, 2/psnr"},
        {"study": "b", "measure": "loss", "figure": "test/loss", "better": "lower", "value": 1.2, "source": "paper"},
        {"study": "c", "measure": "error", "figure": None, "better": "lower", "value": 0.5},
    )
    command = ("python -m experiments.vae --dataset digits",)
    one = Result(title="t", commands=command, commit="abc", seeds=(0, 1), figures=figures, references=references)
    result.write("vae/x", one)
    return one


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("test/psnr", "20.50 ± 0.71"),
        ("test/psnr!mean", "20.50"),
        ("test/psnr!.1f", "20.5"),
        ("test/psnr - test: PCA, 2/psnr", "5.500 ± 0.71"),
        ("test/psnr - test/loss", "19.00"),
        ("sqrt(test/psnr² - test: PCA, 2/psnr²)!.3f", "13.973"),
        ("test/psnr / vae/x test/loss", "13.67"),
        ("test/psnr - test: PCA, 2/psnr / vae/x test/loss!.1f", "3.7"),
        ("reference", "15.00"),
        ("reached", "reached"),
        ("seeds", "0-1"),
        ("date", "not known"),
    ],
)
def test_a_text_names_figures_of_results(what: str, text: str) -> None:
    assert pages.of_block("text", f"a {{vae/x {what}}} b") == f"a {text} b"


@pytest.mark.usefixtures("recorded")
def test_a_page_is_written_once_and_stays_as_it_is() -> None:
    page = (
        "# Title\n\n<!-- table: vae/x -->\n<!-- end -->\n\nprose\n\n"
        "<!-- table: vae/x\nrows: test\ntransposed\n-->\nold\n<!-- end -->\n\n"
        "<!-- run: vae/x -->\n<!-- end -->\n\n<!-- references: vae/x | vae/x -->\n<!-- end -->\n\n"
        "<!-- text\n| a | bb |\n| {vae/x test/loss} | |\n-->\n<!-- end -->\n"
    )
    once = pages.written(page)
    assert pages.written(once) == once
    assert "| test         | 20.50 ± 0.71 | 1.500 ± 0.71 |\n| test: PCA, 2 | 15.00        |              |" in once
    assert "| psnr   | 20.50 ± 0.71 |\n| loss   | 1.500 ± 0.71 |\n\n<!-- end -->" in once
    assert "date not known, commit abc, seeds 0-1, mean ± sample standard deviation." in once
    assert "```\npython -m experiments.vae --dataset digits\n```" in once
    assert "| a            | bb |\n| ------------ | -- |\n| 1.500 ± 0.71 |    |" in once
    assert "old" not in once


def test_a_grid_has_a_figure_of_several_results_and_is_drawn_when_they_change(tmp_path: Path) -> None:
    def record(latents: int, psnr: float) -> None:
        figures = {"test": {"psnr": Figure.of_seeds([psnr, psnr + 1])}, f"test: PCA, {latents}": {"psnr": Figure(9.0)}}
        result.write(f"vae/mnist-{latents}", Result(title="t", seeds=(0, 1), figures=figures))

    for latents in (2, 16, 128):
        record(latents, latents / 10)
    comment = (
        "<!-- grid: latents\nrows: 2 | 16 | 128\nPCA: vae/mnist-{row} test: PCA, {row}/psnr\n"
        "VAE: vae/mnist-{row} test/psnr\nfigure: psnr.png\ny: PSNR, dB\n-->\n"
    )
    text = pages.written(f"{comment}<!-- end -->\n")
    assert "| 16      | 9.000 | 2.100 ± 0.71  |" in text
    (grid,) = pages.grids_of(text)
    assert not grids.is_drawn(grid, tmp_path)
    assert grids.draw(grid, tmp_path)
    assert not grids.draw(grid, tmp_path)
    record(16, 5.0)
    assert pages.written(text) != text
    assert not grids.is_drawn(pages.grids_of(text)[0], tmp_path)


@pytest.mark.usefixtures("recorded")
def test_a_miss_is_said_to_be_one() -> None:
    lines = pages.of_block("references", "vae/x").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["[a]", "PSNR ↑", "20.50 ± 0.71", "0-1", "15.00", "reached"],
        ["b", "loss ↓", "1.500 ± 0.71", "0-1", "1.2, paper", "**missed**"],
        ["c", "error ↓", "", "", "0.5", "not run"],
    ]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    "block",
    [
        "<!-- table: vae/y -->",
        "<!-- table: vae/x\nrows: train\n-->",
        "<!-- table: vae/x\ncolumns: bce\n-->",
        "<!-- table: vae/x\nfoo: bar\n-->",
        "<!-- text\n{vae/x test/bce}\n-->",
        "<!-- grid: latents\nrows: 2 | 3\nVAE: vae/x{row} test/psnr\n-->",
        "<!-- grid: latents\nVAE: vae/x test/psnr\n-->",
    ],
)
def test_what_is_not_recorded_cannot_be_on_a_page(block: str) -> None:
    with pytest.raises(UserError, match="page\\.md: "):
        pages.written(f"{block}\n<!-- end -->\n", "page.md")
