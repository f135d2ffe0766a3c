"""What is learnt and how: a method is three pure functions over a pytree state.

`one_optimizer` makes a method of a per-example loss and an optax optimiser. A method with several optimisers or phases
supplies its own three functions; the training loop makes no difference between them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

Params = Any
State = Any
Metrics = dict[str, Array]
Loss = Callable[..., tuple[Array, Metrics]]


class Method(NamedTuple):
    """Images are float32 (batch, height, width, channels) in [0, 1], or, for a method that says so, a tree with them.

    `key` is this call's own.

    Attributes:
      init: (key, images) -> state. Uses the images' shape only.
      step: (state, images, key) -> (state, metrics): one update; metrics are scalars, means over the batch. A step with
        a metric that is not finite ends training or, on request, is left out: report the norms of gradients.
      evaluate: (state, images, key) -> metrics, one value per example each: (batch,).
    """

    init: Callable[[Array, Any], State]
    step: Callable[[State, Any, Array], tuple[State, Metrics]]
    evaluate: Callable[[State, Any, Array], Metrics]


class TrainState(NamedTuple):
    """The state of a method with one optimiser, after `step` updates: int32 ()."""

    params: Params
    opt_state: optax.OptState
    step: Array


def one_optimizer(
    init_params: Callable[[Array, Array], Params],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    evaluate: Loss | None = None,
    weight: optax.Schedule | None = None,
) -> Method:
    """A method that follows the gradient of a loss, averaged over the batch.

    Args:
      init_params: (key, images) -> params.
      loss: (params, images, key) -> (loss per example (batch,), further metrics per example).
      optimizer: any optax transformation.
      evaluate: the loss to evaluate with, (params, images, key), where it differs from the one to train on.
      weight: a function of the step, from 0, whose value `loss` takes as a fourth argument; with it, give `evaluate`.

    Returns:
      A method whose metrics are the loss's own, "loss" and, in training, "gradient_norm".
    """

    def init(key: Array, images: Array) -> TrainState:
        params = init_params(key, images)
        return TrainState(params, optimizer.init(params), jnp.int32(0))

    def mean_loss(params: Params, *arguments: Array) -> tuple[Array, Metrics]:
        values, metrics = loss(params, *arguments)
        return values.mean(), {"loss": values, **metrics}

    def step(state: TrainState, images: Array, key: Array) -> tuple[TrainState, Metrics]:
        weights = () if weight is None else (jnp.asarray(weight(state.step)),)
        gradients, metrics = jax.grad(mean_loss, has_aux=True)(state.params, images, key, *weights)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        means = {name: jnp.mean(values) for name, values in metrics.items()}
        means["gradient_norm"] = optax.tree.norm(gradients)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), means

    def evaluate_examples(state: TrainState, images: Array, key: Array) -> Metrics:
        values, metrics = (evaluate or loss)(state.params, images, key)
        return {"loss": values, **metrics}

    return Method(init, step, evaluate_examples)


def clipped(optimizer: optax.GradientTransformation, norm: float | None) -> optax.GradientTransformation:
    """The optimizer, given gradients whose global norm is at most `norm` (Pascanu et al. 2013); None: as they are."""
    return optimizer if norm is None else optax.chain(optax.clip_by_global_norm(norm), optimizer)


def update(
    phase: str,
    loss: Callable[[Params], tuple[Array, Metrics]],
    names: tuple[str, ...],
    optimizer: optax.GradientTransformation,
    params: Params,
    opt_state: optax.OptState,
) -> tuple[Params, optax.OptState, Metrics]:
    """One phase of a step: the named parts of params follow the gradient of the mean loss, all others stay.

    Args:
      phase: its name.
      loss: params -> (loss per example (batch,), further metrics per example).
      names: of the parts, keys of params.
      optimizer: of this phase, over {name: params[name]}.
      params: of all parts.
      opt_state: of the optimizer.

    Returns:
      Params, the optimizer's new state, and the means of the metrics with phase + "_gradient_norm", which is NaN where
      the loss is not finite.
    """

    def mean_loss(own: Params) -> tuple[Array, Metrics]:
        values, metrics = loss({**params, **own})
        return values.mean(), metrics

    own = part(params, names)
    (value, metrics), gradients = jax.value_and_grad(mean_loss, has_aux=True)(own)
    updates, opt_state = optimizer.update(gradients, opt_state, own)
    means = {name: jnp.mean(values) for name, values in metrics.items()}
    means[f"{phase}_gradient_norm"] = jnp.where(jnp.isfinite(value), optax.tree.norm(gradients), jnp.nan)
    return {**params, **optax.apply_updates(own, updates)}, opt_state, means


def part(params: Params, names: tuple[str, ...]) -> Params:
    """The named parts of params, as an optimizer of these alone sees them."""
    return {name: params[name] for name in names}
