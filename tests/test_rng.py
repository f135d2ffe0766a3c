"""Streams of randomness are pure functions of (seed, name, step), all different."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.rng import from_words, root_key, stream, words

NAMES = ("initialisation", "shuffle", "step", "noise", "evaluation", "batch", "on", "no", "")


def data(key: jax.Array) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def test_the_root_key_is_typed_and_depends_on_the_seed() -> None:
    root = root_key(3)
    assert jnp.issubdtype(root.dtype, jax.dtypes.prng_key)
    assert root.shape == ()
    assert data(root) == data(root_key(3)) != data(root_key(4))


def test_keys_of_all_seeds_names_and_steps_differ() -> None:
    steps = jnp.arange(200)
    keys = [
        jax.random.key_data(jax.vmap(lambda step, seed=seed, name=name: stream(root_key(seed), name, step))(steps))
        for seed in range(3)
        for name in NAMES
    ]
    # The root itself is nobody's key, either.
    keys += [jax.random.key_data(root_key(seed))[None] for seed in range(3)]
    together = np.concatenate([np.asarray(k) for k in keys])
    assert len(np.unique(together, axis=0)) == 3 * len(NAMES) * 200 + 3


@pytest.mark.parametrize("other", [(1, "noise", 5), (0, "shuffle", 5), (0, "noise", 6)], ids=["seed", "name", "step"])
def test_draws_of_different_streams_differ_everywhere(other: tuple[int, str, int]) -> None:
    def draw(seed: int, name: str, step: int) -> np.ndarray:
        return np.asarray(jax.random.normal(stream(root_key(seed), name, step), (16,)))

    assert (draw(0, "noise", 5) == draw(0, "noise", 5)).all()
    assert (draw(0, "noise", 5) != draw(*other)).all()


def test_keys_are_the_same_traced_and_not() -> None:
    def key(step: int | jax.Array) -> jax.Array:
        return stream(root_key(7), "noise", step)

    scanned = jax.jit(lambda: jax.lax.scan(lambda i, _: (i + 1, jax.random.key_data(key(i))), jnp.int32(0), length=4))
    expected = [data(key(step)) for step in range(4)]
    assert [data(jax.jit(key)(np.int32(step))) for step in range(4)] == expected
    assert [tuple(row) for row in np.asarray(scanned()[1]).tolist()] == expected


def test_keys_do_not_depend_on_the_order_of_asking() -> None:
    root = root_key(0)
    asked = [(name, step) for name in NAMES for step in range(3)]
    forwards = {use: data(stream(root, *use)) for use in asked}
    backwards = {use: data(stream(root, *use)) for use in reversed(asked)}
    assert forwards == backwards


def test_step_0_is_the_default() -> None:
    assert data(stream(root_key(1), "initialisation")) == data(stream(root_key(1), "initialisation", 0))


def test_the_derivation_never_changes() -> None:
    # Otherwise a run begun with an older version would resume with other randomness, and say nothing.
    assert data(stream(root_key(0), "shuffle", 7)) == (1418878865, 223392503)
    assert data(stream(root_key(2**31 - 1), "step", 123456)) == (1327221684, 1432193254)


def test_a_key_is_the_same_in_another_process() -> None:
    roots = jax.numpy.stack([root_key(seed) for seed in (0, 2**31)])
    for root in (roots, roots[1]):
        sent = words(root)
        assert (sent.dtype, sent.shape) == (np.uint32, (*root.shape, 2))
        assert (from_words(sent) == root).all()
