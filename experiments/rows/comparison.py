"""Whether a run made again gives the recorded figures."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from scipy import stats

from experiments.rows.result import DIGITS, PRINTED, Figure, Figures, digits, rounded

ROUNDING = 1e-4  # relative difference that other processors and versions may make where no seed matters
LARGEST_Z = 3.0

Kind = Literal["equal", "within", "unknown", "differs"]


class Verdict(NamedTuple):
    """What is said of one figure, with its z where a spread is known."""

    kind: Kind
    text: str
    z: float | None = None


def compare(recorded: Figure, found: Figure | None, tolerance: float | None = None) -> Verdict:
    """Compares a new figure with the recorded one.

    "equal": to all recorded digits. Else, where figures of several seeds have a spread, t is the difference of the two
    means divided by s sqrt(1/n + 1/m), where s is the pooled standard deviation of the n recorded and m new seeds. Its
    normal score z has the same probability under a normal distribution as t has under Student's with n + m - 2 degrees
    of freedom. |z| up to 3 is "within the spread of seeds". A recorded mean ± sd counts as many seeds as the new figure
    has. Where there is no spread, or |z| is larger, a relative difference of up to `tolerance` is "within": of 1e-4
    where it is None. Of one seed without a tolerance no spread is known, and the verdict is "unknown".

    Args:
      recorded: the figure of the file.
      found: the figure of the new run; None if it printed none of that name.
      tolerance: the relative difference that is not counted as one.
    """
    if found is None or recorded.mean is None or found.mean is None:
        return Verdict("differs", "differs: the run prints no such figure")
    if _equal(recorded, found):
        return Verdict("equal", "equal")
    difference = found.mean - recorded.mean
    size = max(abs(recorded.mean), abs(found.mean))
    change = f"{recorded.cell()} was recorded, {found.cell()} found"
    z = _normal_score(recorded, found)
    if z is not None and abs(z) <= LARGEST_Z:
        return Verdict("within", f"within the spread of seeds (z = {z:.1f})", z)
    allowed = max(ROUNDING if tolerance is None else tolerance, 0.5 * 10 ** (1 - PRINTED[0]) if recorded.printed else 0)
    if abs(difference) <= allowed * size:
        return Verdict("within", f"within a relative {allowed:.2g} ({change})")
    if z is None and tolerance is None and len(found.values) == 1:
        return Verdict(
            "unknown", f"differs by a relative {abs(difference) / size:.2g}, of one seed: no spread is known"
        )
    return Verdict("differs", f"differs{'' if z is None else f' (z = {z:.1f})'}: {change}")


def compare_all(recorded: Figures, found: Figures, tolerance: float | None = None) -> dict[str, Verdict]:
    """Compares all recorded figures, by "line/column"."""
    return {
        f"{line}/{column}": compare(figure, found.get(line, {}).get(column), tolerance)
        for line, columns in recorded.items()
        for column, figure in columns.items()
    }


def overall(verdicts: Mapping[str, Verdict]) -> str:
    """Says in one line what the verdicts come to."""
    kinds = [verdict.kind for verdict in verdicts.values()]
    if "differs" in kinds:
        return f"differs: {kinds.count('differs')} of {len(kinds)} figures"
    if "unknown" in kinds:
        return f"not known: {kinds.count('unknown')} of {len(kinds)} figures are not equal, and no spread is known"
    if "within" in kinds:
        scores = [verdict.z for verdict in verdicts.values() if verdict.z is not None]
        farthest = max(scores, key=abs, default=None)
        return "within rounding" if farthest is None else f"within the spread of seeds (z = {farthest:.1f})"
    return "equal"


def _equal(recorded: Figure, found: Figure) -> bool:
    if not recorded.printed:
        old, new = (figure.values or (figure.mean,) for figure in (recorded, found))
        return len(old) == len(new) and all(map(_same, old, new))
    assert recorded.mean is not None
    assert found.mean is not None
    sd = None if recorded.sd is None else rounded(found.sd or 0.0, PRINTED[1])
    return rounded(found.mean, max(PRINTED[0], digits(recorded.mean))) == recorded.mean and sd == recorded.sd


def _same(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old == new
    return rounded(old, DIGITS) == rounded(new, DIGITS) or (math.isnan(old) and math.isnan(new))


def _normal_score(recorded: Figure, found: Figure) -> float | None:
    """Returns the z of `compare`, or None where no spread is known."""
    assert recorded.mean is not None
    assert found.mean is not None
    count = len(recorded.values) or len(found.values)
    parts = [(figure.sd, n) for figure, n in ((recorded, count), (found, len(found.values)))]
    known = [(sd, n) for sd, n in parts if sd is not None and n > 1]
    freedom = sum(n - 1 for _, n in known)
    variance = sum((n - 1) * sd**2 for sd, n in known) / freedom if freedom else 0.0
    if not variance > 0:
        return None
    t = (found.mean - recorded.mean) / math.sqrt(variance * sum(1 / max(n, 1) for _, n in parts))
    return math.copysign(float(stats.norm.isf(stats.t.sf(abs(t), freedom))), t)
