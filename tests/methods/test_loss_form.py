"""A loss of another form than the one that is asked for: told in one line when the step is traced."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import Array

from aejax.errors import UserError
from aejax.methods.method import Method, Phase, one_optimizer, several_optimizers

IMAGES = jnp.ones((6, 2, 2, 1))
MUST = r"must return \(one value per example, a dictionary of further metrics per example\)"


def init(key: Array, batch: Array) -> dict[str, Array]:
    return {"w": jnp.ones(())}


def per_example(params: Any, images: Array) -> Array:
    return (params["w"] * images).sum((1, 2, 3))


def traced(method: Method, part: str) -> None:
    state = jax.eval_shape(method.init, jax.random.key(0), IMAGES)
    jax.eval_shape(getattr(method, part), state, IMAGES, jax.random.key(0))


SLIPS: list[tuple[Callable[[Array], Any], str]] = [
    (lambda values: values, rf"the loss {MUST}, not an array of shape \(6,\)"),
    (lambda values: None, rf"{MUST}, not NoneType"),
    (lambda values: (values, {}, values), r"not tuple of 3 \(an array of shape \(6,\), dict, an array"),
    (lambda values: (values, None), r"not tuple of 2 \(an array of shape \(6,\), NoneType\)"),
    (lambda values: (values.mean(), {}), r"its values must have the shape \(6,\), not be an array of shape \(\)"),
    (lambda values: (values[:, None], {}), r"not be an array of shape \(6, 1\)"),
    (lambda values: (values.astype(int), {}), "must be floating point, not int"),
    (lambda values: (values, {"a": values.mean()}), r"its metric 'a' must have the shape \(6,\)"),
    (lambda values: (values, {"a": "high"}), "its metric 'a' .* not be str"),
    (lambda values: (values, {"a": {"b": values}}), "its metric 'a' .* not be dict"),
    (lambda values: (values, {"loss": values}), "a metric called 'loss': choose another name"),
    (lambda values: (values, {"gradient_norm": values}), "a metric called 'gradient_norm'"),
    (lambda values: (values, {1: values}), "a metric called 1"),
]


@pytest.mark.parametrize(("slip", "message"), SLIPS)
@pytest.mark.parametrize("part", ["step", "evaluate"])
def test_a_loss_of_another_form_is_refused_with_the_expected_one(
    slip: Callable[[Array], Any], message: str, part: str
) -> None:
    method = one_optimizer(init, lambda params, images, key, step: slip(per_example(params, images)), optax.sgd(0.1))
    with pytest.raises(UserError, match=message):
        traced(method, part)


@pytest.mark.parametrize("result", [lambda values: values, lambda values: (values.mean(), {})])
def test_a_phase_is_named_with_its_slip(result: Callable[[Array], Any]) -> None:
    def loss(params: Any, images: Array, key: Array, step: Array) -> Any:
        return result(per_example(params, images))

    method = several_optimizers(init, [Phase("critic", loss, ("w",), optax.sgd(0.1))], loss)
    with pytest.raises(UserError, match=f"the critic phase's loss {MUST}"):
        traced(method, "step")
    with pytest.raises(UserError, match=MUST):
        traced(method, "evaluate")


def test_a_phase_may_learn_from_a_part_of_the_batch() -> None:
    def loss(params: Any, images: Array, key: Array, step: Array) -> Any:
        values = per_example(params, images[:3])
        return values, {"loss": values}

    traced(several_optimizers(init, [Phase("half", loss, ("w",), optax.sgd(0.1))], loss), "step")
