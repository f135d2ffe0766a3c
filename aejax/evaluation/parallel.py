"""Work on many images: blocks in threads, and a progress bar."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

_SILENCE = 3  # seconds without a bar


def bar(total: int, description: str, unit: str = " images", *, at_once: bool = False) -> Any:
    """Opens a bar on stderr that appears after 3 s, as a context; none where stderr is closed.

    A bar appears with an update, of which the first may be long in coming: with `at_once` it is there before it. Where
    stderr is no terminal, such as in a notebook's cell or a log file, it is written every 3 s at most.
    """
    closed = sys.stderr is None
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        delay=0 if at_once else _SILENCE,
        mininterval=0.1 if not closed and sys.stderr.isatty() else _SILENCE,
        disable=closed,
        leave=False,
    )


def on_all_cores(function: Callable[[slice], np.ndarray], count: int, size: int, description: str) -> np.ndarray:
    """Concatenates `function`'s results for blocks of `size` of `count` rows, computed in a thread for each core.

    For functions that release Python's lock, as those of scipy.ndimage and scikit-image do.
    """
    blocks = [slice(start, min(start + size, count)) for start in range(0, max(1, count), size)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ThreadPoolExecutor(cores)
    try:
        results = []
        with bar(count, description) as shown:
            for block, result in zip(blocks, pool.map(function, blocks), strict=True):
                results.append(result)
                shown.update(block.stop - block.start)
        return np.concatenate(results)
    finally:
        pool.shutdown(cancel_futures=True)  # an interruption waits for the blocks in work alone
