"""What the documents point to is there, and their tables can be read."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("experiments/**/*.md")])
WIDEST = 140  # columns of a table


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
    text = document.read_text()
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
