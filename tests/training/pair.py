"""What each of two processes runs for test_processes: python -m tests.training.pair STORY FOLDER."""

import signal
import sys
import threading
from pathlib import Path

from aejax import cli
from aejax.data.streaming import streaming_feed
from aejax.training import distributed, loop
from aejax.training.config import RunConfig
from aejax.training.interruption import Interrupted
from aejax.training.runs import open_run
from tests.training.test_loop import train

STOP = 7


def training(folder: Path) -> None:
    """Runs that are left alone, stopped, streamed, or shared with a single process."""
    train(folder / "whole", devices=2)
    train(folder / "streamed", devices=2, feed_of=streaming_feed)
    train(folder / "seeds", devices=2, seeds=2)
    train(folder / "two_then_one", devices=2, epochs=2)
    train(folder / "one_then_two", devices=2)

    def stop(name: str, value: float, step: int) -> None:
        if step == STOP and not distributed.first():
            signal.raise_signal(signal.SIGTERM)

    try:
        train(folder / "stopped", devices=2, after_chunk=stop)
    except Interrupted as stopped:
        print(f"stopped at {stopped.step} by {stopped.signal_number}", flush=True)
    train(folder / "stopped", devices=2)


def killed(folder: Path) -> None:
    """A run that lasts until process 1 is killed."""

    def wait(name: str, value: float, step: int) -> None:
        if step == 13 and not distributed.first():
            print("ready", flush=True)
            threading.Event().wait()

    train(folder / "killed", devices=2, after_chunk=wait)


def resumed(folder: Path) -> None:
    """The same to its end, and then an error that process 0 alone has: the folder holds a run of another seed."""
    train(folder / "killed", devices=2)
    with open_run(RunConfig(runs=folder / "killed", name="mnist-seed0", seed=1), "test"):
        pass


def disagreeing(folder: Path) -> None:
    """Process 1 was started with another seed."""
    config = RunConfig(runs=folder / "disagreeing", name="run", seed=0 if distributed.first() else 1)
    with open_run(config, "test"):
        print("opened", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment] # tensorboardX imports it where it is, which takes seconds
    loop._FIRST_CHUNK, loop._CHUNK_SECONDS = 1, 0.0
    with distributed.joined(True, cli.message_and_status):
        {story.__name__: story for story in (training, killed, resumed, disagreeing)}[sys.argv[1]](Path(sys.argv[2]))
