"""Tables and figures of the pages, written from the recorded results.

A page keeps its prose, and says in a comment what is to be written between the comment and `<!-- end -->`:

    <!-- table: vae/mnist                   the table of a result
    rows: train | test                      only these lines, in this order
    columns: loss | psnr                    only these columns
    transposed                              a line for each metric
    -->

    <!-- run: vae/mnist -->                 date, commit, seeds and hardware, the commands, and the table, with the same
                                            settings

    <!-- grid: latents                      a table of several results, here over the number of latents:
    rows: 2 | 16 | 128                      a line for each, whose name stands for {row} in the columns' figures
    PCA: vae/mnist-latents{row} test: PCA, {row} components/psnr
    VAE: vae/mnist-latents{row} test/psnr
    figure: figures/vae_latents.png         also drawn, where the rows are numbers
    y: PSNR on MNIST's test set, dB         the figure's vertical axis
    -->

    <!-- references: vae/mnist | aae/mnist -->      ours, the reference, and whether it was reached

    <!-- text
    | latents | psnr                         | gain                                            |
    | 16      | {vae/mnist test/psnr}        | {vae/mnist test/psnr - test: PCA, 16/psnr!.2g}  |
    -->                                     any text, with figures in it

    <!-- text: experiments/results/layouts/readme_studies.txt -->      the same, from a file

Of a text, "{<result> <figure>}" is written out. A figure is line/column or "reference", the value that the result is
first compared with. It may be a difference, line/column - line/column, or sqrt(line/column² - line/column²), and may be
divided: / <result> <figure>. "!mean" leaves the sd out, and "!.1f" formats the mean. Instead of a figure there may be
reached, seeds, date, commit or time. Cells of tables are aligned, other lines are filled.
"""

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aejax.errors import UserError
from aejax.tables import markdown
from experiments.rows import grids, result
from experiments.rows.result import Result
from experiments.rows.wording import ours_of, reached_of, seeds_text, theirs_of, time_text, value

ROOT = Path(__file__).parents[2]
WIDEST = 138  # characters of a table, which may have 140
BLOCK = re.compile(r"^<!-- (table|run|grid|references|text)\b:?(.*?)-->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{([a-z0-9_]+/[\w.\-]+) ([^{}]+)\}")
_HEADLINE = ("measure", "ours ± sd", "seeds", "reference", "reached?")


def pages() -> list[Path]:
    """Returns the pages whose tables are written."""
    return [ROOT / "README.md", ROOT / "experiments/README.md", *sorted((ROOT / "experiments/results").glob("*.md"))]


def write_all() -> Iterator[Path]:
    """Writes the tables of all pages; yields those that have changed."""
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = written(old, page.name)
        if new != old:
            page.write_text(new, encoding="utf-8")
            yield page
        for grid in grids_of(new):
            if grids.draw(grid, page.parent):
                yield page.parent / str(grid.figure)


def grids_of(text: str) -> list[grids.Grid]:
    """Returns the grids that a page asks for."""
    return [grids.read(found[2].strip("\n ")) for found in BLOCK.finditer(text) if found[1] == "grid"]


def written(text: str, page: str = "page") -> str:
    """Returns a page's text with everything written that its comments ask for.

    Raises:
      UserError: for a result, a line or a column that is not recorded, with the page's name.
    """

    def fill(found: re.Match) -> str:
        content = of_block(found[1], found[2].strip("\n "))
        return f"<!-- {found[1]}{_comment(found[0])}\n\n{content}\n\n<!-- end -->"

    try:
        return BLOCK.sub(fill, text)
    except UserError as error:
        raise UserError(f"{page}: {error}") from None


def of_block(kind: str, body: str) -> str:
    """Returns what a comment asks for: its kind, and the text after it."""
    if kind == "text":
        text = _PLACEHOLDER.sub(lambda found: value(result.read(found[1]), found[2]), text_of(body))
        return _filled(aligned(text))
    if kind == "grid":
        return grids.table(grids.read(body))
    if kind == "references":
        return references([result.read(name.strip()) for name in body.split("|")])
    name, *lines = body.splitlines()
    settings: dict[str, list[str]] = {}
    for line in lines:
        setting, _, values = line.partition(":")
        settings[setting.strip()] = [part.strip() for part in values.split("|")]
    if unknown := set(settings) - {"rows", "columns", "transposed"}:
        raise UserError(f"{name}: there is no setting {min(unknown)!r}: choose from rows, columns, transposed")
    one = result.read(name.strip())
    shown = table(one, settings.get("rows"), settings.get("columns"), transposed="transposed" in settings)
    return shown if kind == "table" else f"{provenance(one)}\n\n{shown}"


def text_of(body: str) -> str:
    """Returns the text of a comment, or of the file that it names."""
    return (ROOT / body).read_text(encoding="utf-8") if re.fullmatch(r"[\w/]+\.txt", body) else body


