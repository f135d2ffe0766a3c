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

ocp = lazy_loader.load("orbax.checkpoint", suppress_warning=True)  # `--help` need not pay for it


class Checkpoints:
    """Checkpoints of any pytree of arrays, by step, in one folder.

    The best is the one with the lowest value given to `save`. `max_to_keep` with a ranking would drop the latest, which
    is the one to resume from; hence the two policies.
    """

    def __init__(self, path: Path) -> None:
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
        if distributed.first():
            _set_damaged_values_aside(self._path)
        distributed.barrier()
        handler = ocp.StandardCheckpointHandler()  # named, it reads metadata before anything was saved or restored
        self._manager = ocp.CheckpointManager(self._path, options=options, item_handlers=handler)

    def save(self, step: int, tree: Tree, value: float | None) -> None:
        """Saves in the background, unless `step` is there already.

        `value` is what "best" is judged by, if anything; a value that is not finite never is the best.
        """
        if self._manager.latest_step() == step:
            return
        metrics = None if value is None or not math.isfinite(value) else {"value": float(value)}
        self._manager.save(
            step, args=ocp.args.StandardSave(tree), metrics=metrics, custom_metadata={_CHECKSUM: checksum(tree)}
        )

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
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        if self.saved_checksum(step) != checksum(tree):
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

    def _read_step(self, step: int) -> Tree:
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), self._manager.item_metadata(step))
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(like))
        # The checksum runs over the leaves in their order in the tree that was saved, which dicts do not keep.
        saved = json.loads((self._path / str(step) / "default" / "_METADATA").read_text())["tree_metadata"].values()
        paths = [[part["key"] for part in leaf["key_metadata"]] for leaf in saved]
        if self.saved_checksum(step) != checksum([_at(tree, path) for path in paths]):
            raise ValueError("its checksum is wrong")
        return tree

    def saved_checksum(self, step: int) -> str:
        """Of all that was saved at `step`; ValueError where there is none."""
        saved = (self._manager.metadata(step).custom_metadata or {}).get(_CHECKSUM)
        if not saved:
            raise ValueError("it has no checksum")
        return saved

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


def _set_damaged_values_aside(path: Path) -> None:
    """Takes what "best" is judged by from checkpoints where it cannot be read, at which Orbax would give up on all."""
    for file in path.glob("[0-9]*/metrics/metrics"):
        try:
            float(json.loads(file.read_text())["value"])
        except (OSError, ValueError, KeyError, TypeError):
            step = file.parts[-3]
            print(
                f"{path}: whether step {step} is the best cannot be read, and it is not taken for it", file=sys.stderr
            )
            file.rename(file.with_name("damaged"))


def _at(tree: Tree, path: Sequence[str]) -> Tree:
    for key in path:
        tree = tree[int(key) if isinstance(tree, list) else key]
    return tree


def _value(metrics: dict[str, float]) -> float:
    return metrics["value"]
