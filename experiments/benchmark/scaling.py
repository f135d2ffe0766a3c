"""The cost of data-parallel training on a cluster, on paper: bytes over the wire, and efficiency under assumptions.

python -m experiments.benchmark.scaling                       all systems of the benchmark, the clusters of SCALING.md
python -m experiments.benchmark.scaling --batch-size 1024     more images per device and step

Parameters, operations and the all-reduces that XLA puts into the step are counted. The speeds of devices and networks
are assumed, in the options and in CLUSTERS. Nothing is measured.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import cli, rng
from aejax.data.feeds import DeviceFeed
from aejax.methods.method import Method
from aejax.tables import decimal, markdown
from aejax.training.config import above, at_least, check_bounds
from aejax.training.devices import make_mesh
from aejax.training.seeds import roots
from aejax.training.steps import compile_steps, initial_progress
from experiments.benchmark.contenders.jax_systems import SYSTEMS

IMAGE_SHAPE = (28, 28, 1)
_DEVICES = 8  # the step is compiled for this many; the bytes do not depend on it
_ALL_REDUCE = re.compile(r"= (.*?) all-reduce(?:-start)?\(")
_ARRAY = re.compile(r"\b[a-z]+(\d+)\[([\d,]*)\]")


class Cluster(NamedTuple):
    """Assumptions on a network.

    Attributes:
      devices: the number that take part in an all-reduce; a host with several GPUs counts once.
      bandwidth: bytes per second that each device sends.
      latency: seconds for one hop of a message.
    """

    devices: int
    bandwidth: float
    latency: float


CLUSTERS = {
    "8 GPUs, NVLink": Cluster(8, 300e9, 3e-6),
    "64 hosts, InfiniBand 400 Gbit/s": Cluster(64, 40e9, 8e-6),
    "64 hosts, Ethernet 25 Gbit/s": Cluster(64, 2.5e9, 40e-6),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print the bytes that a step of each system sends, and the share of a device's time that is left for computing."""

    batch_size: int = at_least(1, 256)
    """images per step and device"""
    flops: float = above(0, 15e12)
    """operations per second that a device is assumed to reach"""
    floor: float = above(0, 2e-4)
    """shortest time of a step in seconds, which starting its kernels is assumed to take"""

    def __post_init__(self) -> None:
        check_bounds(self)


def main(config: Config) -> None:
    mesh = make_mesh(_DEVICES, _DEVICES)
    sent, times = {}, {}
    for name, system in SYSTEMS.items():
        method = system.method(IMAGE_SHAPE)
        parameters, sizes = counted(method, mesh)
        compute = max(config.floor, operations(method, config.batch_size) / config.flops)
        sent[name] = {
            "parameters": f"{parameters:,}",
            "all-reduces": str(len(sizes)),
            "MB reduced": decimal(sum(sizes) / 1e6),
            **{f"MB sent, {n} devices": decimal(wire_bytes(sum(sizes), n) / 1e6) for n in (8, 64)},
        }
        times[name] = {"computing, ms": decimal(1e3 * compute)}
        for cluster, network in CLUSTERS.items():
            wait = seconds(sizes, network)
            times[name][cluster] = f"{1e3 * wait:.2g} ms, {compute / (compute + wait):.0%}"
    print(f"Counted, of a step of images {IMAGE_SHAPE}:\n\n{markdown(sent, 'system')}\n")
    print(f"Estimated, with {config}:\n\n{markdown(times, 'system')}")


def counted(method: Method, mesh: Mesh) -> tuple[int, list[int]]:
    """Counts the method's parameters, and the bytes of each all-reduce in a training step over the mesh."""
    whole = NamedSharding(mesh, PartitionSpec())

    def abstract(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), tree)

    images = abstract(jax.ShapeDtypeStruct((mesh.size, *IMAGE_SHAPE), np.uint8))
    feed = DeviceFeed(images, mesh.size, mesh)
    root = jax.eval_shape(lambda: roots(0, 1))
    progress: Any = abstract(jax.eval_shape(lambda root: initial_progress(method, feed, root), root))
    order = abstract(jax.eval_shape(feed.order, root, 0))
    lowered = compile_steps(method, feed).lower(progress, images, order, root, np.int32(0), np.int32(1))
    program = lowered.compile().as_text()
    assert program is not None
    return sum(leaf.size for leaf in jax.tree.leaves(progress.state.params)), all_reduces(program)


def all_reduces(program: str) -> list[int]:
    """Bytes of each all-reduce in the text of a compiled program."""
    return [
        sum(
            int(bits) // 8 * math.prod(map(int, shape.split(","))) if shape else int(bits) // 8
            for bits, shape in _ARRAY.findall(found[1])
        )
        for found in map(_ALL_REDUCE.search, program.splitlines())
        if found
    ]


def operations(method: Method, batch_size: int) -> float:
    """Counts the operations of one step, as XLA does before it fuses any."""
    images = jax.ShapeDtypeStruct((batch_size, *IMAGE_SHAPE), jnp.float32)
    key = jax.eval_shape(rng.root_key, 0)
    cost: Any = jax.jit(method.step).lower(jax.eval_shape(method.init, key, images), images, key).cost_analysis()
    return cost["flops"]


def wire_bytes(size: float, devices: int) -> float:
    """Bytes that each device sends until the sum of `size` bytes over all devices is on each of them.

    2 (n - 1) / n of them, which no algorithm can undercut: Patarasuk and Yuan (2009), "Bandwidth optimal all-reduce
    algorithms for clusters of workstations", theorem 1.
    """
    return 2 * (devices - 1) / devices * size


def seconds(sizes: list[int], network: Cluster) -> float:
    """The time of consecutive all-reduces along trees: two hops for each level, and all bytes at the bandwidth."""
    hops = 2 * math.ceil(math.log2(network.devices))
    return sum(hops * network.latency + wire_bytes(size, network.devices) / network.bandwidth for size in sizes)


if __name__ == "__main__":
    cli.run(main, Config)