def table(
    one: Result, rows: list[str] | None = None, columns: list[str] | None = None, *, transposed: bool = False
) -> str:
    """Returns a result's figures as a Markdown table, or as several below each other where one would be too wide.

    Raises:
      UserError: for a line or a column that the result does not have.
    """
    for line in rows or ():
        if line not in one.figures:
            raise UserError(f"there is no line {line!r}: choose from {', '.join(one.figures)}")
    for column in columns or ():
        if not any(column in one.figures[line] for line in rows or one.figures):
            raise UserError(f"there is no column {column!r} in these lines: {', '.join(rows or one.figures)}")
    figures = {line: one.figures[line] for line in rows or one.figures}
    names = columns or list(dict.fromkeys(column for line in figures.values() for column in line))
    cells = {line: {name: found[name].cell() for name in names if name in found} for line, found in figures.items()}
    cells = {line: found for line, found in cells.items() if found}
    if transposed:
        cells = {name: {line: found[name] for line, found in cells.items() if name in found} for name in names}
    return markdown(cells, "metric" if transposed else "split", WIDEST)


def provenance(one: Result) -> str:
    """Returns when, where and how a result was made, and its commands, as Markdown."""
    facts = [one.date or "date not known", f"commit {one.commit or 'not known'}"]
    if one.seeds:
        facts.append(f"{'seed' if len(one.seeds) == 1 else 'seeds'} {seeds_text(one.seeds)}")
        facts[-1] += ", mean ± sample standard deviation" if len(one.seeds) > 1 else ""
    if one.seconds is not None:
        facts.append(f"{time_text(one.seconds)} in all")
    machine = "; ".join(f"{name} {value}" if name in VERSIONS else str(value) for name, value in _shown(one).items())
    sentences = [", ".join(facts) + ".", f"{machine}." if machine else "", one.note or ""]
    commands = "\n".join(map(_wrapped, one.commands))
    paragraphs = [_filled(" ".join(filter(None, sentences)))]
    if one.not_remade is not None:
        paragraphs.append(_filled(f"`python -m experiments.reproduce` does not run this again: {one.not_remade}."))
    return "\n\n".join([*paragraphs, f"```\n{commands}\n```"] if commands else paragraphs)


VERSIONS = ("python", "jax", "flax", "optax")


def _shown(one: Result) -> Mapping[str, Any]:
    order = ("machine", "devices", *VERSIONS)
    return {name: one.environment[name] for name in order if one.environment.get(name)}


def references(results: list[Result]) -> str:
    """Returns a table of ours, the reference and whether it was reached, for all references of the results."""
    lines = [["study", *_HEADLINE]]
    for one in results:
        for reference in one.references:
            arrow = {"higher": " ↑", "lower": " ↓"}.get(reference.get("better") or "", "")
            ours, theirs = ours_of(one, reference), theirs_of(one, reference)
            source = [theirs.cell()] if theirs is not None else []
            source += [reference["source"]] if reference.get("source") else []
            known = ("", "") if ours is None else (ours.cell(), seeds_text(one.seeds))
            shown = ", ".join(source) or "none"
            lines.append([reference["study"], reference["measure"] + arrow, *known, shown, reached_of(one, reference)])
    return aligned("\n".join("| " + " | ".join(line) + " |" for line in lines))


def aligned(text: str) -> str:
    """Aligns the cells of each Markdown table in a text; a rule is put below its first line."""
    lines, found, result_lines = text.splitlines(), [], []
    for line in [*lines, ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                found.append(cells)
            continue
        if found:
            result_lines += _table_lines(found)
            found = []
        result_lines.append(line)
    return "\n".join(result_lines).rstrip("\n")


def _table_lines(rows: list[list[str]]) -> list[str]:
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(width)]
    rows.insert(1, ["-" * size for size in widths])
    return ["| " + " | ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)) + " |" for row in rows]


def _comment(block: str) -> str:
    """The comment of a block after its kind, as the page has it."""
    opening = block[: block.index("-->") + len("-->")]
    return re.sub(r"^<!-- \w+", "", opening)


def _wrapped(command: str) -> str:
    """Breaks a command over lines of at most 118 characters."""
    lines = [""]
    for word in shlex.split(command):
        quoted = shlex.quote(word)
        if len(lines[-1]) + len(quoted) > 115 and lines[-1]:
            lines.append("  " + quoted)
        else:
            lines[-1] = f"{lines[-1]} {quoted}".lstrip() if len(lines) == 1 else f"{lines[-1]} {quoted}"
    return " \\\n".join(lines)


def _filled(text: str) -> str:
    """Breaks each paragraph that is no table at 120 characters, and indents the further lines of an item of a list."""

    def fill(paragraph: str) -> str:
        indent = "  " if paragraph.startswith("- ") else ""
        words = " ".join(paragraph.split())
        return textwrap.fill(words, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

    parts = re.split(r"\n\n+|\n(?=- )", text)
    return "\n\n".join(part if part.startswith("|") else fill(part) for part in parts).replace("\n\n- ", "\n- ")
