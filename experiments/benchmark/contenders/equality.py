"""The check that both sides of a benchmark compute the same: equal parameters, equal logits, an equal step."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from aejax import rng
from aejax.batching import as_float
from aejax.data.feeds import DeviceFeed
from experiments.benchmark.contenders import jax_systems, torch_epochs

TOLERANCE = 1e-4  # of logits before a step
# Of those after it, as a share of the change that the step makes. An optimiser's first step follows the sign of the
# gradient, which rounding decides where it vanishes.
STEP_TOLERANCE = 0.01


def build(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Checks spec["system"] on its first batch; PyTorch starts from this project's initial parameters.

    Returns:
      "platform" and "devices" that JAX computes on, "steps_per_epoch", the number of "parameters", and the largest
      differences of logits, as a share of the largest logit or of 1, before and after one step.

    Raises:
      RuntimeError: if the two sides differ by more than TOLERANCE before the step, or STEP_TOLERANCE after it.
    """
    feed = jax_systems.load_feed(spec)
    params, noise, *logits = ours(spec, feed)
    system = torch_epochs.SYSTEMS[spec["system"]]
    network = system.network(feed.image_shape[-1])

    count = sum(x.size for x in jax.tree.leaves(params))
    their_count = sum(p.numel() for p in network.parameters())
    if count != their_count:
        raise RuntimeError(f"{count} parameters here, {their_count} in PyTorch")

    copy_parameters(params, network, system.layers)
    pixels = _as_tensor(_first_batch(feed))
    their_logits = [network(system.inputs(pixels))]
    torch_epochs.step_function(system, network)(pixels, *map(_as_tensor, noise))
    their_logits.append(network(system.inputs(pixels)))
    before, after = (
        float(np.abs(a - b.detach().permute(0, 2, 3, 1).numpy()).max() / max(1, np.abs(a).max()))
        for a, b in zip(logits, their_logits, strict=True)
    )
    moved = float(np.abs(logits[1] - logits[0]).max() / max(1, np.abs(logits[1]).max()))
    checks = (("logits", before, TOLERANCE), ("logits after a step", after, STEP_TOLERANCE * moved))
    for when, difference, tolerance in checks:
        if not difference <= tolerance:
            raise RuntimeError(f"{when} here and in PyTorch differ by {difference:.2g}")
    return {
        "platform": jax.default_backend(),
        "devices": feed.mesh.size,
        "steps_per_epoch": feed.steps_per_epoch,
        "parameters": count,
        "logits_differ_by": before,
        "logits_after_a_step_differ_by": after,
    }


def ours(spec: Mapping[str, Any], feed: DeviceFeed) -> tuple[Any, tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Initial params, the noise of a step on the first batch, and its logits before and after that step."""
    system, images, key = jax_systems.SYSTEMS[spec["system"]], _first_batch(feed), rng.root_key(spec["seed"])
    method, apply = system.method(feed.image_shape), jax.jit(system.logits(feed.image_shape))
    # A GPU's TF32 would differ by more; how fast each side rounds is not the question here.
    with jax.default_matmul_precision("highest"):
        state = jax.jit(method.init)(key, images)
        stepped, _ = jax.jit(method.step)(state, images, key)
        noise = tuple(map(np.array, system.noise(key, jnp.asarray(images))))
        return state.params, noise, *(np.asarray(apply(s.params, images)) for s in (state, stepped))


def copy_parameters(params: Mapping[str, Any], network: nn.Module, layers: Sequence[str]) -> None:
    """Copies Flax's params into the network's convolutions and dense layers, whose order is that of `layers`."""
    modules = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for path, module in zip(layers, modules, strict=True):
        layer = params
        for name in path.split("/"):
            layer = layer[name]
        kernel = np.asarray(layer["kernel"])
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        with torch.no_grad():
            module.get_parameter("weight").copy_(torch.from_numpy(kernel.copy()))
            module.get_parameter("bias").copy_(torch.from_numpy(np.array(layer["bias"])))


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    """Images with their channels where PyTorch has them, and other arrays as they are."""
    tensor = torch.from_numpy(array)
    return tensor.permute(0, 3, 1, 2) if array.ndim == 4 else tensor


def _first_batch(feed: DeviceFeed) -> np.ndarray:
    return as_float(np.asarray(feed.images[: feed.batch_size]))
