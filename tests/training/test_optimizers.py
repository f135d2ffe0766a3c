"""Learning rates by the step, and optimisers from a run's options."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.errors import UserError
from aejax.training import optimizers
from aejax.training.config import RunConfig
from aejax.training.optimizers import scheduled

STEPS = 20


def test_constant_is_the_rate_itself() -> None:
    assert scheduled("constant", 0.3, 100) == 0.3


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (25, 0.5 + 0.5 * 2**-0.5), (50, 0.5), (100, 0.0), (200, 0.0)])
def test_cosine_falls_from_the_peak_to_nothing(step: int, share: float) -> None:
    rate = scheduled("cosine", 0.3, 100)
    assert callable(rate)
    assert float(rate(step)) == pytest.approx(0.3 * share, abs=1e-7)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (5, 0.5), (10, 1.0), (105, 0.5), (200, 0.0)])
def test_warmup_comes_first_and_counts_among_the_steps(step: int, share: float) -> None:
    rate: optax.ScalarOrSchedule = scheduled("warmup_cosine", 0.3, 200)
    assert callable(rate)
    assert float(rate(step)) == pytest.approx(0.3 * share, abs=1e-7)


def path(optimizer: optax.GradientTransformation) -> np.ndarray:
    """The params after each step on a quadratic, whose gradients are of length 8 at first: (STEPS, 2)."""

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Any]:
        params, state = carry
        updates, state = optimizer.update(4 * params, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = jnp.array([2.0, 0.1])
    return np.asarray(jax.lax.scan(step, (start, optimizer.init(start)), None, STEPS)[1])


def torch_rmsprop(rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    return optax.rmsprop(rate, decay=0.99)


COSINE = optax.cosine_decay_schedule(0.1, STEPS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, optax.adam(0.1)),
        ({"schedule": "cosine"}, optax.adam(COSINE)),
        ({"clip_norm": 2.0}, optax.chain(optax.clip_by_global_norm(2.0), optax.adam(0.1))),
    ],
)
def test_without_weight_decay_it_is_optax_own_to_the_bit(
    options: dict[str, Any], expected: optax.GradientTransformation
) -> None:
    np.testing.assert_array_equal(path(optimizers.build(RunConfig(**options), 0.1, STEPS)), path(expected))


@pytest.mark.parametrize("rate", ["constant", "cosine"])
def test_weight_decay_makes_adamw_of_adam(rate: Any) -> None:
    config = RunConfig(weight_decay=0.3, schedule=rate)
    expected = optax.adamw(scheduled(rate, 0.1, STEPS), b1=0.5, weight_decay=0.3)
    np.testing.assert_allclose(path(optimizers.build(config, 0.1, STEPS, b1=0.5)), path(expected), rtol=1e-5, atol=1e-6)


def test_weight_decay_goes_with_any_optimiser_and_is_not_clipped() -> None:
    config = RunConfig(weight_decay=0.3, clip_norm=1e-9)
    params = path(optimizers.build(config, 0.1, STEPS, make=optax.sgd))
    # Of gradients as good as none, the decay alone is left.
    np.testing.assert_allclose(params[:, 0], 2.0 * (1 - 0.1 * 0.3) ** np.arange(1, STEPS + 1), rtol=1e-5)


@pytest.mark.parametrize("make", [torch_rmsprop, optax.sgd])
def test_an_optimiser_of_ones_own_gets_the_learning_rate(make: Callable[..., optax.GradientTransformation]) -> None:
    config = RunConfig(schedule="cosine")
    np.testing.assert_array_equal(path(optimizers.build(config, 0.1, STEPS, make=make)), path(make(COSINE)))


def test_a_schedule_of_ones_own_stands_in_place_of_the_option() -> None:
    np.testing.assert_array_equal(path(optimizers.build(RunConfig(), COSINE, STEPS)), path(optax.adam(COSINE)))
    with pytest.raises(UserError, match=r"^--schedule warmup_cosine: "):
        optimizers.build(RunConfig(schedule="warmup_cosine"), COSINE, STEPS)
