"""PyTorch's side of the benchmark: its systems, trained under settings to choose from."""

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from experiments.benchmark.contenders.torch_systems import SYSTEMS, Loss, System
from experiments.benchmark.harness.worker import Contender

SETTINGS = ("channels_last", "compiled", "cuda_graphs", "fused", "tf32", "bf16")


def build(spec: Mapping[str, Any]) -> Contender:
    """The contender of spec["system"]; spec["setting"] is some of SETTINGS, or "tutorial"."""
    device = prepare(spec)
    images = torch.from_numpy(np.load(spec["images"])).permute(0, 3, 1, 2)
    system, setting = SYSTEMS[spec["system"]], spec["setting"]
    if "tf32" in setting:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    network = system.network(images.shape[1]).to(device)
    form = _tutorial_block if "tutorial" in setting else _block
    return contender(form(system, network, images, spec["batch_size"], setting), device)


def prepare(spec: Mapping[str, Any]) -> torch.device:
    """Sets the threads and the seed, and finds the device of spec["platform"].

    Raises:
      RuntimeError: where PyTorch cannot compute on it.
    """
    # `aejax.training.devices.cores` is not used here: it would bring JAX into this process, whose memory is measured.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    torch.manual_seed(spec["seed"])
    if spec["platform"] not in ("cpu", "gpu"):
        raise RuntimeError(f"no PyTorch on a {spec['platform']}")
    if spec["platform"] == "gpu" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch has no CUDA, and JAX computes on a GPU")
    return torch.device("cuda" if spec["platform"] == "gpu" else "cpu")


def contender(run: Callable[[int], None], device: torch.device) -> Contender:
    """The contender that takes a number of steps by `run` on the device, and waits for them."""
    if device.type == "cpu":
        return Contender(run, f"cpu, {torch.get_num_threads()} threads")

    def block(count: int) -> None:
        run(count)
        torch.cuda.synchronize()

    return Contender(block, torch.cuda.get_device_name(), torch.cuda.max_memory_allocated)


def step_function(system: System, network: nn.Module, setting: Sequence[str] = ()) -> Callable[..., Tensor]:
    """(images, noise...) -> the last phase's loss: one step of all phases."""
    compiled: Callable[[Loss], Loss] = lambda loss: loss  # noqa: E731
    if "cuda_graphs" in setting:
        compiled = functools.partial(torch.compile, mode="reduce-overhead")
    elif "compiled" in setting:
        compiled = torch.compile
    precision: Callable[[], AbstractContextManager] = contextlib.nullcontext
    if "bf16" in setting:
        precision = functools.partial(torch.autocast, next(network.parameters()).device.type, torch.bfloat16)
    phases = [
        (compiled(loss), optimizer(network.get_submodule(part).parameters(), fused="fused" in setting or None))
        for loss, optimizer, part in system.phases
    ]

    def step(images: Tensor, *noise: Tensor) -> Tensor:
        for loss, optimizer in phases:
            if "cuda_graphs" in setting:
                torch.compiler.cudagraph_mark_step_begin()  # what the graph gave before may be overwritten
            optimizer.zero_grad(set_to_none=True)
            with precision():
                value = loss(network, images, *noise)
            value.backward()
            optimizer.step()
        return value.detach()

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
                batch = images[order[i * batch_size : (i + 1) * batch_size]]
                step(batch, *system.noise(batch))
            count -= now

    return block


def _tutorial_block(
    system: System, network: nn.Module, images: Tensor, batch_size: int, setting: Sequence[str]
) -> Callable[[int], None]:
    """The tutorial's form: a DataLoader over single pictures, and the loss read back in each step."""
    device = next(network.parameters()).device
    loader = torch.utils.data.DataLoader(_Pictures(images), batch_size, shuffle=True, drop_last=True)
    if system.tutorial_loss is not None:
        system = system._replace(phases=[system.phases[0]._replace(loss=system.tutorial_loss)], noise=lambda images: ())
    step = step_function(system, network)

    def block(count: int) -> None:
        total = 0.0
        while count:
            for batch, _ in loader:
                batch = batch.to(device)
                total += step(batch, *system.noise(batch)).item()
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
