"""Mean and standard deviation over runs that differ in their seed alone.

python -m experiments.summarize runs/autoencoder/mnist-seed*
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from aejax import cli
from aejax.errors import UserError
from aejax.training.report import cells, markdown
from aejax.training.seeds import mean_and_sd


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print a Markdown table of metrics over seeds: mean and sample standard deviation."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """finished runs of one configuration with different seeds"""


def main(config: Config) -> None:
    summaries = [read(folder) for folder in config.folders]
    seeds = [summary["config"].pop("seed") for summary in summaries]
    if len(set(seeds)) < max(2, len(seeds)):
        raise UserError(f"two or more runs with different seeds are needed, not seeds {seeds}")
    for folder, summary in zip(config.folders, summaries, strict=True):
        if summary["config"] != summaries[0]["config"]:
            raise UserError(f"{folder} has another configuration than {config.folders[0]}: compare like with like")
    print(markdown(table([summary["splits"] for summary in summaries]), "split"))
    print(f"mean ± sd over seeds {', '.join(map(str, sorted(seeds)))}; {summaries[0]['config']}")
    print(f"{summaries[0]['environment']}")


def table(splits: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, str]]:
    """Cells "mean ± sd" by split and metric, from one such dictionary of figures per seed."""
    return {
        split: cells(mean_and_sd({m: np.array([figures[split][m] for figures in splits]) for m in splits[0][split]}))
        for split in splits[0]
    }


def read(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "summary.json").read_text())
    except FileNotFoundError:
        raise UserError(f"{folder} holds no finished run (no summary.json)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'summary.json'} cannot be read ({error})") from None


if __name__ == "__main__":
    cli.run(main, Config)
