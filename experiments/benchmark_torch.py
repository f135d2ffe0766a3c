"""PyTorch's side of the benchmark: the same systems as in benchmark_jax.SYSTEMS, under settings to choose from."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the field's name for it
from PIL import Image
from torch import Tensor, nn

from experiments.benchmark_worker import Contender

Loss = Callable[[nn.Module, Tensor], Tensor]


class Phase(NamedTuple):
    """One update of a step.

    Attributes:
      loss: (network, images (batch, channels, height, width) in [0, 1]) -> scalar.
      optimizer: (parameters, fused=True or None) -> optimiser; None leaves PyTorch its default.
      part: the submodule whose parameters it updates; "" for all of the network.
    """

    loss: Loss
    optimizer: Callable[..., torch.optim.Optimizer]
    part: str = ""


class System(NamedTuple):
    """One training recipe, in PyTorch.

    Attributes:
      network: channels -> a network from images to logits.
      phases: what a step does, in order.
      lesson_loss: the loss of the lesson's own form.
      layers: the paths of this project's layers, in the order of the network's own convolutions and dense layers.
    """

    network: Callable[[int], nn.Module]
    phases: Sequence[Phase]
    lesson_loss: Loss
    layers: Sequence[str]


def conv_autoencoder(channels: int) -> nn.Module:
    """The lesson's, without its last sigmoid: images to logits."""
    encoder = [
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, padding=1)),
    ]
    decoder = [
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Upsample(scale_factor=2)),
        nn.Conv2d(16, channels, 3, padding=1),
    ]
    return nn.Sequential(*encoder, *decoder)


def adam(learning_rate: float) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters, fused: torch.optim.Adam(parameters, learning_rate, fused=fused)


def bce(network: nn.Module, images: Tensor) -> Tensor:
    """In nats per image, as on this project's side."""
    return F.binary_cross_entropy_with_logits(network(images), images, reduction="sum") / len(images)


def bce_of_sigmoid(network: nn.Module, images: Tensor) -> Tensor:
    """The lesson's: per pixel."""
    return F.binary_cross_entropy(torch.sigmoid(network(images)), images)


SYSTEMS = {
    "autoencoder": System(
        conv_autoencoder,
        [Phase(bce, adam(1e-3))],
        bce_of_sigmoid,
        [
            *(f"encoder/ConvMaxPool_{i}" for i in range(3)),
            "decoder/Conv_0",
            *(f"decoder/UpsampleConv_{i}" for i in range(3)),
        ],
    ),
}


def build(spec: Mapping[str, Any]) -> Contender:
    """The contender of spec["system"]; spec["setting"] lists "channels_last", "compiled" and "fused" or is "lesson"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    torch.manual_seed(spec["seed"])
    if spec["platform"] not in ("cpu", "gpu"):
        raise RuntimeError(f"no PyTorch on a {spec['platform']}")
    if spec["platform"] == "gpu" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch has no CUDA, and JAX computes on a GPU")
    device = torch.device("cuda" if spec["platform"] == "gpu" else "cpu")
    images = torch.from_numpy(np.load(spec["images"])).permute(0, 3, 1, 2)
    system, setting = SYSTEMS[spec["system"]], spec["setting"]
    network = system.network(images.shape[1]).to(device)
    form = _lesson_block if "lesson" in setting else _block
    steps = form(system, network, images, spec["batch_size"], setting)

    def block(count: int) -> None:
        steps(count)
        if device.type == "cuda":
            torch.cuda.synchronize()

    if device.type == "cuda":
        return Contender(block, torch.cuda.get_device_name(), torch.cuda.max_memory_allocated)
    return Contender(block, f"cpu, {cores} threads")


def step_function(system: System, network: nn.Module, setting: Sequence[str] = ()) -> Callable[[Tensor], None]:
    """images -> None: one step of all phases."""
    compiled = torch.compile if "compiled" in setting else lambda loss: loss
    phases = [
        (compiled(loss), optimizer(network.get_submodule(part).parameters(), fused="fused" in setting or None))
        for loss, optimizer, part in system.phases
    ]

    def step(images: Tensor) -> None:
        for loss, optimizer in phases:
            optimizer.zero_grad(set_to_none=True)
            loss(network, images).backward()
            optimizer.step()

    return step


def _block(
    system: System, network: nn.Module, images: Tensor, batch_size: int, setting: Sequence[str]
) -> Callable[[int], None]:
    """The fast form: float images in the device's memory, an index gather per batch, nothing read back."""
    device = next(network.parameters()).device
    images = images.to(device).float() / 255
    if "channels_last" in setting:
        network = nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    step = step_function(system, network, setting)

    def block(count: int) -> None:
        while count:
            now = min(count, len(images) // batch_size)
            order = torch.randperm(len(images), device=device)
            for i in range(now):
                step(images[order[i * batch_size : (i + 1) * batch_size]])
            count -= now

    return block


def _lesson_block(
    system: System, network: nn.Module, images: Tensor, batch_size: int, setting: Sequence[str]
) -> Callable[[int], None]:
    """The lesson's form: a DataLoader over single pictures, and the loss read back in each step."""
    device = next(network.parameters()).device
    loader = torch.utils.data.DataLoader(_Pictures(images), batch_size, shuffle=True, drop_last=True)
    optimizer = system.phases[0].optimizer(network.parameters(), fused=None)

    def block(count: int) -> None:
        total = 0.0
        while count:
            for batch, _ in loader:
                batch = batch.to(device)
                optimizer.zero_grad()
                loss = system.lesson_loss(network, batch)
                loss.backward()
                optimizer.step()
                total += loss.item()
                count -= 1
                if not count:
                    break

    return block


class _Pictures(torch.utils.data.Dataset):
    """As torchvision's MNIST with ToTensor: stored as uint8, each picture a PIL image that becomes a float tensor."""

    def __init__(self, images: Tensor) -> None:
        self._images = images.permute(0, 2, 3, 1).squeeze(-1).contiguous()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self._images[index].numpy())
        pixels = torch.from_numpy(np.array(picture, copy=True)).view(picture.height, picture.width, -1)
        return pixels.permute(2, 0, 1).contiguous().float().div(255), 0
