"""Checkpoints through Orbax, with a checksum each: the latest two, to resume from, and the best one."""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import lazy_loader
import numpy as np

from aejax.errors import UserError
from aejax.training import distributed

Tree = Any
_CHECKSUM = "sha256"
_VALUE_CHECKSUM = "value_sha256"
_METADATA = "_CHECKPOINT_METADATA"

ocp = lazy_loader.load("orbax.checkpoint", suppress_warning=True)  # `--help` need not pay for it


class Checkpoints:
    """Checkpoints of any pytree of arrays, by step, in one folder.

    The best is the one with the lowest value given to `save`. `max_to_keep` with a ranking would drop the latest, which
    is the one to resume from; hence the two policies.
    """

    def __init__(self, path: Path, identity: str = "") -> None:
        """Opens the folder of the run with this identity; checkpoints of another one count as damaged."""
        policies = ocp.checkpoint_managers
        policy = policies.AnyPreservationPolicy(
            [
                policies.LatestN(2),
                policies.BestN(
                    get_metric_fn=_value,
                    reverse=True,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=policy, best_fn=_value, best_mode="min")
        self._path = path.absolute()
        self._identity = identity
        if distributed.first():
            self._set_damaged_metadata_aside()
        distributed.barrier()
        handler = ocp.StandardCheckpointHandler()  # named, it reads metadata before anything was saved or restored
        self._manager = ocp.CheckpointManager(self._path, options=options, item_handlers=handler)

    def save(self, step: int, tree: Tree, value: float | None) -> None:
        """Saves in the background, unless `step` is there already, with a value or without one to add to it.

        `value` is what "best" is judged by, if anything; a value that is not finite never is the best.
        """
        metrics = None if value is None or not math.isfinite(value) else {"value": float(value)}
        if self._manager.latest_step() == step:
            self.wait()
            if metrics is None or self._manager.metrics(step) is not None:
                return
            self._manager.delete(step)
        metadata = {_CHECKSUM: self._checksum(step, tree)}
        if metrics is not None:
            metadata[_VALUE_CHECKSUM] = self._checksum(step, np.float64(metrics["value"]))
        self._manager.save(step, args=ocp.args.StandardSave(tree), metrics=metrics, custom_metadata=metadata)

    def restore(self, like: Tree) -> tuple[int, Tree] | None:
        """The newest sound (step, tree), or None where nothing was saved.

        A damaged checkpoint is passed over with one line on stderr and moved to <path>/../damaged, so that its step can
        be saved again. `like` gives structure, shapes, dtypes and sharding: arrays, or what `jax.eval_shape` returns.

        Raises:
          UserError: if there are checkpoints and none is sound.
        """
        steps = self.steps()
        if not steps:
            return None
        step, tree = self._newest_sound(steps, lambda step: self.restore_step(step, like))
        self._move_away([later for later in steps if later > step])
        return step, tree

    def restore_step(self, step: int, like: Tree) -> Tree:
        """The tree saved at `step`; ValueError where its checksum is not that of what was saved."""
        self._check_array_metadata(step)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        if self.saved_checksum(step) != self._checksum(step, tree):
            raise ValueError("its checksum is wrong")
        return tree

    def read(self, which: Literal["last", "best"]) -> tuple[int, Tree]:
        """The newest sound (step, tree), or the best, for a reader that does not know the tree's structure.

        Named tuples are dicts by field, other tuples lists, and all arrays numpy's. Unlike `restore`, it moves nothing.

        Raises:
          UserError: if there is no such checkpoint, or it is damaged.
        """
        steps = self.steps() if which == "last" else [step for step in [self.best_step()] if step is not None]
        if not steps:
            raise UserError(f"{self._path} holds no {which} checkpoint: choose another run, or let it train on")
        return self._newest_sound(steps, self._read_step)

    def _newest_sound(self, steps: Sequence[int], read: Callable[[int], Tree]) -> tuple[int, Tree]:
        damaged: dict[int, str] = {}
        for step in sorted(steps, reverse=True):
            try:
                tree, reason = read(step), ""
            except Exception as error:  # whatever the readers of damaged files raise
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
            if distributed.gather(not reason).all():  # all processes go on from the same one
                for bad, why in damaged.items() if distributed.first() else ():
                    print(f"{self._path}: skipped the checkpoint of step {bad} ({why}), using {step}", file=sys.stderr)
                return step, tree
            damaged[step] = reason or "another process cannot read it"
        reasons = "; ".join(f"step {step}: {reason}" for step, reason in damaged.items())
        raise UserError(f"{self._path} holds no sound checkpoint ({reasons}): choose another run, or remove this one")

    def _check_array_metadata(self, step: int) -> None:
        """ValueError where Orbax's notes on the arrays are damaged: it would print a traceback for each array."""
        folder = self._path / str(step) / "default" / "array_metadatas"
        for file in folder.glob("*"):
            try:
                entries = json.loads(file.read_text())["array_metadatas"]
                named = [set(entry["array_metadata"]) for entry in entries]
                known = any("param_name" in names for names in named)  # else of an Orbax with other fields
                sound = not known or all({"param_name", "write_shape", "chunk_shape"} <= names for names in named)
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                sound = False
            if not sound:
                raise ValueError("its array metadata are damaged")

    def _read_step(self, step: int) -> Tree:
        self._check_array_metadata(step)
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), self._manager.item_metadata(step))
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(like))
        # The checksum runs over the leaves in their order in the tree that was saved, which dicts do not keep.
        saved = json.loads((self._path / str(step) / "default" / "_METADATA").read_text())["tree_metadata"].values()
        paths = [[part["key"] for part in leaf["key_metadata"]] for leaf in saved]
        if self.saved_checksum(step) != self._checksum(step, [_at(tree, path) for path in paths]):
            raise ValueError("its checksum is wrong")
        return tree

    def saved_checksum(self, step: int) -> str:
        """Of all that was saved at `step`; ValueError where there is none."""
        saved = (self._manager.metadata(step).custom_metadata or {}).get(_CHECKSUM)
        if not saved:
            raise ValueError("it has no checksum")
        return saved

    def _set_damaged_metadata_aside(self) -> None:
        """Renames what Orbax cannot read of a checkpoint's metadata, as it would otherwise open none of them.

        A checkpoint without metadata is damaged; one without its loss cannot be the best.
        """
        for folder in self._path.glob("[0-9]*"):
            file = folder / _METADATA
            try:
                _ = ocp.path.step.standard_name_format().find_step(self._path, int(folder.name)).commit_timestamp_nsecs
                metadata = json.loads(file.read_text())["custom_metadata"]
            except Exception:  # whatever the readers of damaged files raise
                metadata = {}
                if file.exists():
                    file.rename(file.with_name("damaged"))
            value = folder / "metrics" / "metrics"
            if value.exists() and not self._is_sound(value, folder.name, metadata):
                print(
                    f"{self._path}: the loss of step {folder.name} is damaged, so it cannot be chosen as the best "
                    "checkpoint",
                    file=sys.stderr,
                )
                value.rename(value.with_name("damaged"))

    def _is_sound(self, file: Path, step: str, metadata: dict[str, str]) -> bool:
        try:
            value = np.float64(json.loads(file.read_text())["value"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        return metadata.get(_VALUE_CHECKSUM) == self._checksum(int(step), value)

    def _checksum(self, step: int, tree: Tree) -> str:
        """Binds the values to their step and run, so that no other checkpoint can be taken for this one."""
        return hashlib.sha256(f"{self._identity} {step} {checksum(tree)}".encode()).hexdigest()

    def _move_away(self, damaged: Sequence[int]) -> None:
        if not damaged:
            return
        place = self._path.parent / "damaged"
        for step in damaged if distributed.first() else ():
            place.mkdir(exist_ok=True)
            target, count = place / str(step), 1
            while target.exists():
                target, count = place / f"{step}.{count}", count + 1
            (self._path / str(step)).rename(target)
        distributed.barrier()
        self._manager.reload()

    def steps(self) -> list[int]:
        """All steps that are kept."""
        self.wait()
        return list(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step with the lowest value, or None where no value was ever given."""
        self.wait()
        return self._manager.best_step()

    def wait(self) -> None:
        """Returns when everything is on the disk."""
        self._manager.wait_until_finished()

    def saving(self) -> bool:
        """Whether something is not yet on the disk."""
        return self._manager.is_saving_in_progress()

    def close(self) -> None:
        self._manager.close()


def checksum(tree: Tree) -> str:
    """SHA-256 of the values, dtypes and shapes of all leaves, which Orbax does not check."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{leaf.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _at(tree: Tree, path: Sequence[str]) -> Tree:
    for key in path:
        tree = tree[int(key) if isinstance(tree, list) else key]
    return tree


def _value(metrics: dict[str, float]) -> float:
    return metrics["value"]
