"""Fixed splits for images that come without official ones: the same on every machine, whatever a run's seed."""

import hashlib
import unicodedata

import numpy as np

# SplitMix64, Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (2014),
# https://doi.org/10.1145/2660193.2660195, figure 17.
_GAMMA, _MIX_1, _MIX_2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mixed_order(count: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Draws a fixed order in which every run of consecutive rows has the classes in nearly equal proportion.

    Within a class of m images the order is random; its k-th image comes at (k + 1/2) / m of the way, so the last tenth
    of the order holds a tenth of every class.

    Args:
      count: the number of rows n.
      labels: integers (n,), or None for one class; unknown ones, -1, are a class of their own.

    Returns:
      int64 (n,), a permutation of 0 ... n - 1 that depends on the arguments alone.
    """
    keys = _hashes(count)
    groups = np.zeros(count, np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    by_group = np.lexsort((keys, groups))
    sizes = np.bincount(groups, minlength=1)
    rank = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (rank + 0.5) / np.repeat(sizes, sizes)
    return by_group[np.lexsort((keys[by_group], place))]


def path_fraction(path: str) -> float:
    """Returns a number in [0, 1) that depends on a relative path alone, as if drawn uniformly.

    Composed and decomposed forms of one name, which file systems exchange, give the same.
    """
    digest = hashlib.sha256(unicodedata.normalize("NFC", path).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _hashes(count: int) -> np.ndarray:
    z = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))
