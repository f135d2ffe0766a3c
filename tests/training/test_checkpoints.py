"""What is saved comes back bit for bit, and what is kept is the latest two and the best."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.errors import UserError
from aejax.training.checkpoints import Checkpoints, checksum


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Checkpoints]:
    made = Checkpoints(tmp_path)
    yield made
    made.close()


class Pair(NamedTuple):
    second: Any
    first: Any


def small(value: float) -> dict[str, jax.Array]:
    return {"x": jnp.full(3, value, jnp.float32)}


def save_all(checkpoints: Checkpoints, values: dict[int, float | None]) -> None:
    for step, value in values.items():
        checkpoints.save(step, small(step), value)


def bits(tree: Any) -> list[tuple[Any, bytes]]:
    def raw(leaf: jax.Array) -> tuple[Any, bytes]:
        keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf.dtype, np.asarray(jax.random.key_data(leaf) if keys else leaf).tobytes()

    return [raw(leaf) for leaf in jax.tree.leaves(tree)]


def test_a_training_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    optimizer = optax.adam(0.1)
    params = {"w": jax.random.normal(jax.random.key(0), (5, 3)), "b": jnp.zeros(2)}
    _, opt_state = optimizer.update(params, optimizer.init(params), params)
    tree = (params, opt_state, {"key": jax.random.key(7), "failed": jnp.int32(-1), "odd": jnp.array([jnp.nan, -0.0])})

    first = Checkpoints(tmp_path)
    first.save(12, tree, 0.5)
    first.close()
    second = Checkpoints(tmp_path)
    restored = second.restore(jax.eval_shape(lambda: tree))
    assert restored is not None
    step, copy = restored

    assert step == 12
    assert jax.tree.structure(copy) == jax.tree.structure(tree)
    assert copy[1][0].count == 1
    assert bits(copy) == bits(tree)
    second.close()


def test_a_state_comes_back_onto_the_devices_asked_for(checkpoints: Checkpoints) -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    checkpoints.save(1, small(1), None)  # from one device
    restored = checkpoints.restore({"x": jax.ShapeDtypeStruct((3,), jnp.float32, sharding=replicated)})
    assert restored is not None
    assert restored[1]["x"].sharding.is_equivalent_to(replicated, 1)
    np.testing.assert_array_equal(restored[1]["x"], 1)


def test_nothing_saved_gives_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.restore(small(0)) is None
    assert checkpoints.best_step() is None
    assert checkpoints.steps() == []


def test_the_latest_two_and_the_best_are_kept(checkpoints: Checkpoints) -> None:
    save_all(checkpoints, {1: 5.0, 2: 1.0, 3: 4.0, 4: 3.0, 5: 2.0, 6: 6.0})
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.best_step() == 2
    restored = checkpoints.restore(small(0))
    assert restored is not None
    assert restored[0] == 6
    np.testing.assert_array_equal(restored[1]["x"], 6)


def test_the_best_is_found_again_after_a_restart(tmp_path: Path) -> None:
    before = Checkpoints(tmp_path)
    save_all(before, {1: 1.0, 2: 5.0, 3: 4.0})
    before.close()
    after = Checkpoints(tmp_path)
    save_all(after, {4: 3.0, 5: 2.0})
    assert after.steps() == [1, 4, 5]
    assert after.best_step() == 1
    np.testing.assert_array_equal(after.restore_step(1, small(0))["x"], 1)
    after.close()


def test_a_save_without_a_value_is_never_the_best(checkpoints: Checkpoints) -> None:
    checkpoints.save(1, small(1), None)
    assert checkpoints.best_step() is None
    save_all(checkpoints, {2: 2.0, 3: None, 4: None, 5: 3.0, 6: None})
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.best_step() == 2


def test_a_value_that_is_not_a_number_is_never_the_best(checkpoints: Checkpoints) -> None:
    save_all(checkpoints, {1: 2.0, 2: float("nan"), 3: 4.0, 4: 5.0})
    assert checkpoints.steps() == [1, 3, 4]
    assert checkpoints.best_step() == 1


def test_the_best_holds_the_optimizer_state_of_its_own_step(checkpoints: Checkpoints) -> None:
    optimizer = optax.adam(0.1)
    params = small(1.0)
    opt_state = optimizer.init(params)
    saved = {}
    for step, value in {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.0}.items():
        updates, opt_state = optimizer.update(params, opt_state, params)
        params = optax.apply_updates(params, updates)
        saved[step] = (params, opt_state)
        checkpoints.save(step, saved[step], value)
    best = checkpoints.best_step()
    assert best == 2
    restored = checkpoints.restore_step(best, saved[4])
    assert restored[1][0].count == 2
    assert bits(restored) == bits(saved[2])


def test_saving_a_step_again_is_harmless(checkpoints: Checkpoints) -> None:
    checkpoints.save(3, small(1), 1.0)
    checkpoints.save(3, small(2), 2.0)
    assert checkpoints.steps() == [3]
    restored = checkpoints.restore(small(0))
    assert restored is not None
    np.testing.assert_array_equal(restored[1]["x"], 1)


def test_a_save_that_was_killed_is_ignored(tmp_path: Path) -> None:
    before = Checkpoints(tmp_path)
    save_all(before, {1: None, 2: None})
    before.close()
    # What a kill leaves: the folder under its temporary name, and not all of its files.
    unfinished = tmp_path / "3.orbax-checkpoint-tmp-0"
    (tmp_path / "2").rename(unfinished)
    for part in unfinished.glob("*/manifest.ocdbt"):
        part.unlink()

    after = Checkpoints(tmp_path)
    restored = after.restore(small(0))
    assert restored is not None
    assert restored[0] == 1
    save_all(after, {3: None})
    assert after.steps() == [1, 3]
    after.close()


def damage(folder: Path, how: str) -> None:
    """Of the arrays' files; Orbax itself notices neither a flipped bit nor, always, a missing file."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name == "d"]
    assert files
    for file in files:
        data = bytearray(file.read_bytes())
        if how == "missing":
            file.unlink()
        elif how == "truncated":
            file.write_bytes(data[: len(data) // 2])
        else:
            data[len(data) // 2] ^= 1
            file.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped bit"])
def test_a_damaged_checkpoint_is_passed_over_in_one_line_and_its_step_can_be_saved_again(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    first = Checkpoints(folder)
    save_all(first, {1: None, 2: None})
    first.close()
    damage(folder / "2", how)

    second = Checkpoints(folder)
    restored = second.restore(small(0))
    assert restored is not None
    assert restored[0] == 1
    np.testing.assert_array_equal(restored[1]["x"], 1)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "skipped the checkpoint of step 2 (" in message
    assert (tmp_path / "damaged" / "2").is_dir()
    second.save(2, small(2), None)
    second.close()
    third = Checkpoints(folder)
    restored = third.restore(small(0))
    assert restored is not None
    assert restored[0] == 2
    third.close()


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped bit"])
def test_whichever_file_is_damaged_nothing_wrong_is_ever_restored(tmp_path: Path, how: str) -> None:
    whole = tmp_path / "whole"
    first = Checkpoints(whole)
    save_all(first, {1: 0.5, 2: 0.25})
    first.close()
    files = [file.relative_to(whole) for file in sorted((whole / "2").rglob("*")) if file.is_file()]
    assert len(files) > 3
    passed_over = 0
    for i, name in enumerate(files):
        folder = tmp_path / str(i) / "checkpoints"
        shutil.copytree(whole, folder)
        data = bytearray((folder / name).read_bytes())
        if how == "missing":
            (folder / name).unlink()
        else:
            middle = len(data) // 2
            data[middle] ^= 1
            (folder / name).write_bytes(data[:middle] if how == "truncated" else data)
        second = Checkpoints(folder)
        restored = second.restore(small(0))
        second.close()
        assert restored is not None, name
        step, tree = restored
        np.testing.assert_array_equal(tree["x"], step, str(name))
        passed_over += step == 1
    assert passed_over


@pytest.mark.parametrize("content", ["", '{"value"', '{"valve": 0.5}', '{"value": null}', "[1]", '{"value": 0.125}'])
def test_a_checkpoint_with_a_damaged_value_is_restored_and_not_the_best(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Checkpoints(tmp_path)
    save_all(first, {1: 0.5, 2: 0.25})
    first.close()
    (tmp_path / "2/metrics/metrics").write_text(content)
    second = Checkpoints(tmp_path)
    restored = second.restore(small(0))
    assert restored is not None
    assert restored[0] == 2
    assert second.best_step() == 1
    second.close()
    assert "the loss of step 2 is damaged, so it cannot be chosen as the best" in capsys.readouterr().err


def test_what_was_saved_can_be_read_without_knowing_its_structure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is checked, although dicts do not keep the order of named tuples' fields."""
    params = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(2)}
    tree = Pair(optax.adam(0.1).init(params), [params, None])
    first = Checkpoints(tmp_path / "checkpoints")
    for step, value in {1: 0.5, 2: 0.7}.items():
        first.save(step, jax.tree.map(lambda leaf, step=step: leaf * step, tree), value)
    first.close()
    second = Checkpoints(tmp_path / "checkpoints")
    for which, step in {"last": 2, "best": 1}.items():
        found, read = second.read(which)  # type: ignore[arg-type]
        assert found == step
        np.testing.assert_array_equal(read["first"][0]["w"], step * params["w"])
    second.close()

    damage(tmp_path / "checkpoints" / "2", "flipped bit")
    files = sorted(tmp_path.rglob("*"))
    third = Checkpoints(tmp_path / "checkpoints")
    assert third.read("last")[0] == 1
    assert "skipped the checkpoint of step 2 (" in capsys.readouterr().err
    third.close()
    damage(tmp_path / "checkpoints" / "1", "truncated")
    fourth = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(UserError, match="no sound checkpoint"):
        fourth.read("best")
    fourth.close()
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize("identity", ["one", "other"])
def test_a_checkpoint_of_another_step_or_run_counts_as_damaged(
    tmp_path: Path, identity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    first = Checkpoints(folder, "one")
    save_all(first, {1: 0.5, 2: 0.25, 3: 0.75})
    first.close()
    if identity == "one":  # the last two take each other's place
        for source, target in (("3", "0"), ("2", "3"), ("0", "2")):
            (folder / source).rename(folder / target)
    second = Checkpoints(folder, identity)
    with pytest.raises(UserError, match=r"no sound checkpoint \(step 3: its checksum is wrong; step 2: its checksum"):
        second.restore(small(0))
    second.close()
    assert "the loss of step 2 is damaged" in capsys.readouterr().err


def test_there_is_no_best_where_nothing_was_judged(checkpoints: Checkpoints) -> None:
    with pytest.raises(UserError, match="no last checkpoint"):
        checkpoints.read("last")
    save_all(checkpoints, {1: None})
    with pytest.raises(UserError, match="no best checkpoint"):
        checkpoints.read("best")


def test_where_none_is_sound_nothing_is_started_over(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    first = Checkpoints(folder)
    save_all(first, {1: None, 2: None})
    first.close()
    for step in ("1", "2"):
        damage(folder / step, "flipped bit")
    second = Checkpoints(folder)
    with pytest.raises(UserError, match=r"no sound checkpoint \(step 2: .*; step 1: .*\): choose another run"):
        second.restore(small(0))
    assert (folder / "1").is_dir()  # and nothing was moved
    second.close()


def test_a_checkpoint_of_another_structure_is_refused(tmp_path: Path) -> None:
    first = Checkpoints(tmp_path)
    save_all(first, {1: None})
    first.close()
    second = Checkpoints(tmp_path)
    with pytest.raises(UserError, match="no sound checkpoint"):
        second.restore({"y": jnp.zeros(3)})
    second.close()


def test_the_checksum_tells_values_shapes_and_dtypes_apart() -> None:
    trees = [
        {"x": jnp.zeros(4)},
        {"x": jnp.zeros((2, 2))},
        {"x": jnp.zeros(4, jnp.int32)},
        {"x": -jnp.zeros(4)},
        {"x": jax.random.key(0)},
        {"x": jax.random.key(1)},
    ]
    assert len({checksum(tree) for tree in trees}) == len(trees)
    assert checksum(trees[0]) == checksum({"x": np.zeros(4, np.float32)})


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b.replace(b"write_", b"wrote_")]
)
def test_damaged_array_metadata_are_passed_over_in_one_line(
    damage: Callable[[bytes], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = Checkpoints(tmp_path / "checkpoints")
    save_all(first, {1: None, 2: None})
    first.close()
    (file,) = (tmp_path / "checkpoints" / "2").glob("default/array_metadatas/*")
    file.write_bytes(damage(file.read_bytes()))
    capfd.readouterr()
    second = Checkpoints(tmp_path / "checkpoints")
    restored = second.restore(small(0))
    second.close()
    assert restored is not None
    assert restored[0] == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "skipped the checkpoint of step 2 (its array metadata are damaged), using 1" in line
