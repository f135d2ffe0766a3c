"""What a text says of results: figures, differences of two, seeds, times, and whether a reference was reached."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from aejax.errors import UserError
from aejax.tables import decimal
from experiments.rows import result
from experiments.rows.result import Figure, Result

_OVER = re.compile(r" / (?=[a-z0-9_]+/[\w.\-]+ )")
_ROOT = re.compile(r"sqrt\((.+)² - (.+)²\)")


def reached(ours: Figure | None, theirs: Figure | None, better: str | None, remark: str | None = None) -> str:
    """Says whether our mean is as good as the reference, with a remark."""
    if ours is None:
        return remark or "not run"
    if ours.mean is None or theirs is None or theirs.mean is None or better is None:
        return remark or "open"
    met = ours.mean >= theirs.mean if better == "higher" else ours.mean <= theirs.mean
    return ", ".join(filter(None, ["reached" if met else "**missed**", remark]))


def ours_of(one: Result, reference: Mapping[str, Any]) -> Figure | None:
    """Returns the figure of a result that is compared with a reference; None if it has not been run."""
    return one.figure(reference["figure"]) if reference.get("figure") else None


def reached_of(one: Result, reference: Mapping[str, Any]) -> str:
    """Says whether a result reaches its reference."""
    theirs = theirs_of(one, reference)
    return reached(ours_of(one, reference), theirs, reference.get("better"), reference.get("remark"))


def theirs_of(one: Result, reference: Mapping[str, Any]) -> Figure | None:
    """Returns the value of a reference: a number, a figure of the result, or "<result> <figure>" of another one."""
    wanted = reference.get("value")
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        return Figure(text=f"{wanted:g} ± {reference['sd']:g}" if "sd" in reference else f"{wanted:g}", mean=wanted)
    elsewhere = re.fullmatch(r"([a-z0-9_]+/[\w.\-]+) (.+)", wanted)
    return result.read(elsewhere[1]).figure(elsewhere[2]) if elsewhere else one.figure(wanted)


def value(one: Result, what: str) -> str:
    """Returns what "{<result> <what>}" stands for in a text.

    Raises:
      UserError: if the result has nothing of that name.
    """
    facts = {"seeds": seeds_text(one.seeds), "date": one.date, "commit": one.commit, "time": time_text(one.seconds)}
    if what == "reached" and one.references:
        return reached_of(one, one.references[0])
    if what in facts:
        return facts[what] or "not known"
    addresses, _, style = what.partition("!")
    address, *divisors = _OVER.split(addresses)
    first = _term(one, address)
    for divisor in divisors:
        name, _, other = divisor.partition(" ")
        first = ratio(first, _term(result.read(name), other))
    if not style or first.mean is None:
        return first.cell()
    return decimal(first.mean) if style == "mean" else format(first.mean, style)


def _term(one: Result, address: str) -> Figure:
    """Returns a figure, a difference of figures or a root of a difference of squares."""
    if root := _ROOT.fullmatch(address):
        return root_of_squares(_figure(one, root[1]), _figure(one, root[2]))
    first, *others = (_figure(one, part) for part in address.split(" - "))
    for other in others:
        first = difference(first, other)
    return first


def _figure(one: Result, address: str) -> Figure:
    """Returns the figure at line/column, or for "reference" what the result is first compared with."""
    found = theirs_of(one, one.references[0]) if address == "reference" and one.references else None
    return found or one.figure(address)


def difference(first: Figure, second: Figure) -> Figure:
    """Subtracts a figure from another: seed by seed where both are known, else one of them must have no spread.

    Raises:
      UserError: for two figures with spreads whose seeds' values are not known, or for words.
    """
    if first.mean is None or second.mean is None:
        raise UserError("words cannot be subtracted")
    if first.values and second.values and len(first.values) == len(second.values):
        return Figure.of_seeds(np.subtract(first.values, second.values))
    if first.sd is not None and second.sd is not None:
        raise UserError("the difference of two means needs the values of each seed, or one without a spread")
    return Figure(first.mean - second.mean, second.sd if first.sd is None else first.sd)


def ratio(first: Figure, second: Figure) -> Figure:
    """Divides the mean of a figure by that of another.

    Raises:
      UserError: for words, or a division by 0.
    """
    if first.mean is None or not second.mean:
        raise UserError(f"{first.cell()!r} cannot be divided by {second.cell()!r}")
    return Figure(first.mean / second.mean)


def root_of_squares(distance: Figure, floor: Figure) -> Figure:
    """Returns sqrt(distance² - floor²), of the means: what is left of a distance whose squares add up.

    Raises:
      UserError: for words, or a distance below its floor.
    """
    if distance.mean is None or floor.mean is None or distance.mean < floor.mean:
        raise UserError(f"no distance is left: {distance.cell()} is not above {floor.cell()}")
    return Figure(math.sqrt(distance.mean**2 - floor.mean**2))


def seeds_text(seeds: tuple[int, ...]) -> str:
    """Returns "0-2" for 0, 1, 2, and a list for seeds with gaps."""
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))


def time_text(seconds: float | None) -> str:
    """Returns "12 s", "3 min 5 s" or "2 h 10 min"; nothing where it is not known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
