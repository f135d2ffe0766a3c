"""The devices that a run uses, as a mesh."""

import contextlib
import os

import jax
import numpy as np
from jax.sharding import Mesh

from aejax.errors import UserError
from aejax.training import distributed

# With fewer images per CPU device than this, the threads' synchronisation costs more than the split saves.
_IMAGES_PER_CPU_DEVICE = 64
# Each has threads and memory of its own; beyond this, no machine has the cores.
_MOST_CPU_DEVICES = 256


def make_mesh(devices: int, batch_size: int, *, dense: bool = False) -> Mesh:
    """A mesh of all processes' devices along the axis "data", over which batches are split.

    Args:
      devices: how many to use, as many of each process. 0 chooses: all GPUs or TPU cores, or on a CPU one device per
        core, as long as they divide the batch and each gets at least 64 images of it.
      batch_size: images per step over all devices.
      dense: the network's time goes into products large enough for XLA to spread each of them over a CPU's cores. One
        device is then the faster choice there, as several would each hold and update a copy of the large params.

    Raises:
      UserError: if there are not as many devices, or they do not divide the batch.
    """
    parts = distributed.count()
    local = local_devices(devices)
    most = len(local)
    if not devices and local[0].platform == "cpu":
        most = max(1, 1 if dense else min(cores(), batch_size // parts // _IMAGES_PER_CPU_DEVICE))
    most = int(distributed.gather(most).min())
    if devices > most * parts:
        where = "this machine" if parts == 1 else f"each of the {parts} processes"
        raise UserError(f"--devices {devices}: {where} has {most} ({local[0].platform}); ask for fewer")
    if devices % parts:
        raise UserError(f"--devices {devices} cannot be split over {parts} processes: choose a multiple")
    if batch_size % (devices or parts):
        over = f"--devices {devices}" if devices else f"{parts} processes"
        raise UserError(f"--batch-size {batch_size} cannot be split over {over}: change one of the two")
    each = devices // parts or max(n for n in range(1, most + 1) if batch_size % (n * parts) == 0)
    return Mesh(np.array([d for i in range(parts) for d in jax.local_devices(process_index=i)[:each]]), ("data",))


def local_devices(devices: int = 0) -> list[jax.Device]:
    """This process's devices: GPUs, TPU cores, or on a CPU one for each core, or its part of `devices` if more."""
    # Once something has used JAX, the devices are what they are.
    with contextlib.suppress(RuntimeError):
        wanted = min(-(-devices // distributed.count()), _MOST_CPU_DEVICES)
        jax.config.update("jax_num_cpu_devices", max(cores(), wanted))
    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS")
        if not platforms:
            raise
        reason = (str(error).splitlines() or ["it has no device here"])[0]
        raise UserError(f"JAX_PLATFORMS={platforms}: {reason}; leave it out, or set it to cpu") from None


def device_memory(devices: int = 0) -> int:
    """Bytes of memory of one device; on a CPU, its share of the machine's."""
    local = local_devices(devices)
    stats = local[0].memory_stats() if local[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(local)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
