"""Fingerprints of what a run computes, whatever Python code it was written in.

They are SHA-256 digests of traced programs and of the shapes of arrays. Names of functions do not enter them, and
neither do the devices or how batches reach them.
"""

import enum
import hashlib
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from aejax import rng
from aejax.data.feeds import Feed, rows_of
from aejax.methods.method import Method

# Parameters of an equation that do not change what it computes.
_NAMES = {"name", "ctx_mesh", "compiler_options_kvs", "debug_info"}

MEANING = {
    "step": "training step (loss, networks, learning rate or schedule)",
    "initialisation": "initialisation",
    "parameters": "shape of the parameters",
    "state": "structure of the state (of the optimiser)",
    "batches": "number of training images or size of batches",
    "seeds": "seed",
}
"""What a user is told of each part of a method's fingerprint."""


def of_training(method: Method, feed: Feed, seed: int, seeds: int) -> dict[str, str]:
    """Returns the digest of each part in MEANING; the seeds are given as first-last."""
    batches = f"{rows_of(feed.images)} {feed.batch_size}"
    return of_method(method, feed) | {
        "batches": hashlib.sha256(batches.encode()).hexdigest(),
        "seeds": f"{seed}-{seed + seeds - 1}",
    }


def of_method(method: Method, feed: Feed) -> dict[str, str]:
    """Returns the digests of the method's parts. Nothing is computed, but the method is traced."""
    batch = jax.eval_shape(feed.zeros)
    key = jax.eval_shape(lambda: rng.root_key(0))
    initialise, state = jax.make_jaxpr(method.init, return_shape=True)(key, batch)
    params = getattr(state, "params", state)
    return {
        "step": of_program(jax.make_jaxpr(method.step)(state, batch, key)),
        "initialisation": of_program(initialise),
        "parameters": of_shapes(params),
        "state": of_shapes(state),
    }


def of_shapes(tree: Any) -> str:
    """Returns the digest of a tree's paths, and of the shapes and dtypes at them."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    lines = [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def of_program(program: ClosedJaxpr) -> str:
    """Returns the digest of a traced program with the values of its constants."""
    digest = hashlib.sha256()
    _program(digest, program.jaxpr, program.consts)
    return digest.hexdigest()


def _program(digest: Any, jaxpr: Jaxpr, consts: Any) -> None:
    numbers: dict[Any, int] = {}

    def define(variables: Any) -> None:
        for variable in variables:
            numbers[variable] = len(numbers)
            digest.update(f"{numbers[variable]}:{variable.aval.str_short()} ".encode())

    def use(atoms: Any) -> None:
        for atom in atoms:
            if isinstance(atom, Literal):
                _value(digest, atom.val)
            else:
                digest.update(f"{numbers[atom]} ".encode())

    define(jaxpr.constvars)
    define(jaxpr.invars)
    _value(digest, list(consts))
    for equation in jaxpr.eqns:
        digest.update(f"\n{equation.primitive.name} ".encode())
        use(equation.invars)
        _value(digest, {name: value for name, value in equation.params.items() if name not in _NAMES})
        define(equation.outvars)
    digest.update(b"\nreturn ")
    use(jaxpr.outvars)


def _value(digest: Any, value: Any) -> None:
    match value:
        case ClosedJaxpr():
            _program(digest, value.jaxpr, value.consts)
        case Jaxpr():
            _program(digest, value, [])
        case dict():
            for name in sorted(value):
                digest.update(f"{name}=".encode())
                _value(digest, value[name])
        case list() | tuple():
            digest.update(f"({len(value)} ".encode())
            for item in value:
                _value(digest, item)
        case jax.Array() | np.ndarray() | np.generic():
            if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
                value = jax.random.key_data(value)
            array = np.asarray(value)
            digest.update(f"{array.dtype} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        case None | bool() | int() | float() | complex() | str() | bytes() | np.dtype():
            digest.update(f"{value!r} ".encode())
        case type():
            digest.update(f"{value.__name__} ".encode())
        case enum.Enum():
            digest.update(f"{value.name} ".encode())
        case _:
            digest.update(f"{type(value).__name__} ".encode())
