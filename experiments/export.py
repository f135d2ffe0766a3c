"""Export of a run's trained network for programs without this package: functions that need JAX alone, and safetensors.

python -m experiments.export runs/autoencoder/mnist-seed0
python -m experiments.export runs/vae/mnist-tutorial-elbo-seeds0-4 --checkpoint best --seed-index 2
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import tyro

from aejax import cli, export, paths
from aejax.training.loading import load


@dataclass(frozen=True, kw_only=True)
class Config:
    """Write a trained network's functions (encoder.bin and decoder.bin, or restorer.bin), its parameters
    (parameters.safetensors) and what they take and give (export.json)."""

    run: tyro.conf.Positional[Path]
    """the run's folder, <runs>/<experiment>/<name>"""
    checkpoint: Literal["last", "best"] = "last"
    """best: with the lowest loss on the first split that training evaluates"""
    seed_index: int = 0
    """of a run of several seeds (--seeds), which one, from 0"""
    output: Path | None = None
    """the folder to write to; None: <run>/export"""


def main(config: Config) -> None:
    trained = load(config.run, config.checkpoint, seed_index=config.seed_index)
    folder = paths.local(config.output or config.run / "export", "--output")
    jax.config.update("jax_traceback_in_locations_limit", 0)  # else the artefacts name this machine's source files
    for file in export.write(folder, export.of_trained(trained), trained.params, trained.about):
        print(f"{file.stat().st_size:>10,} bytes  {file}")


if __name__ == "__main__":
    cli.run(main, Config)
