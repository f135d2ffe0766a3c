"""Training: exact resume, one compilation."""

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import rng
from aejax.data.feeds import device_feed
from aejax.data.streaming import streaming_feed
from aejax.errors import UserError
from aejax.methods.method import Method
from aejax.methods.reconstruction import autoencoder
from aejax.models.image_to_image import ImageToImage
from aejax.training import loop, steps
from aejax.training.config import RunConfig
from aejax.training.devices import make_mesh
from aejax.training.interruption import Interrupted, StopRequest, stop_requests
from aejax.training.loop import fit
from aejax.training.nonfinite import NonFiniteError
from aejax.training.runs import open_run

BATCH, STEPS = 8, 5  # per epoch
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH * STEPS + 3, 4, 4, 1), dtype=np.uint8)
HELD_OUT = np.random.default_rng(1).integers(0, 256, (11, 4, 4, 1), dtype=np.uint8)


class Network(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = nn.tanh(nn.Dense(6)(images.reshape(len(images), -1)))
        return nn.Dense(16)(x).reshape(images.shape)


def noisy_autoencoder() -> Method:
    """Draws from its key in each step, as a denoiser or a VAE does."""
    plain = autoencoder(ImageToImage(Network()), optax.adam(1e-2))

    def step(state: Any, images: jax.Array, key: jax.Array) -> Any:
        return plain.step(state, images + 0.1 * jax.random.normal(key, images.shape), key)

    return plain._replace(step=step)


def train(
    folder: Path,
    *,
    epochs: int = 3,
    method: Method | None = None,
    devices: int = 1,
    after_chunk: Callable | None = None,
    feed_of: Callable = device_feed,
    seeds: int = 1,
) -> tuple[Any, list[dict]]:
    with open_run(RunConfig(runs=folder), "test") as run:
        if after_chunk is not None:
            run.log.scalar = after_chunk  # type: ignore[method-assign]
        feed = feed_of(IMAGES, BATCH, make_mesh(devices, BATCH))
        evaluations = {"held_out": HELD_OUT}
        method = method or noisy_autoencoder()
        states = fit(method, feed, run, epochs=epochs, seed=3, seeds=seeds, evaluations=evaluations)
        return jax.device_get(states[0] if seeds == 1 else states), run.log.records()


def assert_equal_bits(left: Any, right: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(autouse=True, scope="module")
def one_step_per_chunk() -> Iterator[None]:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(loop, "_FIRST_CHUNK", 1)
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)
    yield
    monkeypatch.undo()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict]]:
    return train(tmp_path_factory.mktemp("uninterrupted"))


# In the first epoch, at an epoch's end and in the last epoch.
@pytest.mark.parametrize(("stop_at", "signal_number"), [(1, signal.SIGTERM), (5, signal.SIGINT), (13, signal.SIGTERM)])
def test_a_run_that_is_interrupted_and_resumed_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, uninterrupted: tuple[Any, list[dict]], stop_at: int, signal_number: signal.Signals
) -> None:
    def stop(name: str, value: float, step: int) -> None:
        if step == stop_at:
            signal.raise_signal(signal_number)

    with pytest.raises(Interrupted) as stopped:
        train(tmp_path, after_chunk=stop)
    assert (stopped.value.step, stopped.value.signal_number) == (stop_at, signal_number)
    resumed = train(tmp_path)
    assert_equal_bits(resumed[0], uninterrupted[0])
    assert resumed[1] == uninterrupted[1]
    assert [r["step"] for r in resumed[1] if r["split"] == "train"] == [5, 10, 15]


@pytest.mark.parametrize(("devices", "seeds"), [(1, 1), (2, 1), (1, 2)])
def test_a_run_on_the_streaming_feed_equals_one_on_the_resident_feed_bit_for_bit(
    tmp_path: Path, devices: int, seeds: int
) -> None:
    resident, streamed = (
        train(tmp_path / feed_of.__name__, epochs=2, devices=devices, seeds=seeds, feed_of=feed_of)
        for feed_of in (device_feed, streaming_feed)
    )
    assert_equal_bits(streamed[0], resident[0])
    assert streamed[1] == resident[1]


def test_a_run_may_be_resumed_on_the_other_feed(tmp_path: Path, uninterrupted: tuple[Any, list[dict]]) -> None:
    def stop(name: str, value: float, step: int) -> None:
        if step == 7:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(tmp_path, after_chunk=stop)
    resumed = train(tmp_path, feed_of=streaming_feed)
    assert_equal_bits(resumed[0], uninterrupted[0])
    assert resumed[1] == uninterrupted[1]


def test_a_run_that_dies_without_a_checkpoint_of_its_last_epoch_repeats_that_epoch(
    tmp_path: Path, uninterrupted: tuple[Any, list[dict]]
) -> None:
    def die(name: str, value: float, step: int) -> None:
        if step == 8:
            raise MemoryError

    with pytest.raises(MemoryError):
        train(tmp_path, after_chunk=die)
    resumed = train(tmp_path)
    assert_equal_bits(resumed[0], uninterrupted[0])
    assert resumed[1] == uninterrupted[1]


