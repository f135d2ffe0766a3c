"""How many devices a run takes."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from aejax.batching import over_images
from aejax.data.feeds import device_feed
from aejax.errors import UserError
from aejax.methods import adversarial, reconstruction, variational
from aejax.methods.method import Method
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import DeterministicPosterior, GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import Autoencoder, GaussianEncoder, LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.training import distributed
from aejax.training.devices import make_mesh
from aejax.training.seeds import roots
from aejax.training.steps import compile_steps, initial_progress

IMAGE, BATCH, STEPS = (6, 6, 1), 16, 20
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH * STEPS, *IMAGE), dtype=np.uint8)


@pytest.fixture
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)


@pytest.mark.usefixtures("_four_cores")
@pytest.mark.parametrize(
    ("batch", "devices"),
    [(1, 1), (64, 1), (127, 1), (128, 2), (130, 2), (192, 3), (254, 2), (256, 4), (257, 1), (260, 4), (512, 4)],
)
def test_cpu_cores_are_taken_as_they_divide_the_batch_and_get_64_images_each(batch: int, devices: int) -> None:
    assert make_mesh(0, batch).size == devices


@pytest.mark.usefixtures("_four_cores")
def test_dense_networks_take_one_cpu_device_unless_asked_for_more() -> None:
    assert make_mesh(0, 256, dense=True).size == 1
    assert make_mesh(2, 256, dense=True).size == 2


@pytest.mark.usefixtures("_four_cores")
@pytest.mark.parametrize(("batch", "devices"), [(1, 1), (4, 4), (6, 6), (16, 8), (7, 7), (11, 1)])
def test_accelerators_are_all_taken_as_they_divide_the_batch(
    batch: int, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda **_: [SimpleNamespace(platform="gpu", id=i) for i in range(8)])
    monkeypatch.setattr("aejax.training.devices.Mesh", lambda devices, axes: devices)
    assert make_mesh(0, batch).size == devices


def test_as_many_devices_as_asked_for_are_taken_along_the_axis_data() -> None:
    mesh = make_mesh(3, 6)
    assert mesh.axis_names == ("data",)
    assert mesh.devices.tolist() == jax.devices()[:3]


def test_more_devices_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match=r"^--devices 9: this machine has 8 \(cpu\)"):
        make_mesh(9, 18)


def test_a_batch_that_the_devices_do_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--batch-size 7 .*--devices 2"):
        make_mesh(2, 7)


@pytest.fixture
def _two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With four GPUs each, called (process, number)."""
    monkeypatch.setattr(jax, "local_devices", lambda process_index=0: [Gpu(process_index, i) for i in range(4)])
    monkeypatch.setattr("aejax.training.devices.Mesh", lambda devices, axes: devices.tolist())
    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr(distributed, "gather", lambda *values: np.array([values, values]))


class Gpu(SimpleNamespace):
    platform = "gpu"

    def __init__(self, process: int, number: int) -> None:
        super().__init__(place=(process, number))


@pytest.mark.usefixtures("_two_processes")
@pytest.mark.parametrize(("devices", "batch", "each"), [(0, 16, 4), (0, 12, 3), (0, 2, 1), (2, 16, 1), (8, 8, 4)])
def test_every_process_gives_as_many_devices(devices: int, batch: int, each: int) -> None:
    mesh: Any = make_mesh(devices, batch)
    assert [device.place for device in mesh] == [(process, i) for process in range(2) for i in range(each)]


@pytest.mark.usefixtures("_two_processes")
@pytest.mark.parametrize(
    ("devices", "batch", "message"),
    [
        (3, 6, r"^--devices 3 cannot be split over 2 processes: choose a multiple"),
        (10, 10, r"^--devices 10: each of the 2 processes has 4 \(gpu\)"),
        (0, 7, r"^--batch-size 7 cannot be split over 2 processes: change"),
    ],
)
def test_what_two_processes_cannot_share_evenly_is_refused(devices: int, batch: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_mesh(devices, batch)


def test_a_fresh_process_makes_as_many_cpu_devices_as_asked_for() -> None:
    program = "from aejax.training.devices import make_mesh; print(make_mesh(5, 10).size)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"


def autoencoder() -> Method:
    network = Autoencoder(LatentEncoder(MLP((12,)), 4), DenseDecoder((12,), IMAGE))
    return reconstruction.autoencoder(ImageToImage(network), optax.adam(1e-3))


def vae() -> Method:
    posterior = GaussianPosterior(GaussianEncoder(MLP((12,)), 4))
    model = LatentVariableModel(posterior, DenseDecoder((12,), IMAGE), StandardNormal(latents=4))
    return variational.vae(model, optax.adam(1e-3))


def aae() -> Method:
    posterior = DeterministicPosterior(LatentEncoder(MLP((12,)), 4))
    model = LatentVariableModel(posterior, DenseDecoder((12,), IMAGE), StandardNormal(latents=4))
    three = adversarial.Optimizers(optax.adam(1e-3), optax.adam(1e-3), optax.adam(1e-3))
    return adversarial.aae(adversarial.Adversary(model, Discriminator((12,))), three)


@pytest.mark.parametrize("method_of", [autoencoder, vae, aae])
def test_any_number_of_devices_trains_as_one_does(method_of: Callable[[], Method]) -> None:
    """Losses in 20 steps and after them are equal to a relative 1e-6: sums over images are taken in another order."""
    method, root = method_of(), roots(0, 1)
    alone = device_feed(IMAGES, BATCH, make_mesh(1, BATCH))
    initial = jax.device_get(jax.jit(functools.partial(initial_progress, method, alone))(root))
    evaluate = over_images(method.evaluate, alone.mesh, BATCH)

    def trained(devices: int) -> tuple[dict[str, float], np.ndarray]:
        mesh = make_mesh(devices, BATCH)
        feed = device_feed(IMAGES, BATCH, mesh)
        progress = jax.device_put(initial, NamedSharding(mesh, PartitionSpec()))
        block = next(feed.blocks(root, 0, STEPS))
        progress = compile_steps(method, feed)(progress, block.images, block.order, root, np.int32(0), np.int32(STEPS))
        means = {name: float(total[0]) / STEPS for name, total in progress.sums.items()}
        return means, evaluate(jax.tree.map(lambda x: x[0], jax.device_get(progress.state)), IMAGES[:BATCH])["loss"]

    means, losses = trained(1)
    for devices in (2, 4, 8):
        other_means, other_losses = trained(devices)
        assert other_means == pytest.approx(means, rel=1e-6)
        np.testing.assert_allclose(other_losses, losses, rtol=1e-6)


@pytest.mark.parametrize(
    ("platforms", "devices", "message"),
    [
        ("cuda", 0, r"^JAX_PLATFORMS=cuda: .*leave it out, or set it to cpu$"),
        ("cpus", 0, r"^JAX_PLATFORMS=cpus: .*leave it out, or set it to cpu$"),
        ("cpu", 2**32, rf"^--devices {2**32}: this machine has 256 \(cpu\); ask for fewer$"),
    ],
)
def test_a_platform_or_a_number_of_devices_that_is_not_there_is_one_line(
    platforms: str, devices: int, message: str
) -> None:
    program = (
        "from aejax.errors import UserError; from aejax.training.devices import make_mesh\n"
        f"try: make_mesh({devices}, {devices or 1})\n"
        "except UserError as error: print(error)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": platforms}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert re.match(message, found.stdout.rstrip("\n")), found
