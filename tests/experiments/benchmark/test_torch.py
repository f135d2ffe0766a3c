from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from aejax.data import load

torch = pytest.importorskip("torch")

from experiments.benchmark import against_pytorch  # noqa: E402
from experiments.benchmark.contenders import equality, jax_systems, torch_epochs  # noqa: E402
from experiments.benchmark.contenders import torch_systems as systems  # noqa: E402


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    images = tmp_path_factory.mktemp("benchmark") / "images.npy"
    np.save(images, load("digits", "train[:100]").images)
    common = {"images": str(images), "batch_size": 32, "devices": 1, "seed": 0, "platform": "cpu"}
    return {"system": "autoencoder", **common}


@pytest.fixture(autouse=True)
def same_threads() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")


def test_both_sides_have_the_same_systems() -> None:
    assert set(torch_epochs.SYSTEMS) == set(jax_systems.SYSTEMS)


@pytest.fixture(scope="module", params=torch_epochs.SYSTEMS)
def ours(spec: dict[str, Any], request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A system and what this project computes of it, which takes seconds to compile."""
    changed = {**spec, "system": request.param}
    return request.param, equality.ours(changed, jax_systems.load_feed(changed))


def test_both_sides_compute_the_same(
    spec: dict[str, Any], ours: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equality, "ours", lambda spec, feed: ours[1])
    checked = equality.build({**spec, "system": ours[0]})
    assert checked["steps_per_epoch"] == 3
    assert checked["logits_differ_by"] < 1e-5
    # RMSprop's first step is ten times the gradient's sign, which rounding decides where the gradient vanishes.
    assert checked["logits_after_a_step_differ_by"] < (1e-4 if ours[0] == "vae" else 1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": lambda channels: torch.nn.Conv2d(channels, 1, 3)}, "4385 parameters here, 10 in PyTorch"),
        (
            {"phases": [systems.Phase(systems.bce, systems.adam(2e-3))]},
            "logits after a step here and in PyTorch differ",
        ),
    ],
)
def test_sides_that_differ_are_not_compared(
    spec: dict[str, Any],
    ours: tuple[str, Any],
    change: Mapping[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if ours[0] != "autoencoder":
        pytest.skip("the changes are the autoencoder's")
    monkeypatch.setattr(equality, "ours", lambda spec, feed: ours[1])
    changed = torch_epochs.SYSTEMS["autoencoder"]._replace(**change)
    monkeypatch.setitem(torch_epochs.SYSTEMS, "autoencoder", changed)
    with pytest.raises(RuntimeError, match=message):
        equality.build(spec)


ON_A_CPU = [
    *[setting for setting in against_pytorch.PYTORCH_SETTINGS.values() if "compiled" not in setting],
    *[s for s in against_pytorch.PYTORCH_GPU_SETTINGS.values() if not {"compiled", "cuda_graphs"} & set(s)],
    ["tutorial"],
]


@pytest.mark.parametrize("setting", ON_A_CPU, ids=str)
def test_settings_train(spec: dict[str, Any], setting: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    system = torch_epochs.SYSTEMS["autoencoder"]

    def network(channels: int) -> Any:
        networks.append(system.network(channels))
        return networks[-1]

    monkeypatch.setitem(torch_epochs.SYSTEMS, "autoencoder", system._replace(network=network))
    contender = torch_epochs.build({**spec, "setting": setting})
    pixels = torch.from_numpy(np.load(spec["images"])).permute(0, 3, 1, 2) / 255
    before = systems.bce(networks[0], pixels).item()
    contender.block(5)  # more than an epoch
    assert systems.bce(networks[0], pixels).item() < before
    assert contender.device.startswith("cpu, ")


def test_the_tutorials_pictures_are_the_images(spec: dict[str, Any]) -> None:
    images = torch.from_numpy(np.load(spec["images"])).permute(0, 3, 1, 2)
    picture, _ = torch_epochs._Pictures(images)[7]
    torch.testing.assert_close(picture, images[7].float() / 255)


@pytest.mark.parametrize(("platform", "message"), [("tpu", "no PyTorch on a tpu"), ("gpu", "has no CUDA")])
def test_no_device_to_compare_on(
    spec: dict[str, Any], platform: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=message):
        torch_epochs.build({**spec, "setting": [], "platform": platform})


def test_every_setting_is_known() -> None:
    used = {
        word for s in (against_pytorch.PYTORCH_SETTINGS | against_pytorch.PYTORCH_GPU_SETTINGS).values() for word in s
    }
    assert used == set(torch_epochs.SETTINGS)


def test_cuda_graphs_are_compiled_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "compile", lambda loss, **options: asked.append(options) or loss)
    system = torch_epochs.SYSTEMS["aae"]
    torch_epochs.step_function(system, system.network(1), ["cuda_graphs"])
    assert asked == [{"mode": "reduce-overhead"}] * 3  # one for each phase


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_cuda_graphs_train(spec: dict[str, Any]) -> None:
    contender = torch_epochs.build({**spec, "platform": "gpu", "setting": ["channels_last", "cuda_graphs", "fused"]})
    contender.block(5)


def test_half_precision_is_the_losses_own_and_not_the_parameters(spec: dict[str, Any]) -> None:
    system = torch_epochs.SYSTEMS["autoencoder"]
    network = system.network(1)
    seen = []
    network[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step = torch_epochs.step_function(system, network, ["bf16"])
    loss = step(torch.rand(4, 1, 28, 28))
    assert seen == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert {p.dtype for p in network.parameters()} == {torch.float32}
