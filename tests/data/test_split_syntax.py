import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aejax.data.split_syntax import Range, resolve
from aejax.errors import UserError

SIZES = {"train": [100], "test": [10]}


@st.composite
def bounds(draw: st.DrawFn) -> str:
    unit = draw(st.sampled_from(["", "%", "shard"]))
    value = {"": st.integers(-60, 60), "%": st.integers(-110, 110) | st.sampled_from([0.5, -33.3, 99.9])}
    one = st.none() | value.get(unit, st.integers(-4, 4))
    start, stop = draw(one), draw(one)
    return ":".join("" if v is None else f"{v}{unit}" for v in (start, stop))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.integers(1, 50),
    st.lists(st.tuples(st.sampled_from(["train", "test"]), st.none() | bounds()), min_size=1, max_size=3),
)
def test_ranges_equal_those_of_tfds(shards: list[int], test_size: int, parts: list[tuple[str, str | None]]) -> None:
    import tensorflow_datasets as tfds

    lengths = {"train": shards, "test": [test_size]}
    spec = "+".join(name if cut is None else f"{name}[{cut}]" for name, cut in parts)
    infos = {
        name: tfds.core.SplitInfo(name=name, shard_lengths=list(shard), num_bytes=0) for name, shard in lengths.items()
    }
    try:
        absolute = tfds.core.splits.AbstractSplit.from_spec(spec).to_absolute(infos)
    except ValueError:
        expected = []
    else:
        sizes = {name: sum(shard) for name, shard in lengths.items()}
        filled = [(a.splitname, a.from_ or 0, sizes[a.splitname] if a.to is None else a.to) for a in absolute]
        expected = [part for part in filled if part[1] < part[2]]
    if expected:
        assert resolve(spec, lengths) == expected
    else:
        with pytest.raises(UserError):
            resolve(spec, lengths)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("train", [Range("train", 0, 100)]),
        ("train[90%:]", [Range("train", 90, 100)]),
        ("train[:-5]", [Range("train", 0, 95)]),
        ("test[25%:75%]", [Range("test", 2, 8)]),  # 2.5 and 7.5 are rounded to even, as Python and tfds do
        ("train[10%:20%] + test", [Range("train", 10, 20), Range("test", 0, 10)]),
        ("all", [Range("train", 0, 100), Range("test", 0, 10)]),
    ],
)
def test_known_splits(spec: str, expected: list[Range]) -> None:
    assert resolve(spec, SIZES) == expected


BAD = """train[ train[] train[:] train[5] train[5%] train[1:2:3] train[a:b] train[1.5:3] train[:101] train[:101%]
train[50:10] train[:0] train++test train[1:2]x"""


@pytest.mark.parametrize("spec", ["", *BAD.split()])
def test_bad_splits_are_refused_in_one_line(spec: str) -> None:
    with pytest.raises(UserError) as error:
        resolve(spec, SIZES)
    assert "\n" not in str(error.value)


def test_unknown_split_names_the_existing_ones() -> None:
    with pytest.raises(UserError, match=r"'validation'.*train \(100 examples\), test \(10 examples\)"):
        resolve("validation", SIZES)
