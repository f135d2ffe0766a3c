"""Methods: how a model is learnt, as three pure functions over a pytree state.

`one_optimizer` makes a method of a loss per example and an optax optimiser. `several_optimizers` makes one of several
phases, each with its own loss, parameters and optimiser. `with_ema` wraps any method. A method may also supply its own
three functions; the training loop makes no difference between them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import rng
from aejax.errors import UserError

Params = Any
State = Any
Batch = Any
Metrics = dict[str, Array]
Loss = Callable[[Params, Batch, Array, Array], tuple[Array, Metrics]]
"""(params, batch, key, step) -> (loss per example (batch,), further metrics per example)."""


class Method(NamedTuple):
    """Three pure functions. A batch is float32 images (batch, height, width, channels) in [0, 1], or a tree with them.

    `key` is this call's own.

    Attributes:
      init: (key, batch) -> state. Uses the batch's shapes alone. The state has the field `params`, a model's params.
      step: (state, batch, key) -> (state, metrics): one update; metrics are scalars, means over the batch. A step with
        a metric that is not finite ends training or, on request, is left out: report the norms of gradients.
      evaluate: (state, batch, key) -> metrics, one value per example each: (batch,).
    """

    init: Callable[[Array, Batch], State]
    step: Callable[[State, Batch, Array], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch, Array], Metrics]


class TrainState(NamedTuple):
    """The state of a method with one optimiser or several.

    Attributes:
      params: all parameters.
      opt_state: the optimiser's state; with several, each phase's own by its name.
      step: the number of updates so far, int32 ().
      statistics: what no gradient moves, such as running averages; () where there is nothing.
    """

    params: Params
    opt_state: Any
    step: Array
    statistics: Any = ()


class Phase(NamedTuple):
    """One part of a step: some of the parameters follow the gradient of a loss, all others stay.

    Attributes:
      name: of the phase.
      loss: what the phase minimises, averaged over the batch.
      parts: the keys of params that move.
      optimizer: of this phase, over {key: params[key]}.
    """

    name: str
    loss: Loss
    parts: tuple[str, ...]
    optimizer: optax.GradientTransformation


class Statistics(NamedTuple):
    """State that is not learnt by gradient.

    Attributes:
      init: (key, params, batch) -> statistics.
      update: (params, statistics, batch, key, step) -> (params, statistics, metrics per example), after the phases. It
        may set params that no phase moves, such as a codebook.
    """

    init: Callable[[Array, Params, Batch], Any]
    update: Callable[[Params, Any, Batch, Array, Array], tuple[Params, Any, Metrics]]


def one_optimizer(
    init_params: Callable[[Array, Batch], Params],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    evaluate: Loss | None = None,
) -> Method:
    """Makes a method that follows the gradient of a loss, averaged over the batch.

    Args:
      init_params: (key, batch) -> params.
      loss: (params, batch, key, step) -> (loss per example (batch,), further metrics per example).
      optimizer: any optax transformation.
      evaluate: the loss to evaluate with, where it differs from the one to train on.

    Returns:
      A method whose metrics are the loss's own, "loss" and, in training, "gradient_norm". Its functions raise UserError
      where a loss returns something else.

    >>> method = one_optimizer(network.init, lambda params, images, key, step: (..., {}), optax.adam(1e-3))
    """

    def init(key: Array, batch: Batch) -> TrainState:
        params = init_params(key, batch)
        return TrainState(params, optimizer.init(params), jnp.int32(0))

    def mean_loss(params: Params, batch: Batch, key: Array, step: Array) -> tuple[Array, Metrics]:
        values, metrics = call(loss, params, batch, key, step)
        return values.mean(), {"loss": values, **metrics}

    def step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        gradients, metrics = jax.grad(mean_loss, has_aux=True)(state.params, batch, key, state.step)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        means = {name: jnp.mean(values) for name, values in metrics.items()}
        means["gradient_norm"] = optax.tree.norm(gradients)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), means

    return Method(init, step, _evaluation(evaluate or loss))


def several_optimizers(
    init_params: Callable[[Array, Batch], Params],
    phases: Sequence[Phase],
    evaluate: Loss,
    *,
    statistics: Statistics | None = None,
) -> Method:
    """Makes a method whose step is a sequence of phases; each sees the parameters that the one before has left.

    Args:
      init_params: (key, batch) -> params, a dictionary whose keys the phases name.
      phases: in their order. All get the step's own key; each folds in names of its own.
      evaluate: the loss to evaluate with.
      statistics: state that no gradient moves.

    Returns:
      A method whose metrics are the losses' own and, in training, each phase's name + "_gradient_norm".
    """

    def init(key: Array, batch: Batch) -> TrainState:
        params = init_params(key, batch)
        opt_states = {phase.name: phase.optimizer.init(select(params, phase.parts)) for phase in phases}
        extra = () if statistics is None else statistics.init(rng.stream(key, "statistics"), params, batch)
        return TrainState(params, opt_states, jnp.int32(0), extra)

    def step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        params, opt_states = state.params, {}
        metrics: Metrics = {}
        for phase in phases:
            opt_state = state.opt_state[phase.name]
            params, opt_states[phase.name], means = _update(phase, params, opt_state, batch, key, state.step)
            metrics |= means
        extra = state.statistics
        if statistics is not None:
            params, extra, values = statistics.update(params, extra, batch, rng.stream(key, "statistics"), state.step)
            metrics |= {name: jnp.mean(value) for name, value in values.items()}
        return TrainState(params, opt_states, state.step + 1, extra), metrics

    return Method(init, step, _evaluation(evaluate, "evaluation"))


class EmaState(NamedTuple):
    """The state of a method `with_ema`.

    Attributes:
      params: the average, which evaluation, figures and export use.
      inner: the method's own state, which training goes on from.
      step: the number of updates so far, int32 ().
    """

    params: Params
    inner: State
    step: Array


def with_ema(method: Method, decay: float) -> Method:
    """Wraps a method so that it is evaluated at an exponential moving average of its params.

    Polyak and Juditsky (1992), in the exponential form of Kingma and Ba (2014, arXiv:1412.6980), section 7.2. At the
    beginning the decay is (1 + step) / (10 + step), as long as that is smaller.

    Args:
      method: any method whose state is a named tuple with the field `params`.
      decay: in [0, 1); 0 returns the method itself.
    """
    if not decay:
        return method

    def init(key: Array, batch: Batch) -> EmaState:
        inner = method.init(key, batch)
        # A copy, as the whole state is donated to the step and no buffer can be donated twice.
        return EmaState(jax.tree.map(jnp.copy, inner.params), inner, jnp.int32(0))

    def step(state: EmaState, batch: Batch, key: Array) -> tuple[EmaState, Metrics]:
        inner, metrics = method.step(state.inner, batch, key)
        rate = 1 - jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        return EmaState(optax.incremental_update(inner.params, state.params, rate), inner, state.step + 1), metrics

    def evaluate(state: EmaState, batch: Batch, key: Array) -> Metrics:
        return method.evaluate(state.inner._replace(params=state.params), batch, key)

    return Method(init, step, evaluate)


def select(params: Params, parts: tuple[str, ...]) -> Params:
    """Returns the named parts of params, as an optimiser of these alone sees them."""
    return {name: params[name] for name in parts}


def call(
    loss: Loss, params: Params, batch: Batch, key: Array, step: Array, *, phase: str = ""
) -> tuple[Array, Metrics]:
    """Computes a loss, and checks the form of what it returns.

    A phase's metrics may be called "loss"; elsewhere that name, and "gradient_norm", are those of `one_optimizer`. A
    phase may learn from a part of the batch.

    Raises:
      UserError: with what a loss must return, where it returns something else.
    """
    result: Any = loss(params, batch, key, step)
    rows = jax.tree.leaves(batch)[0].shape[0]
    name = f"{phase} phase's loss" if phase else "loss"
    expected = f"the {name} must return (one value per example, a dictionary of further metrics per example)"
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise UserError(f"{expected}, not {_form(result)}")
    values, metrics = result
    for metric in metrics:
        if not isinstance(metric, str) or (metric in ("loss", "gradient_norm") and not phase):
            raise UserError(f"the {name} has a metric called {metric!r}: choose another name")
    for what, value in {
        "its values": values,
        **{f"its metric {key!r}": value for key, value in metrics.items()},
    }.items():
        shape = getattr(value, "shape", ())
        if shape != (rows,) and not (phase and len(shape) == 1):
            raise UserError(f"{expected}: {what} must have the shape ({rows},), not be {_form(value)}")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise UserError(f"{expected}: its values must be floating point, not {values.dtype}")
    return values, metrics


def _form(value: Any) -> str:
    """Describes what a user's function has returned: the shape of an array, or the type."""
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)} ({', '.join(map(_form, value))})"
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"an array of shape {shape}"


