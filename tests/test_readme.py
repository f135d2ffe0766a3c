"""What the README and the guides tell a newcomer to type works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from aejax import rng

ROOT = Path(__file__).parent.parent
README, GUIDE = (ROOT / "README.md").read_text(), (ROOT / "experiments/guides/method.md").read_text()


def program(document: str, contains: str) -> str:
    """The one Python block of a document with these words."""
    (script,) = (code for code in re.findall(r"```python\n(.*?)```", document, re.DOTALL) if contains in code)
    return script


def run_in(folder: Path, script: str) -> None:
    (folder / "program.py").write_text(script)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=200
    )


@pytest.mark.parametrize(
    ("document", "name", "said"),
    [(README, "absolute_error", '"worst_pixel"'), (GUIDE, "capacity", '"loss_sd"')],
    ids=["loss", "objective of a VAE"],
)
def test_a_loss_of_ones_own_trains_is_judged_and_loads_again(
    tmp_path: Path, document: str, name: str, said: str
) -> None:
    run_in(tmp_path, program(document, f"def {name}("))
    run = tmp_path / "runs" / name / "digits-seed0"
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 6  # train and test, three epochs
    assert said in lines[-1]
    assert (run / "summary.json").is_file()
    loads = program(README, "aejax.load(").replace("runs/autoencoder/digits-seed0", str(run))
    images = "import numpy as np\nimages = np.zeros((3, 28, 28, 1), np.uint8)\n"
    run_in(tmp_path, f"{images}{loads}\nassert len(codes) == 3 and pictures.shape == images.shape")


def test_the_guides_prior_is_a_distribution() -> None:
    scope = {"__name__": "guide"}
    sys.modules["guide"] = sys.modules[__name__]  # where dataclasses looks for the class's module
    exec(program(GUIDE, "class LearntMixture"), scope)
    prior = scope["LearntMixture"](latents=1, components=3)  # type: ignore[operator]
    params = {"prior": prior.init(rng.root_key(0), jnp.zeros((1, 8, 8, 1)))}
    grid = jnp.linspace(-12, 12, 4001)[:, None]
    density = jnp.exp(prior.log_prob(params, grid))
    assert abs(float(density.sum()) * 24 / 4000 - 1) < 1e-3
    samples = prior.sample(params, rng.root_key(1), 20_000)
    assert jnp.allclose(samples.mean(), params["prior"]["means"].mean(), atol=0.05)
    assert jax.jit(prior.sample, static_argnums=2)(params, rng.root_key(1), 3).shape == (3, 1)


def test_every_experiment_that_the_readme_names_is_there() -> None:
    folder = ROOT / "experiments"
    modules = {".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.py")}
    experiments = {module.removesuffix(".__main__") for module in modules}
    named = set(re.findall(r"python -m experiments\.(\w+(?:\.\w+)*)", README))
    assert {"autoencoder", "benchmark"} <= named <= experiments
