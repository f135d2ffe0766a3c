from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from aejax.data import load

torch = pytest.importorskip("torch")

from experiments import benchmark, benchmark_check, benchmark_jax, benchmark_torch  # noqa: E402
from experiments import benchmark_torch_systems as systems  # noqa: E402


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
    assert set(benchmark_torch.SYSTEMS) == set(benchmark_jax.SYSTEMS)


@pytest.fixture(scope="module", params=benchmark_torch.SYSTEMS)
def ours(spec: dict[str, Any], request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A system and what this project computes of it, which takes seconds to compile."""
    changed = {**spec, "system": request.param}
    return request.param, benchmark_check.ours(changed, benchmark_jax.load_feed(changed))


def test_both_sides_compute_the_same(
    spec: dict[str, Any], ours: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_check, "ours", lambda spec, feed: ours[1])
    checked = benchmark_check.build({**spec, "system": ours[0]})
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
    monkeypatch.setattr(benchmark_check, "ours", lambda spec, feed: ours[1])
    changed = benchmark_torch.SYSTEMS["autoencoder"]._replace(**change)
    monkeypatch.setitem(benchmark_torch.SYSTEMS, "autoencoder", changed)
    with pytest.raises(RuntimeError, match=message):
        benchmark_check.build(spec)


ON_A_CPU = [
    *[setting for setting in benchmark.PYTORCH_SETTINGS.values() if "compiled" not in setting],
    *[s for s in benchmark.PYTORCH_GPU_SETTINGS.values() if not {"compiled", "cuda_graphs"} & set(s)],
    ["lesson"],
]


@pytest.mark.parametrize("setting", ON_A_CPU, ids=str)
def test_settings_train(spec: dict[str, Any], setting: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    system = benchmark_torch.SYSTEMS["autoencoder"]

    def network(channels: int) -> Any:
        networks.append(system.network(channels))
        return networks[-1]

    monkeypatch.setitem(benchmark_torch.SYSTEMS, "autoencoder", system._replace(network=network))
    contender = benchmark_torch.build({**spec, "setting": setting})
    pixels = torch.from_numpy(np.load(spec["images"])).permute(0, 3, 1, 2) / 255
    before = systems.bce(networks[0], pixels).item()
    contender.block(5)  # more than an epoch
    assert systems.bce(networks[0], pixels).item() < before
    assert contender.device.startswith("cpu, ")


def test_the_lessons_pictures_are_the_images(spec: dict[str, Any]) -> None:
    images = torch.from_numpy(np.load(spec["images"])).permute(0, 3, 1, 2)
    picture, _ = benchmark_torch._Pictures(images)[7]
    torch.testing.assert_close(picture, images[7].float() / 255)


@pytest.mark.parametrize(("platform", "message"), [("tpu", "no PyTorch on a tpu"), ("gpu", "has no CUDA")])
def test_no_device_to_compare_on(
    spec: dict[str, Any], platform: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=message):
        benchmark_torch.build({**spec, "setting": [], "platform": platform})


def test_every_setting_is_known() -> None:
    used = {word for s in (benchmark.PYTORCH_SETTINGS | benchmark.PYTORCH_GPU_SETTINGS).values() for word in s}
    assert used == set(benchmark_torch.SETTINGS)


def test_cuda_graphs_are_compiled_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "compile", lambda loss, **options: asked.append(options) or loss)
    system = benchmark_torch.SYSTEMS["aae"]
    benchmark_torch.step_function(system, system.network(1), ["cuda_graphs"])
    assert asked == [{"mode": "reduce-overhead"}] * 3  # one for each phase


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_cuda_graphs_train(spec: dict[str, Any]) -> None:
    contender = benchmark_torch.build({**spec, "platform": "gpu", "setting": ["channels_last", "cuda_graphs", "fused"]})
    contender.block(5)


def test_half_precision_is_the_losses_own_and_not_the_parameters(spec: dict[str, Any]) -> None:
    system = benchmark_torch.SYSTEMS["autoencoder"]
    network = system.network(1)
    seen = []
    network[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step = benchmark_torch.step_function(system, network, ["bf16"])
    loss = step(torch.rand(4, 1, 28, 28))
    assert seen == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert {p.dtype for p in network.parameters()} == {torch.float32}
