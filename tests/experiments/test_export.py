"""Export from the command line: a run's network, reloaded, does what it did; and what cannot be exported is refused."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export as jax_export
from safetensors.numpy import load_file

from aejax import cli
from aejax.methods.method import TrainState
from aejax.models.description import describe
from aejax.models.image_to_image import ImageToImage
from aejax.nn.convolutional import ConvAutoencoder
from aejax.training import records
from aejax.training.checkpoints import Checkpoints
from aejax.training.config import RunConfig, options_as_json
from aejax.training.steps import Progress
from experiments import (
    aae,
    aae_semi_supervised,
    autoencoder,
    denoise,
    export,
    latent_space,
    super_resolution,
    vae,
)
from tests.test_export import through
from tests.training.test_checkpoints import damage

ROOT = Path(__file__).parents[2]
SHAPE = (12, 12, 1)
DIGITS: dict[str, Any] = {"dataset": "digits", "image_size": 12}


def command(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export", *map(str, arguments)])
        cli.run(export.main, export.Config)


def a_run(folder: Path, config: RunConfig, model: Any, *params: Any, shape: tuple[int, ...] = SHAPE) -> Path:
    """A run's folder with a checkpoint of step 1, 2, ... for each of params, the first of them the best."""
    folder.mkdir(parents=True)
    record = records.describe(config, folder.parent.name, model and describe(model), shape)
    (folder / "config.json").write_text(json.dumps(record))
    checkpoints = Checkpoints(folder / "checkpoints", records.identity(record))
    for step, tree in enumerate(params, 1):
        if config.seeds == 1:
            tree = jax.tree.map(lambda leaf: leaf[None], tree)
        state = TrainState(tree, optax.adam(0.1).init(np.zeros(1)), jnp.int32(0))
        counts = [jnp.int32(0)] * (len(Progress._fields) - 2)
        checkpoints.save(step, Progress(state, {"loss": jnp.float32(0)}, *counts), float(step))
    checkpoints.close()
    return folder


def random_params(init: Callable[..., Any], shape: tuple[int, ...] = SHAPE, seed: int = 1) -> Any:
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, *shape)))
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


def reload(folder: Path, *given: np.ndarray) -> Any:
    """What the exported functions, one after the other, make of images."""
    functions = json.loads((folder / "export.json").read_text())["functions"]
    calls = {name: jax_export.deserialize((folder / f"{name}.bin").read_bytes()).call for name in functions}
    names = {name: function["inputs"] for name, function in functions.items()}
    return through(calls, names, load_file(folder / "parameters.safetensors"), *given)


def images(size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).random((3, size, size, 1), np.float32)


def expected(model: Any, params: Any, x: Any) -> Any:
    """What a model makes of images, without any draw."""
    return model.reconstruct(params, x)