def test_metrics_written_after_the_last_checkpoint_are_neither_lost_nor_doubled(
    tmp_path: Path, uninterrupted: tuple[Any, list[dict]]
) -> None:
    train(tmp_path, epochs=2)
    log = tmp_path / "test" / "mnist-seed0" / "metrics.jsonl"
    with log.open("a") as file:
        file.write(json.dumps({"step": 15, "epoch": 3, "split": "train", "loss": 1.0}) + '\n{"step": 15, "ep')
    assert train(tmp_path)[1] == uninterrupted[1]


def test_a_complete_run_is_left_as_it_is(tmp_path: Path) -> None:
    first = train(tmp_path)
    second = train(tmp_path, after_chunk=lambda *_: pytest.fail("a step was taken"))
    assert_equal_bits(first[0], second[0])
    assert first[1] == second[1]


@pytest.mark.parametrize("chunk", [2, 100])
def test_results_do_not_depend_on_how_steps_are_grouped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Any, list[dict]], chunk: int
) -> None:
    monkeypatch.setattr(loop, "_FIRST_CHUNK", chunk)
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 1e9)
    grouped = train(tmp_path)
    assert_equal_bits(grouped[0], uninterrupted[0])
    assert grouped[1] == uninterrupted[1]


def test_the_step_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, traces, programs = noisy_autoencoder(), [], []

    def step(state: Any, images: jax.Array, key: jax.Array) -> Any:
        traces.append(None)
        return plain.step(state, images, key)

    class Counted:
        """Every call of a compiled program goes through `lower` and `compile`: there is no other way to run one."""

        def __init__(self, jitted: Any) -> None:
            self.jitted = jitted

        def lower(self, *arguments: Any) -> Any:
            programs.append(None)
            return self.jitted.lower(*arguments)

    compile_steps = steps.compile_steps
    monkeypatch.setattr(steps, "compile_steps", lambda *arguments: Counted(compile_steps(*arguments)))
    monkeypatch.setattr(loop, "_FIRST_CHUNK", 2)  # chunks of 2, 1, 1 and 1 steps
    train(tmp_path, method=plain._replace(step=step))
    assert len(programs) == 1
    # Traced for the metrics' shapes and for the one program; a retrace would mean another program.
    shapes_only = 2  # once to lay out the state for a restore, once to make it
    assert len(traces) <= shapes_only + 1


@pytest.mark.parametrize("feed_of", [device_feed, streaming_feed])
def test_the_bare_loop_reaches_the_state_of_a_run_bit_for_bit(
    uninterrupted: tuple[Any, list[dict]], feed_of: Callable
) -> None:
    feed = feed_of(IMAGES, BATCH, make_mesh(1, BATCH))
    state = loop.train(noisy_autoencoder(), feed, rng.root_key(3), 3 * STEPS)
    assert_equal_bits(jax.device_get(state), uninterrupted[0])


def test_the_bare_loop_takes_no_step_where_none_is_asked_for_and_stops_at_one_that_is_not_finite() -> None:
    method, root = noisy_autoencoder(), rng.root_key(3)
    start = method.init(rng.stream(root, "initialisation"), jnp.zeros((BATCH, *IMAGES.shape[1:])))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), loop.train(method, feed(), root, 0), start)
    diverging = autoencoder(ImageToImage(Network()), optax.sgd(1e38))
    with pytest.raises(NonFiniteError, match=r"not finite at step [0-9]+$"):
        loop.train(diverging, feed(), root, 2 * STEPS)


def test_different_seeds_shuffle_and_draw_differently(tmp_path: Path) -> None:
    feed = device_feed(IMAGES, BATCH, make_mesh(1, BATCH))
    losses = []
    for seed in (0, 1):
        with open_run(RunConfig(runs=tmp_path, seed=seed), "test") as run:
            fit(noisy_autoencoder(), feed, run, epochs=1, seed=seed, evaluations={"held_out": HELD_OUT})
            losses.append(run.log.records()[0]["loss"])
    assert losses[0] != losses[1]


def feed() -> Any:
    return device_feed(IMAGES, BATCH, make_mesh(1, BATCH))


