"""What the accelerator benchmark asks of a device itself: its name, its best speeds, and one training step on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax import rng
from aejax.data import load
from aejax.training.devices import make_mesh
from experiments.benchmark.contenders.jax_systems import SYSTEMS
from experiments.benchmark.contenders.limits import peaks
from experiments.benchmark.contenders.settings import PRECISIONS


def build(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Answers spec["ask"]: "device", "images" or "step"; the functions below say what of."""
    asked = {"device": device, "images": images, "step": step}
    return asked[spec["ask"]](spec)


def device(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The platform, the number of devices, and of one its memory and its speed in a large matrix product and copy."""
    mesh = make_mesh(1, 1)
    first = mesh.devices.flat[0]
    found: dict[str, Any] = {
        "platform": jax.default_backend(),
        "device": first.device_kind,
        "devices": len(jax.devices()),
        "memory_mib": (first.memory_stats() or {}).get("bytes_limit", 0) // 2**20,
        "jax": jax.__version__,
    }
    for precision in PRECISIONS:
        with jax.default_matmul_precision(precision):
            flops, moved = peaks(mesh)
        found |= {f"peak_flops, {precision} precision": flops, "peak_bytes_per_s": moved}
    return found


def images(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Writes spec["count"] training images of 28 x 28 pixels to spec["to"], the dataset's own again and again.

    Time does not depend on what images show: random ones take their place where the dataset cannot be loaded.
    """
    try:
        some, note = load(spec["dataset"], "train[:90%]", image_size=28).images, ""
    except Exception as error:
        note = f"random images, as {spec['dataset']} cannot be loaded: {type(error).__name__}: {error}"
        some = np.asarray(jax.random.bits(rng.root_key(0), (512, 28, 28, 1), np.uint8))
    np.save(spec["to"], np.resize(some, (spec["count"], *some.shape[1:])))
    return {"images": spec["count"], "shape": list(some.shape[1:]), **({"note": note} if note else {})}


def step(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Takes one training step of spec["system"] in each precision, and writes all that it leaves, by name, to an .npz
    file whose name begins with spec["to"].

    The state before is that of the .npz file spec["start"], which the first process to come makes. So all processes
    take the step from equal values, whatever their platforms' random numbers.
    """
    system, key = SYSTEMS[spec["system"]], rng.root_key(spec["seed"])
    batch = jnp.asarray(np.load(spec["images"])[: spec["batch_size"]], jnp.float32) / 255
    method, start = system.method(batch.shape[1:]), Path(spec["start"])
    if not start.exists():
        np.savez(start, *map(np.asarray, jax.tree.leaves(jax.jit(method.init)(key, batch))))
    structure = jax.tree.structure(jax.eval_shape(method.init, key, batch))
    with np.load(start) as saved:
        state = jax.tree.unflatten(structure, [jnp.asarray(saved[name]) for name in saved.files])
    for precision in PRECISIONS:
        with jax.default_matmul_precision(precision):
            after = jax.jit(method.step)(state, batch, key)
        leaves, _ = jax.tree_util.tree_flatten_with_path(after)
        named: dict[str, Any] = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        np.savez(f"{spec['to']}-{precision}.npz", **named)
    return {"platform": jax.default_backend()}
