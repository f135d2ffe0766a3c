"""Checkpoints through Orbax: the latest two, to resume from, and the best one."""

import math
from pathlib import Path
from typing import Any

import jax
import lazy_loader

Tree = Any

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
        self._manager = ocp.CheckpointManager(path.absolute(), options=options)

    def save(self, step: int, tree: Tree, value: float | None) -> None:
        """Saves in the background, unless `step` is there already.

        `value` is what "best" is judged by, if anything; a value that is not finite never is the best.
        """
        if self._manager.latest_step() == step:
            return
        metrics = None if value is None or not math.isfinite(value) else {"value": float(value)}
        self._manager.save(step, args=ocp.args.StandardSave(tree), metrics=metrics)

    def restore(self, like: Tree) -> tuple[int, Tree] | None:
        """The latest (step, tree), or None where nothing was saved.

        `like` gives structure, shapes, dtypes and sharding: arrays, or what `jax.eval_shape` returns.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        return step, self.restore_step(step, like)

    def restore_step(self, step: int, like: Tree) -> Tree:
        """The tree saved at `step`."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

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

    def close(self) -> None:
        self._manager.close()


def _value(metrics: dict[str, float]) -> float:
    return metrics["value"]
