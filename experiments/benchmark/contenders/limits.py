"""Operations and bytes of a training step by XLA's count, compared with the best that this machine does of both.

The machine's best is found by timing a large matrix product and a large copy on the same devices.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters import partial_eval
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from experiments.benchmark.contenders.jax_systems import SYSTEMS, load_feed

# For each device, the rows and columns of the matrices, and the floats that are copied: more than caches hold, and
# enough that starting the program counts for nothing.
_ON_CPU = (2048, 2**25)
_ON_ACCELERATORS = (8192, 2**28)
_TRIES = 7
_PASSES = 8
_NEAR = 0.5  # of a limit, above which it is named as the one


class Limits(NamedTuple):
    """The work of a step, and the best speeds of the machine.

    Attributes:
      flops: floating-point operations of a step.
      matrix_flops: the part of them in matrix products and convolutions.
      bytes: read and written by the compiled operations of a step, as if there were no cache.
      peak_flops: operations per second of a large matrix product, in the precision that the step has.
      peak_bytes: bytes per second that a large copy reads and writes.
    """

    flops: float
    matrix_flops: float
    bytes: float
    peak_flops: float
    peak_bytes: float


def build(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The `Limits` of spec["system"] on its devices, as JSON values."""
    feed = load_feed(spec)
    step = SYSTEMS[spec["system"]].method(feed.image_shape)
    images = jax.ShapeDtypeStruct((feed.batch_size, *feed.image_shape), jnp.float32)
    key = jax.eval_shape(lambda: rng.root_key(0))
    arguments = (jax.eval_shape(step.init, key, images), images, key)
    lowered = jax.jit(step.step).lower(*arguments)
    # Of the program before it is compiled, in which no product hides in a library's call.
    flops = _cost(lowered.cost_analysis(), "flops")
    accessed = _cost(lowered.compile().cost_analysis(), "bytes accessed")
    program = jax.make_jaxpr(step.step)(*arguments).jaxpr
    # Without what nothing uses, such as the images' own gradient, which is not compiled either.
    matrix = matrix_flops(partial_eval.dce_jaxpr(program, [True] * len(program.outvars))[0])
    return Limits(flops, matrix, accessed, *peaks(feed.mesh))._asdict()


def matrix_flops(program: ClosedJaxpr | Jaxpr) -> float:
    """Counts the operations of all matrix products and convolutions in a program: two for each multiply-add."""
    total = 0.0
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = np.prod([_shape(equation.invars[0])[axis] for axis in contracted])
            total += 2 * summed * np.prod(_shape(equation.outvars[0]))
        elif equation.primitive.name == "conv_general_dilated":
            kernel = _shape(equation.invars[1])
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * np.prod(kernel) / features * np.prod(_shape(equation.outvars[0]))
        else:
            repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            total += repeats * sum(matrix_flops(inner) for inner in _programs(equation.params.values()))
    return float(total)


def peaks(mesh: Mesh) -> tuple[float, float]:
    """Measures operations per second of a matrix product and bytes per second of a copy, over all of the mesh."""
    size, floats = _ON_CPU if mesh.devices.flat[0].platform == "cpu" else _ON_ACCELERATORS
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    rows = jax.device_put(np.ones((mesh.size * size, size), np.float32), split)
    square = jax.device_put(np.ones((size, size), np.float32), whole)
    line = jax.device_put(np.ones(mesh.size * floats, np.float32), split)
    flops = 2 * mesh.size * size**3 / _fastest(lambda: _product(rows, square))
    return flops, 2 * _PASSES * line.nbytes / _fastest(lambda: _copy(line))


def sentence(limits: Limits, seconds: float) -> str:
    """Says how near a step of this many seconds comes to each limit."""
    flops, moved = limits.flops / seconds / limits.peak_flops, limits.bytes / seconds / limits.peak_bytes
    share = limits.matrix_flops / limits.flops
    if max(flops, moved) < _NEAR:
        verdict = "Near neither limit: the time goes into operations too small for the machine, and between them"
    elif flops >= min(_NEAR, moved):  # caches may hide bytes, and nothing hides operations
        verdict = "Bound by arithmetic" + (", that of its matrix products" if share > _NEAR else "")
    else:
        verdict = "Bound by moving data" + (", which caches hold in part" if moved > 1 else "")
    return (
        f"What limits aejax: a step takes {1e3 * seconds:.2f} ms for {limits.flops / 1e9:.3g} GFLOP, {share:.0%} of "
        f"them in matrix products: {limits.flops / seconds / 1e9:,.1f} GFLOP/s of {limits.peak_flops / 1e9:,.1f} "
        f"({flops:.0%}); and for {limits.bytes / 1e6:,.1f} MB by XLA's count, which knows no cache: "
        f"{limits.bytes / seconds / 1e9:,.1f} GB/s of {limits.peak_bytes / 1e9:,.1f} ({moved:.0%}). {verdict}. The "
        "limits are those of a large matrix product and of a large copy, measured in this run."
    )


@jax.jit
def _product(rows: jax.Array, square: jax.Array) -> jax.Array:
    return rows @ square


@jax.jit
def _copy(floats: jax.Array) -> jax.Array:
    """Copies several times in place, since mapping the pages of a new array would take longer than filling them."""
    return jax.lax.fori_loop(0, _PASSES, lambda _, x: x + 1, floats)


def _fastest(run: Callable[[], jax.Array]) -> float:
    """The shortest time of several tries in seconds, after one that compiles."""
    run().block_until_ready()
    taken = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        run().block_until_ready()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _cost(analysis: Any, what: str) -> float:
    """A figure of XLA's analysis, which some backends return in a list or leave incomplete."""
    if isinstance(analysis, list):
        analysis = analysis[0] if analysis else {}
    return float((analysis or {}).get(what, float("nan")))


def _shape(variable: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = variable.aval.shape
    return shape


def _programs(values: Any) -> Iterator[ClosedJaxpr | Jaxpr]:
    """The programs among an equation's parameters."""
    for value in values:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from _programs(value)