def test_train_metrics_are_means_over_the_steps_of_the_epoch(tmp_path: Path) -> None:
    frozen = autoencoder(ImageToImage(Network()), optax.sgd(0.0))
    state, records = train(tmp_path, epochs=1, method=frozen)
    rows = feed().order(rng.root_key(3), jnp.int32(0))
    images = jnp.asarray(IMAGES, jnp.float32) / 255
    expected = np.mean([frozen.evaluate(state, images[row], None)["loss"].mean() for row in rows])
    assert records[0]["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_the_best_checkpoint_is_the_one_with_the_lowest_held_out_loss(tmp_path: Path) -> None:
    plain = noisy_autoencoder()

    def evaluate(state: Any, images: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        epoch = state.opt_state[0].count // STEPS
        return {"loss": jnp.full(len(images), jnp.array([9.0, 3.0, 1.0, 2.0, 5.0, 4.0])[epoch])}

    train(tmp_path, epochs=5, method=plain._replace(evaluate=evaluate))
    with open_run(RunConfig(runs=tmp_path), "test") as run:
        assert run.checkpoints.best_step() == 2 * STEPS
        assert run.checkpoints.steps() == [2 * STEPS, 4 * STEPS, 5 * STEPS]


def test_a_run_stopped_in_an_evaluation_has_it_when_it_is_started_again(
    tmp_path: Path, uninterrupted: tuple[Any, list[dict]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the run, and after its last step."""
    over_images, calls = loop.batching.over_images, []

    def stopping(function: Callable, mesh: Any) -> Callable:
        evaluate = over_images(function, mesh)

        def run(state: Any, images: Any) -> Any:
            calls.append(None)
            if len(calls) in (2, 4):
                signal.raise_signal(signal.SIGTERM)
            return evaluate(state, images)

        return run

    monkeypatch.setattr(loop.batching, "over_images", stopping)
    for step in (10, 15):
        with pytest.raises(Interrupted) as stopped:
            train(tmp_path)
        assert stopped.value.step == step
    resumed = train(tmp_path)
    assert_equal_bits(resumed[0], uninterrupted[0])
    assert resumed[1] == uninterrupted[1]
    with open_run(RunConfig(runs=tmp_path), "test") as run:
        losses = {r["step"]: r["loss"] for r in resumed[1] if r["split"] == "held_out"}
        assert run.checkpoints.best_step() == min(losses, key=lambda step: losses[step])


def test_lost_metrics_are_said_and_those_of_the_last_epoch_come_back(
    tmp_path: Path, uninterrupted: tuple[Any, list[dict]], capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path)
    capsys.readouterr()
    (tmp_path / "test" / "mnist-seed0" / "metrics.jsonl").unlink()
    state, records = train(tmp_path)
    assert_equal_bits(state, uninterrupted[0])
    assert records == [record for record in uninterrupted[1] if record["step"] == 15]
    assert "the metrics of epochs 1, 2 were lost" in capsys.readouterr().err


def slip(**functions: Callable) -> Method:
    """An autoencoder with a user's mistake in it."""
    return autoencoder(ImageToImage(Network()), optax.sgd(0.1))._replace(**functions)


PLAIN = autoencoder(ImageToImage(Network()), optax.sgd(0.1))


def nan_init(key: jax.Array, images: jax.Array) -> Any:
    return jax.tree.map(lambda x: x * jnp.nan if x.ndim else x, PLAIN.init(key, images))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            slip(evaluate=lambda s, x, k: {"loss": PLAIN.evaluate(s, x, k)["loss"].mean()}),
            r'"loss" in the method\'s evaluate must be one value per example, of shape \(8,\) .*, not of shape \(\)$',
        ),
        (
            slip(evaluate=lambda s, x, k: {"loss": PLAIN.evaluate(s, x, k)["loss"][:, None]}),
            r"must be one value per example, of shape \(8,\) .*, not of shape \(8, 1\)$",
        ),
        (slip(evaluate=lambda s, x, k: PLAIN.evaluate(s, x, k)["loss"]), "evaluate must give a dictionary of metrics"),
        (slip(step=lambda s, x, k: PLAIN.step(s, x, k)[0]), r"step must return \(state, a dictionary of metrics\)$"),
        (slip(step=lambda s, x, k: (s.params, PLAIN.step(s, x, k)[1])), "a state of the structure that its init"),
        (slip(init=nan_init), r"^the initial parameters\['params'\]\S* are NaN or infinite: check their initialiser"),
    ],
)
def test_slips_are_told_before_the_first_step(tmp_path: Path, method: Method, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path, method=method, after_chunk=lambda *_: pytest.fail("a step was taken"))


def stopped_in_training(request: StopRequest) -> None:
    with request.deferred():
        signal.raise_signal(signal.SIGINT)
        assert request.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def stopped_before_an_evaluation(request: StopRequest) -> None:
    with request.deferred():
        signal.raise_signal(signal.SIGINT)
        with request.immediate():
            pytest.fail("a signal that had come was not answered")


@pytest.mark.parametrize(
    "phase", [stopped_in_training, stopped_before_an_evaluation, lambda _: signal.raise_signal(signal.SIGINT)]
)
def test_a_first_signal_acts_at_once_but_in_training_and_a_second_one_always(phase: Callable) -> None:
    # A shell's background process would inherit that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_requests() as request, pytest.raises(Interrupted, match=r"^SIGINT$"):
            phase(request)
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_training_leaves_signals_alone(tmp_path: Path, uninterrupted: tuple[Any, list[dict]]) -> None:
    with ThreadPoolExecutor(1) as threads:
        state, records = threads.submit(train, tmp_path).result()
    assert_equal_bits(state, uninterrupted[0])
    assert records == uninterrupted[1]
