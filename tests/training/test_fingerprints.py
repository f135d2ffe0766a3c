"""What a run computes is told from what it does not, and a run is refused by the name of what has changed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.data.feeds import device_feed
from aejax.errors import UserError
from aejax.methods.method import Method, one_optimizer
from aejax.training import fingerprints, loop
from aejax.training.config import RunConfig
from aejax.training.devices import make_mesh
from aejax.training.records import read_params, read_run
from aejax.training.runs import open_run

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 2, 2, 1), dtype=np.uint8)
TARGETS = np.arange(4, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class RunConfigWithEpochs(RunConfig):
    epochs: int = 1


def linear(
    *,
    delta: float = 0.1,
    optimizer: optax.GradientTransformation | None = None,
    width: int = 4,
    scale: float = 1.0,
    targets: np.ndarray = TARGETS,
) -> Method:
    def init(key: jax.Array, images: jax.Array) -> Any:
        return {"w": scale * jax.random.normal(key, (width,))}

    def huber(params: Any, images: jax.Array, key: jax.Array, step: jax.Array) -> Any:
        x = images.reshape(len(images), -1) - jnp.asarray(targets)
        return jax.jit(optax.huber_loss)(x @ params["w"][:4], delta=delta), {}

    return one_optimizer(init, huber, optimizer or optax.adam(1e-2))


def changed(method: Method) -> set[str]:
    feed = device_feed(IMAGES, 4, make_mesh(1, 4))
    one, other = (fingerprints.of_method(m, feed) for m in (linear(), method))
    return {part for part in one if one[part] != other[part]}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (linear, set()),
        (lambda: linear(delta=0.2), {"step"}),
        (lambda: linear(targets=TARGETS + np.eye(4, dtype=np.float32)[2]), {"step"}),
        (lambda: linear(optimizer=optax.adam(2e-2)), {"step"}),
        (lambda: linear(scale=2.0), {"initialisation"}),
        (lambda: linear(optimizer=optax.sgd(1e-2)), {"step", "initialisation", "state"}),
        (
            lambda: linear(optimizer=optax.adam(optax.cosine_decay_schedule(1e-2, 10))),
            {"step", "initialisation", "state"},
        ),
        (lambda: linear(width=5), {"step", "initialisation", "parameters", "state"}),
    ],
)
def test_a_change_of_what_is_computed_is_seen_where_it_is(make: Callable[[], Method], expected: set[str]) -> None:
    assert changed(make()) == expected


def test_names_and_devices_are_not_seen() -> None:
    traced = [jax.make_jaxpr(jax.jit(f))(1.0) for f in (lambda x: 2 * x, lambda y: 2 * y)]
    assert len({fingerprints.of_program(program) for program in traced}) == 1
    feeds = [device_feed(IMAGES, 4, make_mesh(devices, 4)) for devices in (1, 2)]
    assert fingerprints.of_method(linear(), feeds[0]) == fingerprints.of_method(linear(), feeds[1])


def train(folder: Path, method: Method, epochs: int = 1, seed: int = 0, images: np.ndarray = IMAGES) -> Any:
    with open_run(RunConfig(runs=folder, name="run"), "test") as run:
        feed = device_feed(images, 4, make_mesh(1, 4))
        return loop.fit(method, feed, run, epochs=epochs, seed=seed, seeds=2, evaluations={"held_out": IMAGES[:3]})


def test_a_run_goes_on_with_the_same_method_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, linear())
    with pytest.raises(UserError, match=r"run was begun with another training step \(loss.*\): undo"):
        train(tmp_path, linear(delta=1.0))
    with pytest.raises(UserError, match=r"training step .*, another initialisation, another structure of the state"):
        train(tmp_path, linear(optimizer=optax.sgd(0.1)))
    with pytest.raises(UserError, match=r"run was begun with another number of training images or size of batches"):
        train(tmp_path, linear(), images=IMAGES[:19])
    states = train(tmp_path, linear(), epochs=2)  # more epochs change nothing but the end
    assert "resuming, at step 5 of 10" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"has been trained for 2 epochs: set --epochs to at least that"):
        train(tmp_path, linear(), epochs=1)

    with pytest.raises(UserError, match=r"run was begun with another seed: "):
        train(tmp_path, linear(), epochs=2, seed=1)

    record = read_run(tmp_path / "test" / "run")
    assert (record.seed, record.seeds) == (0, 2)
    with pytest.raises(UserError, match="has the seed indices 0 to 1, not 2"):
        read_params(record.path, seed_index=2)
    for index, state in enumerate(states):
        step, params = read_params(tmp_path / "test" / "run", seed_index=index)
        assert step == 10
        np.testing.assert_array_equal(params["w"], state.params["w"])

    # Another JAX may trace another program.
    monkeypatch.setattr(jax, "__version__", "99.0")
    capsys.readouterr()
    train(tmp_path, linear(delta=1.0), epochs=2)
    assert "whether the training step is the one that the run was begun with is not known" in capsys.readouterr().err


def test_a_schedule_over_the_epochs_forbids_more_of_them_and_says_so(tmp_path: Path) -> None:
    def train(epochs: int) -> None:
        schedule = optax.cosine_decay_schedule(1e-2, 5 * epochs)
        with open_run(RunConfigWithEpochs(runs=tmp_path, name="run", epochs=epochs), "test") as run:
            feed = device_feed(IMAGES, 4, make_mesh(1, 4))
            loop.fit(linear(optimizer=optax.adam(schedule)), feed, run, epochs=epochs, seed=0, evaluations={})

    train(1)
    with pytest.raises(
        UserError, match=r"^--epochs 2 makes another training step .* as its schedule depends .*, which was 1: "
    ):
        train(2)
    train(1)


def test_a_record_tells_of_the_run(tmp_path: Path) -> None:
    config = RunConfig(runs=tmp_path, name="run", seed=4)
    with open_run(config, "test", model={"kind": "linear"}, image_shape=(2, 2, 1), data={"train": "ab"}) as run:
        path = run.path
    record = read_run(path)
    assert (record.experiment, record.model, record.image_shape, record.data) == (
        "test",
        {"kind": "linear"},
        (2, 2, 1),
        {"train": "ab"},
    )
    assert (record.seed, record.seeds, record.options["dataset"]) == (4, 1, "mnist")
    with pytest.raises(UserError, match="holds no checkpoint"):
        read_params(path)
    with pytest.raises(UserError, match="has the seed indices 0 to 0, not 1"):
        read_params(path, seed_index=1)
    with pytest.raises(UserError, match="holds no run"):
        read_run(tmp_path)
