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
Loss = Callable[[Params, Array, Array], tuple[Array, Metrics]]


class Method(NamedTuple):
    """Images are float32 (batch, height, width, channels) in [0, 1]; `key` is this call's own.

    Attributes:
      init: (key, images) -> state. Uses the images' shape only.
      step: (state, images, key) -> (state, metrics): one update; metrics are scalars, means over the batch. Training
        stops at the first step with a metric that is not finite.
      evaluate: (state, images, key) -> metrics, one value per example each: (batch,).
    """

    init: Callable[[Array, Array], State]
    step: Callable[[State, Array, Array], tuple[State, Metrics]]
    evaluate: Callable[[State, Array, Array], Metrics]


class TrainState(NamedTuple):
    """The state of a method with one optimiser."""

    params: Params
    opt_state: optax.OptState


def one_optimizer(
    init_params: Callable[[Array, Array], Params],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    evaluate: Loss | None = None,
) -> Method:
    """A method that follows the gradient of a loss, averaged over the batch.

    Args:
      init_params: (key, images) -> params.
      loss: (params, images, key) -> (loss per example (batch,), further metrics per example).
      optimizer: any optax transformation.
      evaluate: the loss to evaluate with, where it differs from the one to train on.

    Returns:
      A method whose metrics are the loss's own, "loss" and, in training, "gradient_norm".
    """

    def init(key: Array, images: Array) -> TrainState:
        params = init_params(key, images)
        return TrainState(params, optimizer.init(params))

    def mean_loss(params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
        values, metrics = loss(params, images, key)
        return values.mean(), {"loss": values, **metrics}

    def step(state: TrainState, images: Array, key: Array) -> tuple[TrainState, Metrics]:
        gradients, metrics = jax.grad(mean_loss, has_aux=True)(state.params, images, key)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        means = {name: jnp.mean(values) for name, values in metrics.items()}
        means["gradient_norm"] = optax.tree.norm(gradients)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), means

    def evaluate_examples(state: TrainState, images: Array, key: Array) -> Metrics:
        values, metrics = (evaluate or loss)(state.params, images, key)
        return {"loss": values, **metrics}

    return Method(init, step, evaluate_examples)
