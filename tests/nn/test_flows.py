"""Flows against the Jacobian that JAX computes, their own inverse, and what an output may depend on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from aejax.nn.flows import AffineCouplings, InverseAutoregressiveFlow, MaskedMLP

KEY = jax.random.key(0)


def far_from_the_start(params: Any) -> Any:
    """Random params, as a flow starts close to the identity."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    return tree.unflatten([0.5 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)])


def couplings(size: int) -> Callable[[Array], tuple[Array, Array]]:
    flow = AffineCouplings(3, 8)
    params = far_from_the_start(flow.init(KEY, jnp.zeros((1, size))))
    return lambda z: flow.apply(params, z)


def autoregressive(size: int) -> Callable[[Array], tuple[Array, Array]]:
    flow, context = InverseAutoregressiveFlow(3, 8), jnp.ones(2)
    params = far_from_the_start(flow.init(KEY, jnp.zeros(size), context))
    return lambda z: flow.apply(params, z, context)


@pytest.mark.parametrize("make", [couplings, autoregressive])
@pytest.mark.parametrize("size", [2, 5])
def test_the_log_determinant_is_that_of_the_jacobian(make: Callable, size: int) -> None:
    flow = make(size)
    z = jax.random.normal(jax.random.key(1), (size,))
    jacobian = jax.jacfwd(lambda z: flow(z)[0])(z)
    np.testing.assert_allclose(flow(z)[1], np.linalg.slogdet(jacobian)[1], rtol=1e-4, atol=1e-4)


def test_couplings_are_undone_by_their_inverse() -> None:
    flow = AffineCouplings(4, 8)
    z = jax.random.normal(KEY, (7, 5))
    params = far_from_the_start(flow.init(KEY, z))
    there, log_det = flow.apply(params, z)
    back, other = flow.apply(params, there, inverse=True)
    assert jnp.abs(there - z).max() > 0.1
    np.testing.assert_allclose(back, z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other, -log_det, rtol=1e-4, atol=1e-4)


def test_couplings_begin_as_the_identity() -> None:
    flow, z = AffineCouplings(), jax.random.normal(KEY, (3, 4))
    there, log_det = flow.apply(flow.init(KEY, z), z)
    np.testing.assert_array_equal(there, z)
    np.testing.assert_array_equal(log_det, 0)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_an_output_of_made_depends_on_all_earlier_inputs_and_on_no_other(size: int) -> None:
    network, context = MaskedMLP(64, 2), jnp.ones(3)
    z = jax.random.normal(KEY, (size,))
    params = far_from_the_start(network.init(KEY, z, context))
    jacobian = jax.jacfwd(lambda z: network.apply(params, z, context).sum(axis=-1))(z)
    np.testing.assert_array_equal(jacobian != 0, np.tri(size, k=-1, dtype=bool))
    of_context = jax.jacfwd(lambda c: network.apply(params, z, c).sum(axis=-1))(context)
    assert (of_context[1:] != 0).all()
