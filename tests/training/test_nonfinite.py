"""Steps that are not finite: where training ends or goes on, and what it says of them."""

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import rng
from aejax.data.feeds import device_feed
from aejax.methods.method import Method, Phase, one_optimizer, several_optimizers
from aejax.training import loop, steps
from aejax.training.config import OnNonFinite, RunConfig
from aejax.training.devices import make_mesh
from aejax.training.interruption import Interrupted
from aejax.training.loop import fit
from aejax.training.nonfinite import NonFiniteError
from aejax.training.runs import open_run
from aejax.training.seeds import roots

BATCH, STEPS, SEED = 4, 5, 3
BAD = 11  # the one image with a white first pixel, which makes its batch's step not finite
IMAGES = np.random.default_rng(0).integers(0, 255, (BATCH * STEPS, 2, 2, 1), dtype=np.uint8)
IMAGES[BAD, 0, 0, 0] = 255
FEED = device_feed(IMAGES, BATCH, make_mesh(1, BATCH))
OPTIMIZER = optax.adam(1e-2)

Kind = Literal["loss", "gradient"]


def bad_steps(seed: int, epochs: int = 3) -> list[int]:
    return [step for step in range(epochs * STEPS) if BAD in FEED.indices(rng.root_key(seed), step)]


def init_params(key: jax.Array, images: jax.Array) -> Any:
    return {"w": jax.random.normal(key, (4,)), "zero": jnp.zeros(())}


def loss_of(kind: Kind) -> Callable[..., Any]:
    def loss(params: Any, images: jax.Array, key: jax.Array, step: jax.Array) -> Any:
        x = images.reshape(len(images), -1)
        values = jnp.square(x @ params["w"] + 0.1 * jax.random.normal(key, (len(x),)))
        bad = x[:, 0] == 1
        if kind == "loss":
            return jnp.where(bad, jnp.nan, values), {}
        # The square root is 0 there, and its slope infinite.
        return values + jnp.sqrt(jnp.where(bad, params["zero"], 1)), {}

    return loss


def with_one_optimizer(kind: Kind) -> Method:
    return one_optimizer(init_params, loss_of(kind), OPTIMIZER, evaluate=loss_of("gradient"))


def with_two_phases(kind: Kind) -> Method:
    """The second of which fails, after the first has made its update; its loss is none of the metrics."""

    def first(params: Any, images: jax.Array, key: jax.Array, step: jax.Array) -> Any:
        values = jnp.square(images.reshape(len(images), -1) @ params["w"] - 1)
        return values, {"loss": values}

    phases = [Phase("first", first, ("w",), OPTIMIZER), Phase("second", loss_of(kind), ("w", "zero"), OPTIMIZER)]
    return several_optimizers(init_params, phases, loss_of("gradient"))


METHODS = [with_one_optimizer, with_two_phases]
KINDS: list[Kind] = ["loss", "gradient"]


def train(
    folder: Path,
    method: Method,
    on_nonfinite: OnNonFinite,
    *,
    seeds: int = 1,
    epochs: int = 3,
    images: np.ndarray = IMAGES,
    after_chunk: Callable | None = None,
) -> tuple[Any, list[dict]]:
    config = RunConfig(runs=folder, name="run", on_nonfinite=on_nonfinite)
    with open_run(config, "test") as run:
        if after_chunk is not None:
            run.log.scalar = after_chunk  # type: ignore[method-assign]
        feed = device_feed(images, BATCH, make_mesh(1, BATCH))
        evaluations = {"held_out": images[:3]}
        states = fit(method, feed, run, epochs=epochs, seed=SEED, seeds=seeds, evaluations=evaluations)
        return jax.device_get(states[0] if seeds == 1 else states), run.log.records()


def by_hand(method: Method, seed: int, left_out: list[int]) -> tuple[Any, list[float]]:
    """The state after three epochs without these steps, and each epoch's mean loss."""
    root = rng.root_key(seed)
    state = method.init(rng.stream(root, "initialisation"), jnp.zeros((BATCH, *IMAGES.shape[1:])))
    step, losses = jax.jit(method.step), []
    for i in range(3 * STEPS):
        if i not in left_out:
            batch = jnp.asarray(IMAGES[FEED.indices(root, i)], jnp.float32) / 255
            state, metrics = step(state, batch, rng.stream(root, "step", i))
            losses.append((i // STEPS, float(metrics["loss"])))
    return state, [float(np.mean([loss for e, loss in losses if e == epoch])) for epoch in range(3)]


def assert_close(left: Any, right: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), left, right)


@pytest.mark.parametrize(
    ("make", "kind", "chunk"),
    [
        (with_one_optimizer, "loss", 1),
        (with_one_optimizer, "gradient", 100),
        (with_two_phases, "loss", 100),
        (with_two_phases, "gradient", 1),
    ],
)
def test_training_stops_at_that_step_and_says_how_to_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable, kind: Kind, chunk: int
) -> None:
    monkeypatch.setattr(loop, "_FIRST_CHUNK", chunk)
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", chunk)
    clean = IMAGES.copy()
    clean[BAD, 0, 0, 0] = 0
    train(tmp_path, make(kind), "stop", epochs=1, images=clean)
    step = bad_steps(SEED)[1]  # of the second epoch
    with pytest.raises(NonFiniteError, match=rf"at step {step} of seed {SEED} .* of step {STEPS}, is kept") as error:
        train(tmp_path, make(kind), "stop")
    assert "\n" not in str(error.value)
    assert "nonfinite.json" in str(error.value)

    folder = tmp_path / "test" / "run"
    found = json.loads((folder / "nonfinite.json").read_text())
    if make is with_two_phases:
        assert found.pop("metrics") == ["second_gradient_norm"]
    else:
        assert found.pop("metrics") == ["loss" if kind == "loss" else "gradient_norm"]
    images = found.pop("images")
    assert found == {"step": step, "seed": SEED}
    assert BAD in images
    assert len(images) == BATCH

    with open_run(RunConfig(runs=tmp_path, name="run"), "test") as run:
        assert {record["step"] for record in run.log.records()} == {STEPS}
        like = jax.eval_shape(lambda: steps.initial_progress(make(kind), FEED, roots(0, 1)))
        kept, progress = run.checkpoints.restore(like) or pytest.fail("no checkpoint")
    assert kept == STEPS
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(progress))


