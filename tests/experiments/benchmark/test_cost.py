"""What a training step costs, without a clock: XLA's own count of operations and bytes for the benchmark's systems."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.data.feeds import device_feed
from aejax.training.devices import make_mesh
from aejax.training.seeds import roots
from aejax.training.steps import compile_steps, initial_progress
from experiments.benchmark.contenders.jax_systems import SYSTEMS

# Per image of 28 x 28, in millions: operations and bytes of one more image in a step, before the compiler fuses any.
# Whoever makes a step cheaper lowers them; whoever makes one dearer has to say so here.
COST = {
    "autoencoder": (4.93, 5.42),
    "denoiser": (5.00, 6.44),
    "super_resolver": (2.22, 2.65),
    "vae": (4.05, 0.272),
    "conv_vae": (4.93, 5.38),
    "aae": (68.6, 1.92),
}


def cost(system: str, batch: int) -> dict[str, float]:
    method = SYSTEMS[system].method((28, 28, 1))
    images = jax.ShapeDtypeStruct((batch, 28, 28, 1), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(method.init, key, images)
    return jax.jit(method.step).lower(state, images, key).cost_analysis()  # type: ignore[return-value]


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_image_more_in_a_step_costs_what_it_did(system: str) -> None:
    eight, sixteen = cost(system, 8), cost(system, 16)
    for expected, what in zip(COST[system], ("flops", "bytes accessed"), strict=True):
        found = (sixteen[what] - eight[what]) / 8 / 1e6
        assert found == pytest.approx(expected, rel=0.03), what


@pytest.mark.parametrize("system", SYSTEMS)
def test_on_a_cpu_no_convolution_runs_in_the_steps_loop(system: str) -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("other backends run their own convolutions")
    images = np.zeros((8, 28, 28, 1), np.uint8)
    feed = device_feed(images, 4, make_mesh(1, 4))
    method = SYSTEMS[system].method((28, 28, 1))
    root = jax.eval_shape(lambda: roots(0, 1))
    progress: Any = jax.eval_shape(lambda root: initial_progress(method, feed, root), root)
    order = jax.eval_shape(feed.order, root, 0)
    program = compile_steps(method, feed).lower(progress, feed.images, order, root, np.int32(0), np.int32(2)).as_text()
    assert "while" in program
    assert "dot_general" in program
    assert "convolution" not in program
