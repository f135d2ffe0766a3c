"""What the scaling plan counts."""

import pytest

from aejax.training.devices import make_mesh
from experiments.benchmark import scaling
from experiments.benchmark.contenders.jax_systems import SYSTEMS
from experiments.benchmark.scaling import Cluster


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "IMAGE_SHAPE", (8, 8, 1))


def test_a_step_of_a_vae_reduces_its_gradient_once_and_three_metrics_with_it() -> None:
    parameters, sizes = scaling.counted(SYSTEMS["vae"].method((8, 8, 1)), make_mesh(8, 8))
    assert sizes == [4 * (parameters + 3)]  # loss, distortion, rate


def test_one_device_reduces_nothing() -> None:
    assert scaling.counted(SYSTEMS["vae"].method((8, 8, 1)), make_mesh(1, 1))[1] == []


def test_bytes_of_all_reduces_are_read_from_the_program() -> None:
    program = """
      %a = (f32[3,4]{1,0}, bf16[5]{0}, /*index=2*/f32[]) all-reduce(%x, %y, %z), to_apply=%sum
      %b = s8[7]{0} all-reduce-start(%c), to_apply=%sum
      %d = f32[9]{0} add(%e, %all-reduce.3)
    """
    assert scaling.all_reduces(program) == [4 * 12 + 2 * 5 + 4, 7]


def test_two_devices_send_a_message_once_and_many_nearly_twice() -> None:
    assert scaling.wire_bytes(100.0, 2) == 100
    assert scaling.wire_bytes(100.0, 64) == pytest.approx(200, rel=0.02)


def test_an_all_reduce_takes_its_hops_and_its_bytes() -> None:
    network = Cluster(devices=8, bandwidth=1e9, latency=1e-3)
    assert scaling.seconds([10**9, 10**9], network) == pytest.approx(2 * (6e-3 + 1.75))


def test_operations_grow_with_the_batch() -> None:
    method = SYSTEMS["vae"].method((8, 8, 1))
    eight, sixteen, thirty_two = (scaling.operations(method, n) for n in (8, 16, 32))
    assert thirty_two - sixteen == pytest.approx(2 * (sixteen - eight), rel=1e-3)
