"""The trade-off's table, from summaries of runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from experiments.aae_tradeoff import Config, by_configuration, main, read

from aejax.errors import UserError
from aejax.training.config import options_as_json
from experiments import aae, aae_tradeoff


def run(folder: Path, bce: float, distance: float, **options: Any) -> Path:
    """A finished run as `experiments.aae` leaves it."""
    config = aae.Config(**options)
    who = "AAE" if config.adversarial else "plain autoencoder"
    splits = {
        "held_out": {"bce": bce},
        "prior match: two prior samples": {"sliced_wasserstein": 0.5, "std": 1.0},
        f"prior match: {who}": {"sliced_wasserstein": distance, "std": 0.7},
        "prior match: another": {"sliced_wasserstein": 99.0, "std": 0.7},
    }
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"config": options_as_json(config), "splits": splits}))
    return folder


def test_a_row_is_a_configuration_with_the_sd_over_its_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = (
        run(tmp_path / "a0", 0.09, 1.5, generator_rate=2e-4),
        run(tmp_path / "a1", 0.11, 1.7, generator_rate=2e-4, seed=1),
        run(tmp_path / "b", 0.085, 2.5),
        run(tmp_path / "plain", 0.07, 4.5, adversarial=False),
    )
    figure = tmp_path / "deep" / "tradeoff.png"
    main(Config(folders=folders, figure=figure))
    assert figure.exists()
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:5]]
    assert [row[:3] for row in cells] == [
        ["D 0.0005, G 0.0002", "0.1000 ± 0.014", "1.100 ± 0.14"],
        ["D 0.0005, G 0.0001", "0.08500", "2.000"],
        ["plain autoencoder", "0.07000", "4.000"],
    ]
    assert lines[5].startswith("seeds: 0,1; 0; 0; ")


def test_what_differs_beside_the_rates_is_named(tmp_path: Path) -> None:
    folders = [
        run(tmp_path / "a", 0.09, 1.5, adversarial_b1=0.5),
        run(tmp_path / "b", 0.09, 1.5),
        run(tmp_path / "plain", 0.09, 1.5, adversarial=False, adversarial_b1=0.5),
    ]
    names = list(by_configuration([read(folder) for folder in folders]))
    assert names == [
        "D 0.0005, G 0.0001, adversarial_b1 0.5",
        "D 0.0005, G 0.0001",
        "plain autoencoder",
    ]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    first = run(tmp_path / "first", 0.09, 1.5)
    (other := tmp_path / "other").mkdir()
    (other / "summary.json").write_text(json.dumps({"config": {"seed": 0}, "splits": {}}))
    old = run(tmp_path / "old", 0.09, 1.5)
    summary = json.loads((old / "summary.json").read_text())
    del summary["config"]["hidden"]
    (old / "summary.json").write_text(json.dumps(summary))
    for folders, message in [
        ((first, run(tmp_path / "again", 0.09, 1.5)), "one configuration and seed 0"),
        ((first, run(tmp_path / "small", 0.09, 1.5, latents=8)), r"the runs differ in --latents \(150, 8\)"),
        ((other,), "other holds no run of experiments.aae"),
        ((first, old), "old is of an earlier version, without hidden: leave it out"),
        ((), "one or more runs"),
    ]:
        with pytest.raises(UserError, match=message):
            main(Config(folders=folders, figure=tmp_path / "figure.png"))
    assert not (tmp_path / "figure.png").exists()
    (tmp_path / "a_file").touch()
    with pytest.raises(UserError, match="choose another --figure"):
        main(Config(folders=(first,), figure=tmp_path / "a_file" / "figure.png"))
    assert aae_tradeoff.LESSON == 0.0945
