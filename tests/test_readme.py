"""What the README tells a newcomer to type works."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_of_a_loss_of_ones_own_runs(tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "absolute_error.py").write_text(script)
    subprocess.run([sys.executable, "absolute_error.py"], cwd=tmp_path, check=True, timeout=200)
    (metrics,) = tmp_path.rglob("metrics.jsonl")
    lines = metrics.read_text().splitlines()
    assert len(lines) == 6  # train and test, three epochs
    assert '"worst_pixel"' in lines[-1]


def test_every_experiment_that_the_readme_names_is_there() -> None:
    experiments = {path.stem for path in (Path(__file__).parent.parent / "experiments").glob("*.py")}
    named = set(re.findall(r"python -m experiments\.(\w+)", README))
    assert {"autoencoder", "benchmark"} <= named <= experiments
