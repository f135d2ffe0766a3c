"""What the documents point to is there, and their tables can be read."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from experiments.rows import grids, pages, result
from tests.experiments.conftest import parsed

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("experiments/**/*.md")])
WIDEST = 140  # columns of a table
NAMES = result.names()
# Pages whose tables are no results of seeds, and why.
NOT_FROM_FILES = {
    "speed.md": "times hold for one machine with nothing else on it: a new measurement is no repetition",
    "robustness.md": "the kills come at random moments",
    "checked.md": "a list of tests, which say themselves whether they hold",
    "scaling.md": "a plan on paper, which its program prints",
}
# Columns that are no metrics, and where they are explained.
NAMED_ELSEWHERE = {
    "latent_space": {"autoencoder", "VAE"},  # the two models of the page, whose share of digits read is the figure
    "vae/mnist-flax-epochs": {"aejax", "Flax's own"},  # the two programs, whose negative ELBO is the figure
    "speed": {"figure"},  # words, named by the row of the headline table
    "robustness": {"figure"},
    "scaling": {"figure"},
}


def anchors(text: str) -> set[str]:
    """Returns the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(document: Path, text: str) -> list[str]:
    """Finds relative links of a page whose file, heading or definition does not exist."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    dead = []
    for target in targets:
        path, _, anchor = target.partition("#")
        file = document.parent / path
        if target.startswith("https://"):
            continue
        if not file.exists() or (anchor and anchor not in anchors(file.read_text() if path else text)):
            dead.append(target)
    defined = {name.lower() for name in re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE)}
    return dead + [name for name in re.findall(r"\]\[([^\]]+)\]", text) if name.lower() not in defined]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere_and_tables_fit(document: Path) -> None:
    text = re.sub(r"<!--.*?-->", "", document.read_text(), flags=re.DOTALL)
    assert dead_links(document, text) == []
    assert [line for line in text.splitlines() if line.startswith("|") and len(line) > WIDEST] == []


@pytest.mark.parametrize(
    "link", ["[a](page.md#other)", "[a](none.md)", "[a](#none)", "[a][b]", "[a][b]\n\n[b]: none.md"]
)
def test_a_dead_link_would_be_noticed(tmp_path: Path, link: str) -> None:
    (tmp_path / "page.md").write_text("# A heading, here\n")
    sound = "# Own\n[a](page.md#a-heading-here) [b](#own) [c](https://jax.dev) [d][D]\n\n[d]: page.md\n\n"
    assert dead_links(tmp_path / "text.md", sound) == []
    assert len(dead_links(tmp_path / "text.md", sound + link)) == 1


def test_every_results_page_is_in_the_headline_table_and_every_figure_on_a_page() -> None:
    table = (ROOT / "experiments/README.md").read_text()
    pages = sorted((ROOT / "experiments/results").glob("*.md"))
    assert [page.name for page in pages if f"results/{page.name}" not in table] == []
    pictures = {f"figures/{file.name}" for file in (ROOT / "experiments/results/figures").iterdir()}
    assert pictures <= {name for page in pages for name in re.findall(r"\]\(([^)]+\.png)\)", page.read_text())}


@pytest.mark.parametrize("page", pages.pages(), ids=lambda file: str(file.relative_to(ROOT)))
def test_what_a_page_says_is_what_the_files_say(page: Path) -> None:
    """After a change of either: python -m experiments.reproduce --pages."""
    assert pages.written(page.read_text(), page.name) == page.read_text()
    assert [grid.figure for grid in pages.grids_of(page.read_text()) if not grids.is_drawn(grid, page.parent)] == []


@pytest.mark.parametrize("page", pages.pages(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_table_of_results_is_written_from_files(page: Path) -> None:
    by_hand = re.findall(r"^\|.*\n\| -", pages.BLOCK.sub("", page.read_text()), re.MULTILINE)
    assert (by_hand != []) == (page.name in NOT_FROM_FILES)


def test_every_result_is_on_a_page() -> None:
    blocks = [found[2].strip() for page in pages.pages() for found in pages.BLOCK.finditer(page.read_text())]
    named = "\n".join(pages.text_of(block).replace("{row}", row) for block in blocks for row in rows_of(block)) + "\n"
    assert [name for name in NAMES if not re.search(rf"(?<![\w/]){re.escape(name)}(?![\w.\-])", named)] == []


def rows_of(block: str) -> list[str]:
    """Returns what stands for {row} in a block: the lines of a grid."""
    found = re.search(r"^rows: (.*)$", block, re.MULTILINE)
    return [row.strip() for row in found[1].split("|")] if found else [""]


def test_every_study_has_a_small_result_that_is_made_again() -> None:
    studies = {name.split("/")[0] for name in NAMES if result.read(name).not_remade is None}
    assert {name.split("/")[0] for name in result.matching(("digits",))} == studies


@pytest.mark.parametrize("name", NAMES)
def test_what_made_a_result_is_a_command_of_today(name: str) -> None:
    one = result.read(name)
    assert one.commands or one.not_remade
    for command in one.commands:
        python, flag, module, *arguments = shlex.split(command)
        assert (python, flag) == ("python", "-m")
        found = importlib.import_module(module)
        assert parsed(found if hasattr(found, "main") else importlib.import_module(f"{module}.__main__"), *arguments)


@pytest.mark.parametrize("name", NAMES)
def test_every_column_of_a_result_is_in_the_glossary(name: str) -> None:
    glossary = (ROOT / "experiments/results/metrics.md").read_text()
    known = {
        term.replace(" ", "_")
        for term in re.findall(r"^### (.*)$|\*\*(\w+)\*\*", glossary, re.MULTILINE)
        for term in term
    }
    known |= NAMED_ELSEWHERE.get(name, set()) | NAMED_ELSEWHERE.get(name.split("/")[0], set())
    columns = {column for columns in result.read(name).figures.values() for column in columns}
    plain = {re.sub(r" \(.*\)$| on \w+$|(_|, )(low|high)$", "", column) for column in columns}
    assert plain - known - {"mmd floor"} == set()
