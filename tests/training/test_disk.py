"""Full disks and folders that cannot be written: one line, and what was saved stays."""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from aejax.data.feeds import device_feed
from aejax.errors import UserError
from aejax.methods.reconstruction import autoencoder
from aejax.models.image_to_image import ImageToImage
from aejax.training import runs
from aejax.training.checkpoints import Checkpoints
from aejax.training.config import RunConfig
from aejax.training.devices import make_mesh
from aejax.training.disk import refusal
from aejax.training.loop import fit
from aejax.training.metrics_log import MetricsLog
from aejax.training.runs import Run, open_run

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), dtype=np.uint8)
WIDTH = 2000  # so that a checkpoint is larger than all else that a run writes


class Network(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = nn.tanh(nn.Dense(WIDTH)(images.reshape(len(images), -1)))
        return nn.Dense(16)(x).reshape(images.shape)


def train(folder: Path, epochs: int) -> tuple[Any, list[dict]]:
    config = RunConfig(runs=folder, name="run")
    with open_run(config, "test") as run:
        mesh = make_mesh(1, 4)
        (state,) = fit(
            *(autoencoder(ImageToImage(Network()), optax.sgd(1e-2)), device_feed(IMAGES, 4, mesh), run),
            epochs=epochs,
            seed=0,
            evaluations={"held_out": IMAGES[:3]},
            on_epoch=lambda states, step: run.log.picture("picture", np.zeros((4, 4, 3), np.uint8), step),
        )
        run.finish(config, mesh, {"test": {"loss": 1.0}})
        return jax.device_get(state), run.log.records()


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict]]:
    return train(tmp_path_factory.mktemp("whole"), 2)


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def small_files_only() -> Iterator[None]:
    """A write beyond so many bytes of a file fails, for every library and thread of this process."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def assert_one_line(error: UserError, folder: Path, why: int) -> None:
    message = str(error)
    assert message.startswith(f"{folder / 'test' / 'run'} cannot be written ({os.strerror(why)});")
    assert "--runs" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (MetricsLog, "write"),
        (MetricsLog, "picture"),
        (Checkpoints, "save"),
        (Run, "figure"),
        (runs, "write_json"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_full_disk_is_one_line_wherever_it_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, two_epochs: tuple[Any, list[dict]]
) -> None:
    train(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(UserError) as error:
            train(tmp_path, 2)
    assert_one_line(error.value, tmp_path, errno.ENOSPC)
    state, records = train(tmp_path, 2)  # from what was saved before
    jax.tree.map(np.testing.assert_array_equal, state, two_epochs[0])
    assert records == two_epochs[1]


def test_events_for_tensorboard_are_not_written_behind_the_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboardX.record_writer import RecordWriter

    train(tmp_path, 1)
    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(UserError) as error:
        train(tmp_path, 2)
    assert_one_line(error.value, tmp_path, errno.ENOSPC)


def test_a_checkpoint_that_the_system_refuses_is_one_line_and_the_one_before_is_gone_on_from(
    tmp_path: Path, two_epochs: tuple[Any, list[dict]]
) -> None:
    train(tmp_path, 1)
    with small_files_only(), pytest.raises(UserError) as error:
        train(tmp_path, 2)
    assert_one_line(error.value, tmp_path, errno.EFBIG)
    state, records = train(tmp_path, 2)
    jax.tree.map(np.testing.assert_array_equal, state, two_epochs[0])
    assert records == two_epochs[1]


def chained(error: Exception, cause: Exception | None, context: Exception | None = None) -> Exception:
    error.__context__ = context
    if cause is not None:  # set to None, it would hide the context
        error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (OSError(errno.EROFS, "read-only"), errno.EROFS),
        (PermissionError(errno.EACCES, "no"), errno.EACCES),
        (ValueError("RESOURCE_EXHAUSTED: write: No space left on device [OS error 28: ENOSPC]"), errno.ENOSPC),
        (chained(RuntimeError("save failed"), OSError(errno.EFBIG, "large")), errno.EFBIG),
        (chained(RuntimeError("save failed"), None, OSError(errno.ENOSPC, "full")), errno.ENOSPC),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (ZeroDivisionError("a bug"), None),
        (None, None),
    ],
    ids=repr,
)
def test_the_systems_words_are_found_wherever_a_library_hides_them(error: Exception | None, why: int | None) -> None:
    assert refusal(error) == (None if why is None else os.strerror(why))


def test_other_errors_in_a_run_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"), open_run(RunConfig(runs=tmp_path, name="run"), "test"):
        raise ZeroDivisionError("a bug")