def _evaluation(loss: Loss, phase: str = "") -> Callable[[TrainState, Batch, Array], Metrics]:
    def evaluate(state: TrainState, batch: Batch, key: Array) -> Metrics:
        values, metrics = call(loss, state.params, batch, key, state.step, phase=phase)
        return {"loss": values, **metrics}

    return evaluate


def _update(
    phase: Phase, params: Params, opt_state: optax.OptState, batch: Batch, key: Array, step: Array
) -> tuple[Params, optax.OptState, Metrics]:
    """Takes one phase; its gradient norm is NaN where the loss is not finite."""

    def mean_loss(own: Params) -> tuple[Array, Metrics]:
        values, metrics = call(phase.loss, {**params, **own}, batch, key, step, phase=phase.name)
        return values.mean(), metrics

    own = select(params, phase.parts)
    (value, metrics), gradients = jax.value_and_grad(mean_loss, has_aux=True)(own)
    updates, opt_state = phase.optimizer.update(gradients, opt_state, own)
    means = {name: jnp.mean(values) for name, values in metrics.items()}
    means[f"{phase.name}_gradient_norm"] = jnp.where(jnp.isfinite(value), optax.tree.norm(gradients), jnp.nan)
    return {**params, **optax.apply_updates(own, updates)}, opt_state, means
