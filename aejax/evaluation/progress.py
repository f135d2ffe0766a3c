"""A progress bar for evaluations that take more than a few seconds."""

import sys
from typing import Any

from tqdm import tqdm

_SILENCE = 3  # seconds without a bar


def bar(total: int, description: str, unit: str = " images") -> Any:
    """A bar on stderr that appears after 3 s, as a context; none where stderr is closed or no terminal."""
    disable = True if sys.stderr is None else None
    return tqdm(total=total, desc=description, unit=unit, delay=_SILENCE, disable=disable, leave=False)
