from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.data import load
from aejax.training.devices import make_mesh
from experiments.benchmark.contenders import limits as module
from experiments.benchmark.contenders.limits import Limits, matrix_flops


def test_matrix_products_are_counted_wherever_they_stand() -> None:
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    image, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 7))

    def convolve(image: Any, kernel: Any) -> Any:
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=dimensions)

    def loop(a: Any, b: Any) -> Any:
        return jax.lax.scan(lambda total, _: (total + jax.jit(jnp.dot)(a, b), None), jnp.zeros((3, 5)), None, 6)[0]

    assert matrix_flops(jax.make_jaxpr(jnp.dot)(a, b)) == 2 * 3 * 4 * 5
    assert matrix_flops(jax.make_jaxpr(lambda a, b: jnp.sin(a).sum() + b.sum())(a, b)) == 0
    assert matrix_flops(jax.make_jaxpr(convolve)(image, kernel)) == 2 * 2 * 8 * 8 * 7 * 3 * 3 * 3
    assert matrix_flops(jax.make_jaxpr(loop)(a, b)) == 6 * 2 * 3 * 4 * 5
    batched = jax.make_jaxpr(jax.vmap(jnp.dot))(jnp.ones((9, 3, 4)), jnp.ones((9, 4, 5)))
    assert matrix_flops(batched) == 9 * 2 * 3 * 4 * 5


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(8e9, 7.2e9, 1e6, 10e9, 1e9), ["90% of them in matrix products", "8.0 GFLOP/s of 10.0 (80%)", "matrix"]),
        (Limits(8e9, 1e9, 1e6, 10e9, 1e9), ["(80%)", "Bound by arithmetic."]),
        (Limits(1e9, 1e9, 9e8, 10e9, 1e9), ["0.9 GB/s of 1.0 (90%)", "Bound by moving data."]),
        (Limits(8e9, 8e9, 2e9, 10e9, 1e9), ["(200%)", "Bound by arithmetic"]),
        (Limits(1e9, 1e9, 2e9, 10e9, 1e9), ["(200%)", "Bound by moving data, which caches hold in part."]),
        (Limits(1e9, 1e9, 1e8, 10e9, 1e9), ["Near neither limit"]),
    ],
)
def test_the_nearer_limit_is_named(limits: Limits, said: list[str]) -> None:
    sentence = module.sentence(limits, 1.0)
    assert all(words in sentence for words in said), sentence


def test_a_steps_work_beside_the_machines_best(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(module, "_ON_CPU", (64, 4096))
    np.save(tmp_path / "images.npy", load("digits", "train[:40]", image_size=8).images)
    spec = {"system": "vae", "images": str(tmp_path / "images.npy"), "batch_size": 20, "devices": 1, "seed": 0}
    limits = Limits(**module.build(spec))
    # Layers of 64 x 512 and of the latents: forwards and, but for the images themselves, twice backwards.
    layers, latents = 2 * 20 * 64 * 512, 2 * 20 * 512 * 2
    assert limits.matrix_flops == pytest.approx(5 * layers + 9 * latents, rel=2e-3)  # the loss has a dot product
    assert limits.matrix_flops < limits.flops
    assert limits.bytes > 4 * 2 * 64 * 512  # at least the params
    assert min(limits.peak_flops, limits.peak_bytes) > 1e6


def test_all_devices_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ON_CPU", (32, 1024))
    assert min(module.peaks(make_mesh(2, 2))) > 1e6


def test_a_backend_without_the_figures() -> None:
    assert np.isnan(module._cost(None, "flops"))
    assert module._cost([{"flops": 3.0}], "flops") == 3
