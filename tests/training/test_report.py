"""A run's final figures: means, tables, numbers."""

import json
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from aejax.training.report import commit, decimal, environment, markdown, mean_of_examples, peak_memory_mib


def test_means_are_taken_in_float64() -> None:
    # 2**24 is where float32 stops counting: in float32, one value each after the first would be lost.
    values = np.array([2**24, 1, 1, 1], np.float32)
    means = mean_of_examples({"loss": values, "mse": np.array([1.0, 2.0])})
    assert means == {"loss": (2**24 + 3) / 4, "mse": 1.5}
    assert all(type(mean) is float for mean in means.values())
    assert json.dumps(means)


def test_a_table_is_aligned_markdown() -> None:
    table = {"train": {"loss": "81.50", "bce": "0.1"}, "test": {"loss": "9", "mse (per pixel)": "0.0042"}}
    assert markdown(table, "split") == "\n".join(
        [
            "| split | loss  | bce | mse (per pixel) |",
            "| ----- | ----- | --- | --------------- |",
            "| train | 81.50 | 0.1 |                 |",
            "| test  | 9     |     | 0.0042          |",
        ]
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (81.4321, "81.43"), (0.104049, "0.1040"), (1.0, "1.000"), (1234.4, "1234"), (-0.5, "-0.5000")],
)
def test_numbers_have_four_significant_digits(value: float, text: str) -> None:
    assert decimal(value) == text


def test_the_environment_names_devices_and_versions() -> None:
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    found = environment(mesh)
    assert found["devices"] == "2 x cpu (cpu)"
    assert found["jax"] == jax.__version__
    assert json.loads(json.dumps(found)) == found


def test_peak_memory_is_in_mib() -> None:
    assert 50 < peak_memory_mib() < 20_000  # a factor of 1024 either way would leave these bounds


def test_the_commit_is_named_and_whether_anything_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    code = tmp_path / "code.py"
    code.write_text("one")
    assert commit.__wrapped__(tmp_path) is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    assert commit.__wrapped__(tmp_path) == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "notes").touch()  # nobody's code
    assert commit.__wrapped__(tmp_path) == git("rev-parse", "--short=12", "HEAD")
    code.write_text("two")
    assert commit.__wrapped__(tmp_path) == git("rev-parse", "--short=12", "HEAD") + " + changes"
