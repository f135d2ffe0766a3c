"""What a model and a method of one's own can be used for, through public functions alone."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax import Array

from aejax import export
from aejax.methods.method import Method
from aejax.models.description import describe, rebuild
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.trained import Trained

SHAPE = (4, 4, 1)


def images(n: int = 64) -> Array:
    """Images of two kinds, with bright left halves or bright upper halves, and noise: (n, *SHAPE) in [0, 1]."""
    kinds = jnp.zeros((2, *SHAPE)).at[0, :, :2].set(1).at[1, :2].set(1)
    return 0.1 + 0.6 * kinds[jnp.arange(n) % 2] + 0.3 * jax.random.uniform(jax.random.key(1), (n, *SHAPE))


def check(model: LatentVariableModel, method: Method, steps: int = 300) -> Trained:
    """Trains a model for a few steps and uses it; returns it for checks of the test's own."""
    state = method.init(jax.random.key(0), images())
    before = _loss(method, state)
    run = jax.jit(lambda state, keys: jax.lax.scan(lambda s, key: method.step(s, images(), key), state, keys))
    state, metrics = run(state, jax.random.split(jax.random.key(2), steps))
    assert all(np.isfinite(values).all() for values in metrics.values())
    after = _loss(method, state)
    assert after < before - 0.2  # nats

    trained = Trained(model, model.own(state.params), SHAPE)
    log_likelihood = trained.log_likelihood(np.asarray(images()), 500)
    assert -log_likelihood.mean() <= after  # as importance sampling is closer to the truth than the ELBO
    pictures = trained.generate(5)
    assert pictures.shape == (5, *SHAPE)
    assert ((pictures >= 0) & (pictures <= 1)).all()

    again = rebuild(describe(model))
    assert again == model
    np.testing.assert_array_equal(Trained(again, trained.params, SHAPE).generate(5), pictures)
    _check_export(trained)
    return trained


def _loss(method: Method, state: object) -> float:
    """The negative ELBO in nats per image, over 50 latents for each."""
    losses = jax.jit(jax.vmap(lambda key: method.evaluate(state, images(), key)["loss"]))
    return float(losses(jax.random.split(jax.random.key(3), 50)).mean())


def _check_export(trained: Trained) -> None:
    """Checks that encoder and decoder, as written for programs without this package, give the reconstructions."""
    functions = export.of_trained(trained)
    flat = flatten_dict(trained.params, sep="/")
    calls = {name: export.exported(function, trained.params).call for name, function in functions.items()}
    codes = calls["encoder"](flat, images(3))
    found = calls["decoder"](flat, codes.get("mean", codes.get("latents")))["images"]
    np.testing.assert_allclose(found, trained.reconstruct(np.asarray(images(3))), rtol=1e-5, atol=1e-6)
