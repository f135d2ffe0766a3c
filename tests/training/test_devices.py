"""How many devices a run takes."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from aejax.errors import UserError
from aejax.training.devices import make_mesh


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
    monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(platform="gpu", id=i) for i in range(8)])
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


def test_a_fresh_process_makes_as_many_cpu_devices_as_asked_for() -> None:
    program = "from aejax.training.devices import make_mesh; print(make_mesh(5, 10).size)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"
