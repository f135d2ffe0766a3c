"""The split syntax of TensorFlow Datasets, resolved to ranges of examples without importing it.

Source: https://www.tensorflow.org/datasets/splits; the rounding is that of `tfds.core.ReadInstruction`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aejax.errors import UserError

_PART = re.compile(r"(?P<name>[\w-]+)(\[(?P<slice>[^\[\]]+)\])?")
_BOUND = re.compile(r"((?P<value>-?[\d_.]+)(?P<unit>%|shard)?)?")


class Range(NamedTuple):
    """Examples `start <= i < stop` of the split `name`."""

    name: str
    start: int
    stop: int


def resolve(spec: str, shard_lengths: Mapping[str, Sequence[int]]) -> list[Range]:
    """Resolves a split such as "train[10%:20%]+test".

    Args:
      spec: split names joined by "+", each with an optional slice in examples, per cent or shards; or "all".
      shard_lengths: for each existing split, the number of examples in each of its shards.

    Returns:
      The non-empty ranges, in the order of `spec`.

    Raises:
      UserError: for bad syntax, an unknown split, a slice beyond the split's end or an empty result.
    """
    ranges: list[Range] = []
    for part in re.split(r"\s*\+\s*", spec):
        if part == "all":
            ranges += [Range(name, 0, sum(lengths)) for name, lengths in shard_lengths.items()]
        else:
            ranges.append(_resolve_part(part, shard_lengths))
    ranges = [r for r in ranges if r.start < r.stop]
    if not ranges:
        raise UserError(f"split {spec!r} holds no examples; the splits are {_sizes(shard_lengths)}")
    return ranges


def _resolve_part(part: str, shard_lengths: Mapping[str, Sequence[int]]) -> Range:
    match = _PART.fullmatch(part)
    if not match:
        raise _malformed(part)
    name = match["name"]
    if name not in shard_lengths:
        raise UserError(f"unknown split {name!r}; the splits are {_sizes(shard_lengths)}")
    lengths = list(shard_lengths[name])
    size = sum(lengths)
    if match["slice"] is None:
        return Range(name, 0, size)
    start, stop, unit = _bounds(part, match["slice"])
    if unit == "%":
        if max(abs(start or 0), abs(stop or 0)) > 100:
            raise UserError(f"split {part!r}: per cent must lie between -100 and 100")
        first = 0 if start is None else round(start * size / 100)
        last = size if stop is None else round(stop * size / 100)
    elif unit == "shard":
        first = 0 if start is None else sum(lengths[: int(start)])
        last = size if stop is None else sum(lengths[: int(stop) if stop > 0 else len(lengths) + int(stop)])
    else:
        first = 0 if start is None else int(start)
        last = size if stop is None else int(stop)
    if abs(first) > size or abs(last) > size:
        raise UserError(f"split {part!r} reaches beyond the {size} examples of {name!r}")
    return Range(name, first + size if first < 0 else first, last + size if last < 0 else last)


def _bounds(part: str, text: str) -> tuple[float | None, float | None, str]:
    matches = [_BOUND.fullmatch(bound) for bound in text.split(":")]
    if not all(matches) or not 1 <= len(matches) <= 2:
        raise _malformed(part)
    values = [match["value"] for match in matches if match]
    unit = next((match["unit"] for match in matches if match and match["unit"]), "examples")
    try:
        start, stop = (None if v is None else float(v) if unit == "%" else int(v) for v in (values + values)[:2])
    except ValueError:
        raise _malformed(part) from None
    if len(values) == 1:
        if unit != "shard" or start is None:
            raise _malformed(part)
        stop = start + 1
    elif values == [None, None]:
        raise _malformed(part)
    return start, stop, unit


def _malformed(part: str) -> UserError:
    return UserError(f"split {part!r} is not of the form 'train', 'train[:1000]' or 'train[90%:]'")


def _sizes(shard_lengths: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name} ({sum(lengths)} examples)" for name, lengths in shard_lengths.items())
