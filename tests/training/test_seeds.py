"""Seeds as an axis: each of them is the run that has this seed alone."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.data.feeds import device_feed
from aejax.methods.method import Method, one_optimizer
from aejax.tables import mean_and_sd
from aejax.training import steps
from aejax.training.config import RunConfig
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.nonfinite import NonFiniteError
from aejax.training.runs import open_run
from aejax.training.seeds import over_seeds, roots

IMAGES = np.random.default_rng(0).integers(0, 256, (22, 4, 4, 1), dtype=np.uint8)


def noisy_method(blow_up_above: float = np.inf) -> Method:
    """A linear model whose initial params, noise and order of images all depend on the seed."""

    def init(key: jax.Array, images: jax.Array) -> Any:
        return {"w": jax.random.normal(key, (16,))}

    def loss(params: Any, images: jax.Array, key: jax.Array, step: jax.Array) -> Any:
        x = images.reshape(len(images), -1)
        value = jnp.square(x @ params["w"] + jax.random.normal(key, (len(x),)))
        # One seed's parameters start larger than the others'.
        return jnp.where(jnp.abs(params["w"]).max() > blow_up_above, jnp.nan, value), {"size": x.sum(1)}

    return one_optimizer(init, loss, optax.sgd(1e-2))


def train(folder: Path, seed: int, seeds: int, method: Method | None = None, devices: int = 1) -> Any:
    with open_run(RunConfig(runs=folder, name=f"{seed}-{seeds}-{devices}"), "test") as run:
        feed = device_feed(IMAGES, 4, make_mesh(devices, 4))
        evaluations = {"held_out": IMAGES[:7]}
        states = fit(method or noisy_method(), feed, run, epochs=2, seed=seed, seeds=seeds, evaluations=evaluations)
        return jax.device_get(states), run.log.records()


def test_every_seed_of_the_axis_is_the_run_of_that_seed(tmp_path: Path) -> None:
    states, records = train(tmp_path, 3, 3)
    alone = [train(tmp_path, seed, 1) for seed in (3, 4, 5)]
    for state, ((other,), _) in zip(states, alone, strict=True):
        np.testing.assert_allclose(state.params["w"], other.params["w"], rtol=1e-5)
    assert len({float(state.params["w"][0]) for state in states}) == 3
    for line, record in enumerate(records):
        losses = [own[line]["loss"] for _, own in alone]
        assert record["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
        assert record["loss_sd"] == pytest.approx(np.std(losses, ddof=1), rel=1e-4)


def test_seeds_and_devices_go_together(tmp_path: Path) -> None:
    one, two = (train(tmp_path, 0, 2, devices=devices)[0] for devices in (1, 2))
    for i in range(2):
        np.testing.assert_allclose(one[i].params["w"], two[i].params["w"], rtol=1e-5)


def test_one_seed_that_is_not_finite_stops_all_at_its_step(tmp_path: Path) -> None:
    states, _ = train(tmp_path, 0, 3)
    largest = np.sort([np.abs(state.params["w"]).max() for state in states])
    limit = float(largest[-2:].mean())  # exceeded by at least one of them
    with pytest.raises(NonFiniteError, match=r"of seed [0-2] in"):
        train(tmp_path / "again", 0, 3, noisy_method(limit))


def test_the_steps_loop_has_no_condition_per_seed() -> None:
    feed = device_feed(IMAGES, 4, make_mesh(1, 4))
    root = roots(0, 3)
    progress = jax.eval_shape(lambda r: steps.initial_progress(noisy_method(), feed, r), root)
    order = jax.eval_shape(over_seeds(feed.order, 3, (0, None)), root, 0)
    program = steps.compile_steps(noisy_method(), feed, 3)
    traced = program.trace(progress, feed.images, order, root, jnp.int32(0), jnp.int32(2))
    (loop_equation,) = [e for e in _equations(traced.jaxpr.jaxpr) if e.primitive.name == "while"]
    # With a condition per seed, `vmap` would make it an `any` over them and select among the carries at every step.
    condition = loop_equation.params["cond_jaxpr"]
    assert "reduce_or" not in {e.primitive.name for e in condition.jaxpr.eqns}
    assert all(aval.shape == () for aval in condition.out_avals)


def _equations(jaxpr: Any) -> list[Any]:
    """All of the program, those of jitted functions in it included, but not a loop's own."""
    found = []
    for equation in jaxpr.eqns:
        found.append(equation)
        if equation.primitive.name in ("pjit", "jit"):
            found += _equations(equation.params["jaxpr"].jaxpr)
    return found


def test_of_several_values_the_sd_stands_beside_the_mean() -> None:
    assert mean_and_sd({"a": np.array([1.0, 3.0]), "b": np.array(2.0)}) == {"a": 2.0, "a_sd": np.sqrt(2), "b": 2.0}
    assert json.dumps(mean_and_sd({"a": np.array([1.0])})) == '{"a": 1.0}'
