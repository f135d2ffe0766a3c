"""Who may import whom, where randomness comes from, and what a start does not pay for."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each room of the house and the rooms it may import from, besides itself and `errors`. Imports inside functions count.
MAY_IMPORT = {
    "errors": set(),
    "paths": set(),
    "locks": set(),
    "rng": set(),
    "losses": set(),
    "divergences": set(),
    "corruptions": {"rng"},
    "tables": set(),
    "batching": {"rng"},
    "nn": set(),
    "models": {"nn", "losses", "corruptions", "rng", "batching"},
    "methods": {"models", "nn", "losses", "divergences", "corruptions", "rng"},
    "data": {"rng", "batching", "paths", "locks"},
    "plots": set(),
    "latent_page": {"models", "nn", "plots", "export"},
    "export": {"models", "nn"},
    "evaluation": {"methods", "models", "nn", "losses", "divergences", "rng", "batching", "tables"},
    "training": {
        "corruptions",
        "data",
        "methods",
        "models",
        "nn",
        "plots",
        "rng",
        "batching",
        "tables",
        "paths",
        "locks",
    },
    "cli": {"training"},
    "experiments": {
        *("cli", "training", "evaluation", "plots", "latent_page", "export", "data", "methods", "models"),
        *("nn", "losses", "divergences", "corruptions", "rng", "batching", "tables", "paths"),
    },
}

NOT_AT_START = ("tensorflow", "tensorflow_datasets", "skimage", "sklearn", "tensorboardX", "torch", "grain")

FILES = sorted([*ROOT.glob("aejax/**/*.py"), *ROOT.glob("experiments/**/*.py")])


def module_of(file: Path) -> list[str]:
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def room_of(module: list[str]) -> str:
    """aejax.training.loop -> training; experiments.anything -> experiments; aejax itself -> aejax."""
    return module[1] if module[0] == "aejax" and len(module) > 1 else module[0]


def imports(file: Path, source: str) -> Iterator[list[str]]:
    """Everything imported anywhere in the file, as [package, ..., name]."""
    package = list(file.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) - node.level + 1] if node.level else []
            origin += node.module.split(".") if node.module else []
            yield from ([*origin, alias.name] for alias in node.names)


def modules_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return ["." * node.level + (node.module or "")]


def forbidden_imports(file: Path, source: str) -> list[str]:
    room = room_of(module_of(file))
    allowed = MAY_IMPORT.get(room, set()) | {room, "errors"}
    ours = [name for name in imports(file, source) if name[0] in ("aejax", "experiments")]
    return [".".join(name) for name in ours if room_of(name) not in allowed]


def names_used(source: str) -> Iterator[str]:
    """All dotted names, such as jax.random.key, with import aliases written out."""
    tree = ast.parse(source)
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {a.asname: a.name for a in node.names if a.asname}
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            yield from (f"{node.module}.{a.name}" for a in node.names)
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and parts:
            yield ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def keys_made(source: str) -> list[str]:
    return [name for name in names_used(source) if name in ("jax.random.key", "jax.random.PRNGKey")]


def global_randomness(source: str) -> list[str]:
    return [name for name in names_used(source) if name.startswith(("numpy.random", "random."))]


def test_every_room_has_its_rule() -> None:
    assert {room_of(module_of(file)) for file in FILES} - set(MAY_IMPORT) == {"aejax"}


def test_the_package_itself_imports_nothing_of_its_own() -> None:
    """It may hold lazy functions, which import what they need when they are called."""
    tree = ast.parse((ROOT / "aejax/__init__.py").read_text())
    at_start = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {name for node in at_start for name in modules_of(node)} <= {"lazy_loader"}


def test_the_package_starts_without_jax_and_numpy() -> None:
    program = "import sys, aejax; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "aejax" in done.stdout.split()
    assert set(done.stdout.split()) & {"jax", "numpy", "flax"} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: ".".join(module_of(file)))
def test_imports_go_downwards_only(file: Path) -> None:
    assert forbidden_imports(file, file.read_text()) == []


def test_keys_are_made_in_rng_alone() -> None:
    makers = [file for file in FILES if keys_made(file.read_text())]
    assert makers == [ROOT / "aejax" / "rng.py"]


def test_no_randomness_but_that_of_named_streams() -> None:
    assert [file for file in FILES if global_randomness(file.read_text())] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("aejax/nn/layers.py", "import aejax.training.loop"),
        ("aejax/nn/layers.py", "from aejax import rng"),
        ("aejax/losses.py", "def f():\n    from aejax.methods import method"),
        ("aejax/data/feeds.py", "from ..methods.method import Method"),
        ("aejax/data/feeds.py", "from .. import methods"),
        ("aejax/data/feeds.py", "from aejax.models.trained import Trained"),
        ("aejax/methods/method.py", "if True:\n    from aejax.data.feeds import Feed"),
        ("aejax/models/trained.py", "from aejax.methods.method import State"),
        ("aejax/models/trained.py", "from aejax.training import devices"),
        ("aejax/export.py", "from aejax.methods import variational"),
        ("aejax/evaluation/judge.py", "from aejax.data import load"),
        ("aejax/batching.py", "from aejax.data import feeds"),
        ("aejax/evaluation/image_quality.py", "from aejax.training import report"),
        ("aejax/plots.py", "from aejax.data import load"),
        ("aejax/training/loop.py", "from experiments import autoencoder"),
        ("aejax/training/loop.py", "from aejax import cli"),
        ("aejax/errors.py", "from aejax import rng"),
        ("aejax/new.py", "from aejax import rng"),
    ],
)
def test_a_forbidden_import_would_be_noticed(file: str, source: str) -> None:
    assert len(forbidden_imports(ROOT / file, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import jax\nk = jax.random.PRNGKey(0)",
        "from jax import random\nk = random.key(0)",
        "import jax.random as jr\nk = jr.key(0)",
        "from jax.random import key",
    ],
)
def test_a_key_made_elsewhere_would_be_noticed(source: str) -> None:
    assert keys_made(source)
    assert not global_randomness(source)


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.random.seed(0)",
        "from numpy.random import default_rng",
        "from numpy import random\nrandom.seed(0)",
        "import random\nrandom.random()",
    ],
)
def test_global_randomness_would_be_noticed(source: str) -> None:
    assert global_randomness(source)


def test_an_experiment_starts_without_what_few_runs_need() -> None:
    program = "import sys, experiments.autoencoder; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "aejax.training.loop" in loaded
    assert loaded & {*NOT_AT_START, "matplotlib.pyplot"} == set()
