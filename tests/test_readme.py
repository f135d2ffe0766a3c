"""What the README tells a newcomer to type works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "said"), [("absolute_error", '"worst_pixel"'), ("capacity", '"loss_sd"')], ids=["loss", "loss of a VAE"]
)
def test_the_examples_of_a_loss_of_ones_own_run(tmp_path: Path, name: str, said: str) -> None:
    (script,) = (code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if f"def {name}(" in code)
    (tmp_path / f"{name}.py").write_text(script)
    subprocess.run([sys.executable, f"{name}.py"], cwd=tmp_path, check=True, timeout=200)
    (metrics,) = tmp_path.rglob("metrics.jsonl")
    lines = metrics.read_text().splitlines()
    assert len(lines) == 6  # train and test, three epochs
    assert said in lines[-1]


def test_every_experiment_that_the_readme_names_is_there() -> None:
    folder = Path(__file__).parent.parent / "experiments"
    modules = {".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.py")}
    experiments = {module.removesuffix(".__main__") for module in modules}
    named = set(re.findall(r"python -m experiments\.(\w+(?:\.\w+)*)", README))
    assert {"autoencoder", "benchmark"} <= named <= experiments