def test_before_any_checkpoint_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"no checkpoint had been saved before; try"):
        train(tmp_path, with_one_optimizer("loss"), "stop")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", METHODS)
def test_a_step_that_is_skipped_leaves_no_trace_but_its_count(
    tmp_path: Path, make: Callable, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    state, records = train(tmp_path, make(kind), "skip")
    expected, losses = by_hand(make(kind), SEED, bad_steps(SEED))
    assert_close(state, expected)
    of_train = [record for record in records if record["split"] == "train"]
    assert [record["skipped_steps"] for record in of_train] == [1, 1, 1]
    assert [record["loss"] for record in of_train] == pytest.approx(losses, rel=1e-5)
    assert "epoch 2: 1 steps were not finite, and left out" in capsys.readouterr().err


def test_where_all_is_finite_skipping_changes_no_bit(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[BAD, 0, 0, 0] = 0
    for make in METHODS:
        stop, skip = (
            train(tmp_path / make.__name__ / mode, make("gradient"), mode, images=images)  # type: ignore[arg-type]
            for mode in ("stop", "skip")
        )
        jax.tree.map(np.testing.assert_array_equal, stop[0], skip[0])
        for record in skip[1]:
            assert record.pop("skipped_steps", 0) == 0
        assert stop[1] == skip[1]


def test_only_the_seed_that_fails_is_held(tmp_path: Path) -> None:
    states, records = train(tmp_path, with_one_optimizer("loss"), "skip", seeds=2)
    for i in range(2):
        alone, _ = by_hand(with_one_optimizer("loss"), SEED + i, bad_steps(SEED + i))
        assert_close(states[i], alone)
    assert bad_steps(SEED) != bad_steps(SEED + 1)
    assert records[0]["skipped_steps"] == 1
    assert records[0]["skipped_steps_sd"] == 0


def test_the_error_names_the_seed_that_failed(tmp_path: Path) -> None:
    first = {seed: bad_steps(seed)[0] for seed in range(SEED, SEED + 3)}
    seed = min(first, key=lambda one: first[one])
    assert list(first.values()).count(first[seed]) == 1
    with pytest.raises(NonFiniteError, match=rf"at step {first[seed]} of seed {seed} in "):
        train(tmp_path, with_one_optimizer("loss"), "stop", seeds=3)
    found = json.loads((tmp_path / "test" / "run" / "nonfinite.json").read_text())
    assert found["images"] == FEED.indices(rng.root_key(seed), first[seed]).tolist()


@pytest.mark.parametrize("seeds", [1, 2])
def test_after_ten_consecutive_it_gives_up(tmp_path: Path, seeds: int) -> None:
    images = np.full_like(IMAGES, 255)
    with pytest.raises(NonFiniteError, match=r"loss .* at step 9 of seed 3 .* as 9 before it .* --clip-norm 1$"):
        train(tmp_path, with_one_optimizer("loss"), "skip", images=images, seeds=seeds)
    with open_run(RunConfig(runs=tmp_path, name="run"), "test") as run:
        train_record, held_out = run.log.records()  # of an epoch without a step
        assert (train_record["loss"], train_record["skipped_steps"]) == (None, STEPS)
        assert math.isfinite(held_out["loss"])
        assert run.checkpoints.steps() == [STEPS]


def test_a_run_that_skips_resumes_bit_for_bit_and_may_follow_one_that_stopped(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", with_one_optimizer("loss"), "skip")
    after = bad_steps(SEED)[1] + 1
    assert after % STEPS, "this is to be in the middle of an epoch"

    def stop(name: str, value: float, step: int) -> None:
        if step == after:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_FIRST_CHUNK", 1)
        patch.setattr(loop, "_CHUNK_SECONDS", 0.0)
        with pytest.raises(NonFiniteError):
            train(tmp_path, with_one_optimizer("loss"), "stop")
        with pytest.raises(Interrupted):
            train(tmp_path, with_one_optimizer("loss"), "skip", after_chunk=stop)
    resumed = train(tmp_path, with_one_optimizer("loss"), "skip")
    jax.tree.map(np.testing.assert_array_equal, resumed[0], whole[0])
    assert resumed[1] == whole[1]