AAE = aae.Config(latents=3, encoder="gaussian", hidden=(8, 8), **DIGITS)
AUTOENCODER = autoencoder.Config(latents=3, width=2, **DIGITS)
TUTORIAL = autoencoder.Config(network="tutorial", likelihood="bernoulli", **DIGITS)
DENOISE, DENOISE_TUTORIAL = (denoise.Config(network=name, **DIGITS) for name in ("unet", "tutorial"))  # type: ignore
EDSR = super_resolution.Config(width=4, blocks=1, **DIGITS)
LARGER = super_resolution.Config(network="tutorial", **DIGITS)
IWAE = vae.Config(recipe="iwae", network="dense", latents=3, hidden=(8,), likelihood="gaussian", **DIGITS)
CONV = vae.Config(recipe="conv", network="tutorial", latents=3, likelihood="bernoulli", **DIGITS)
SEMI_SUPERVISED = aae_semi_supervised.Config(hidden=(8, 8), **DIGITS)
PLANE = latent_space.Config(**DIGITS)
# <experiment>/<name>: its config, and when called its model.
RUNS: dict[str, tuple[RunConfig, Callable[[], Any]]] = {
    "autoencoder/a": (AUTOENCODER, lambda: autoencoder.build_model(AUTOENCODER, SHAPE)),
    "autoencoder/tutorial": (TUTORIAL, lambda: autoencoder.build_model(TUTORIAL, SHAPE)),
    "denoise/a": (DENOISE, lambda: denoise.build_model(DENOISE, SHAPE)),
    "denoise/tutorial": (DENOISE_TUTORIAL, lambda: denoise.build_model(DENOISE_TUTORIAL, SHAPE)),
    "super_resolution/a": (EDSR, lambda: super_resolution.build_model(EDSR, SHAPE)),
    "super_resolution/tutorial": (LARGER, lambda: super_resolution.build_model(LARGER, SHAPE)),
    "vae/a": (IWAE, lambda: vae.build_model(IWAE, SHAPE)),
    "vae/conv": (CONV, lambda: vae.build_model(CONV, SHAPE)),
    "aae/a": (AAE, lambda: aae.build_model(AAE, SHAPE)),
    "aae/a-vae": (AAE, lambda: aae.build_model(AAE, SHAPE, "VAE")),
    "aae_semi_supervised/a": (SEMI_SUPERVISED, lambda: aae_semi_supervised.build_model(SEMI_SUPERVISED, SHAPE, 4)),
    "latent_space/a-autoencoder": (PLANE, lambda: latent_space.build_models(PLANE, SHAPE)["autoencoder"]),
    "latent_space/a-VAE": (PLANE, lambda: latent_space.build_models(PLANE, SHAPE)["VAE"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_every_experiment_reloads(name: str, tmp_path: Path) -> None:
    config, make = RUNS[name]
    model = make()
    size = 6 if name.startswith("super_resolution") else 12
    params = random_params(model.init)
    whole = params | {"discriminator": params["decoder"]} if "decoder" in params else params
    run = a_run(tmp_path / name, config, model, whole)
    command(run)
    found = reload(run / "export", images(size))
    np.testing.assert_allclose(
        found, jax.jit(functools.partial(expected, model))(params, images(size)), rtol=1e-4, atol=1e-5
    )
    assert np.ptp(found) > 0.05
    assert not [path for path in load_file(run / "export" / "parameters.safetensors") if "discriminator" in path]
    for artefact in (run / "export").glob("*.bin"):
        assert str(ROOT).encode() not in artefact.read_bytes()  # no path of this machine


def test_the_seed_and_the_checkpoint_that_are_asked_for(tmp_path: Path) -> None:
    config = vae.Config(recipe="flax", network="dense", latents=2, seed=5, seeds=2, **DIGITS)
    its = vae.build_model(config, SHAPE)
    best, last = ([random_params(its.init, seed=10 * step + seed) for seed in range(2)] for step in range(2))
    stacked = [jax.tree.map(lambda *leaves: np.stack(leaves), *seeds) for seeds in (best, last)]
    run = a_run(tmp_path / "vae" / "several", config, its, *stacked)
    for options, expected, seed, step in [
        ((), last[0], 5, 2),
        (("--seed-index", 1, "--checkpoint", "best", "--output", tmp_path / "out"), best[1], 6, 1),
    ]:
        command(run, *options)
        folder = tmp_path / "out" if options else run / "export"
        flat = load_file(folder / "parameters.safetensors")
        bias = expected["decoder"]["params"]["pixels"]["bias"]
        np.testing.assert_array_equal(flat["decoder/params/pixels/bias"], bias)
        manifest = json.loads((folder / "export.json").read_text())
        assert (manifest["seed"], manifest["step"]) == (seed, step)
        assert manifest["experiment"] == "vae"
        assert manifest["options"] == json.loads(json.dumps(options_as_json(config)))


def test_the_example_of_the_readme_needs_neither_flax_nor_this_package(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "experiments/guides/export.md").read_text(), re.DOTALL)
    (script,) = (code for code in blocks if "encoder.call" in code)
    its = ImageToImage(ConvAutoencoder())
    params = random_params(its.init, (28, 28, 1))
    folder = tmp_path / "runs" / "autoencoder" / "mnist-seed0"
    command(a_run(folder, autoencoder.Config(dataset="digits"), its, params, shape=(28, 28, 1)))
    program = f"import sys\nsys.modules |= {{'flax': None, 'aejax': None, 'experiments': None}}\n{script}\n"
    program += "np.savez('said', images=images, latents=latents, reconstructions=reconstructions)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=200)

    said = np.load(tmp_path / "said.npz")
    np.testing.assert_allclose(said["latents"], its.encode(params, said["images"]), rtol=1e-4, atol=1e-5)
    reconstructions = its.reconstruct(params, said["images"])
    np.testing.assert_allclose(said["reconstructions"], reconstructions, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each way to be wrong."""
    top = tmp_path_factory.mktemp("runs")
    model = ImageToImage(ConvAutoencoder())
    params, config = random_params(model.init), autoencoder.Config(**DIGITS)
    record = records.describe(config, "autoencoder", describe(model), SHAPE)
    a_run(top / "autoencoder" / "good", config, model, params)
    a_run(top / "autoencoder" / "unnamed", config, None, params)
    a_run(top / "autoencoder" / "untrained", config, model)
    (top / "autoencoder" / "empty").mkdir()
    contents = {
        "text": "{",
        "list": "[1]",
        "old": json.dumps({"seed": 0, "epochs": 30}),
        "foreign": json.dumps({**record, "model": {"class": "a_module_of_mine:Model"}}),
        "system": json.dumps({**record, "model": {"function": "os:system"}}),
        "unfitting": json.dumps({**record, "model": {**record["model"], "colour": "red"}}),
    }
    for name, text in contents.items():
        (a_run(top / "autoencoder" / name, config, model, params) / "config.json").write_text(text)
    a_run(top / "autoencoder" / "no_params", config, model, {"else": np.zeros(3, np.float32)})
    damaged = a_run(top / "autoencoder" / "damaged", config, model, params)
    damage(damaged / "checkpoints" / "1", "flipped bit")
    a_run(top / "vae" / "of_another_model", config, vae.build_model(IWAE, SHAPE), params)
    return top


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "run"),
        ("missing", "holds no run"),
        ("autoencoder/empty", "holds no run"),
        ("autoencoder/unnamed", "does not say what its model is"),
        ("autoencoder/untrained", "holds no checkpoint"),
        ("autoencoder/text", "config.json is damaged"),
        ("autoencoder/list", "config.json is damaged"),
        ("autoencoder/old", "holds a run of an older layout"),
        ("autoencoder/foreign", "a_module_of_mine"),
        ("autoencoder/system", "os:system"),
        ("autoencoder/unfitting", "does not fit its class"),
        ("autoencoder/no_params", "are not those of its model"),
        ("autoencoder/damaged", "no sound checkpoint"),
        ("autoencoder/good --seed-index 1", "the seed indices 0 to 0, not 1"),
        ("autoencoder/good --seed-index -1", "the seed indices 0 to 0, not -1"),
        ("autoencoder/good --checkpoint newest", "newest.*--checkpoint"),
        ("vae/of_another_model", "are not those of its model"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    folders: Path, words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folders)
    before = sorted(folders.rglob("*"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        command(*words.split())
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert re.search(message, error), error
    assert sorted(folders.rglob("*")) == before  # nothing was written
