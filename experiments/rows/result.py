"""A recorded result: the figures of one command, or of one per seed, with all that is needed to make them again.

Each is a file of its own, experiments/results/rows/<study>/<name>.json, and is called <study>/<name>.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aejax.errors import UserError
from aejax.tables import decimal, plus_minus

ROWS = Path(__file__).parents[1] / "results" / "rows"
DIGITS = 7  # significant digits of a recorded value
PRINTED = 4, 2  # significant digits of a mean and an sd that a page printed


@dataclass(frozen=True)
class Figure:
    """One figure of a result.

    Attributes:
      mean: over seeds; None for a figure that is no number.
      sd: the sample standard deviation over seeds; None: one seed, or the same for all.
      values: of each seed; empty where only mean and sd were kept, or where the figure does not depend on the seed.
      printed: whether mean and sd were taken from a page, with as many digits as it printed.
      text: the words that are shown instead, where there are any.
    """

    mean: float | None = None
    sd: float | None = None
    values: tuple[float, ...] = ()
    printed: bool = False
    text: str | None = None

    @classmethod
    def of_seeds(cls, values: Any) -> "Figure":
        """Makes the figure of values (seeds,), rounded to the digits that are recorded."""
        numbers = tuple(rounded(value) for value in np.atleast_1d(np.asarray(values, np.float64)))
        sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
        return cls(float(np.mean(numbers)), sd, numbers)

    @classmethod
    def of_json(cls, record: Mapping[str, Any]) -> "Figure":
        """Reads one of {"values": [...]}, {"value": x}, {"mean": x, "sd": s}, {"mean": x} and {"text": "..."}."""
        match record:
            case {"values": [_, *_] as values}:
                return cls.of_seeds(values)
            case {"value": value}:
                return cls(float(value))
            case {"mean": mean}:
                return cls(float(mean), record.get("sd"), printed=True)
            case {"text": str(text)}:
                return cls(text=text)
        raise ValueError(f"no figure: {record}")

    def as_json(self) -> dict[str, Any]:
        """Returns what `of_json` reads."""
        if self.mean is None:
            return {"text": self.text}
        if self.values:
            return {"values": list(self.values)}
        if not self.printed:
            return {"value": self.mean}
        return {"mean": self.mean} if self.sd is None else {"mean": self.mean, "sd": self.sd}

    def cell(self) -> str:
        """Returns the text of a table's cell: the words, "mean ± sd" or the mean."""
        if self.text is not None or self.mean is None:
            return self.text or ""
        if self.printed and self.sd is None and digits(self.mean) > PRINTED[0]:
            return f"{self.mean:.{digits(self.mean)}g}"
        return decimal(self.mean) if self.sd is None else plus_minus(self.mean, self.sd)


Figures = dict[str, dict[str, Figure]]
"""Figures by line and column of the table that the command prints."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A recorded result.

    Attributes:
      title: what was run, in some words.
      commands: one command for all seeds, or one for each, as a user types them.
      part: of the runs that a command makes, the one whose folder's name ends with "-<part>"; None: the last one.
      commit: of the code; "+ changes" where files differed from it; None where it is not known.
      date: when it was finished, as YYYY-MM-DD; None where it is not known.
      environment: versions, devices and machine.
      seeds: those that were run; empty where nothing is random.
      seconds: from the first command's start to the last one's end; None where it was not measured.
      not_remade: why the commands cannot give these figures again; None where they can.
      tolerance: the relative difference that is not counted as one; None: 1e-4 for figures that do not depend on the
        seed, and unknown for one seed alone.
      note: what else a reader should know.
      references: values from elsewhere to compare with: `study`, `measure`, `figure` (line/column), `better` (higher
        or lower), `value` (a number, line/column of this result, or None), `source` and `remark`.
      figures: by line and column.
    """

    title: str
    commands: tuple[str, ...] = ()
    part: str | None = None
    commit: str | None = None
    date: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    seconds: float | None = None
    not_remade: str | None = None
    tolerance: float | None = None
    note: str | None = None
    references: tuple[Mapping[str, Any], ...] = ()
    figures: Figures = field(default_factory=dict)

    def figure(self, address: str) -> Figure:
        """Returns the figure at "line/column".

        Raises:
          UserError: if there is none.
        """
        line, _, column = address.rpartition("/")
        if column not in self.figures.get(line, {}):
            known = ", ".join(f"{name}/{column}" for name in self.figures for column in self.figures[name])
            raise UserError(f"there is no figure {address!r}: choose from {known}")
        return self.figures[line][column]


def rounded(value: float, count: int = DIGITS) -> float:
    """Rounds to a number of significant digits."""
    return float(f"{value:.{count}g}")


def digits(value: float) -> int:
    """Counts the significant digits that a number is written with."""
    return len(f"{value:.{DIGITS - 1}e}".split("e")[0].replace(".", "").lstrip("-").rstrip("0"))


def read(name: str) -> Result:
    """Reads a result by its name.

    Raises:
      UserError: if there is none, or its file is damaged.
    """
    file = ROWS / f"{name}.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        figures = {
            line: {column: Figure.of_json(figure) for column, figure in columns.items()}
            for line, columns in record.pop("figures").items()
        }
        for name_of_list in ("commands", "seeds", "references"):
            record[name_of_list] = tuple(record[name_of_list])
        return Result(**record, figures=figures)
    except FileNotFoundError:
        raise UserError(f"no result is recorded as {name}: --list names them all") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({type(error).__name__}: {error}): record it again") from None


def write(name: str, result: Result) -> Path:
    """Writes a result's file, whole or not at all.

    Raises:
      UserError: if the name is not <study>/<name>, or the file cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9_]+/[A-Za-z0-9_.\-]+", name):
        raise UserError(f"--record {name}: a name is <study>/<name>, such as autoencoder/mnist-latents16")
    record = dataclasses.asdict(result) | {
        "figures": {
            line: {column: figure.as_json() for column, figure in columns.items()}
            for line, columns in result.figures.items()
        }
    }
    file = ROWS / f"{name}.json"
    partial = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(_pretty(record) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror})") from None
    return file


def names() -> list[str]:
    """Returns the names of all recorded results."""
    return sorted(file.relative_to(ROWS).with_suffix("").as_posix() for file in ROWS.glob("*/*.json"))


def matching(words: tuple[str, ...]) -> list[str]:
    """Returns the names that the words mean: a study, the start of a name with or without its study.

    Raises:
      UserError: if a word means none.
    """
    known, found = names(), []
    for word in words:
        meant = [
            name
            for name in known
            if (name.startswith(word) if "/" in word else name.split("/")[0] == word)
            or ("/" not in word and name.split("/")[1].startswith(word))
        ]
        if not meant:
            raise UserError(f"no result is recorded as {word}: --list names them all")
        found += meant
    return list(dict.fromkeys(found))


def _pretty(value: Any, indent: int = 0) -> str:
    """Formats JSON with a line for each figure and each field, so that changes can be read."""
    flat = json.dumps(value, ensure_ascii=False)
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if indent and not any(isinstance(part, dict) or (isinstance(part, str) and len(flat) > 110) for part in nested):
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {_pretty(part, indent + 2)}" for key, part in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + "\n" + " " * indent + "}" if parts else flat
    return "[\n" + ",\n".join(inner + _pretty(part, indent + 2) for part in value) + "\n" + " " * indent + "]"
