"""Export from the command line: a run's network, reloaded, does what it did; and what cannot be exported is refused."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export as jax_export
from safetensors.numpy import load_file

from aejax import cli
from aejax.methods.method import TrainState
from aejax.nn.convolutional import ConvAutoencoder, ConvEncoder
from aejax.training import records
from aejax.training.checkpoints import Checkpoints
from aejax.training.config import RunConfig, options_as_json
from aejax.training.loop import Progress
from experiments import (
    aae,
    aae_semi_supervised,
    autoencoder,
    conv_vae,
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


def a_run(folder: Path, config: RunConfig, *params: Any) -> Path:
    """A run's folder with a checkpoint of step 1, 2, ... for each of params, the first of them the best."""
    folder.mkdir(parents=True)
    record = records.describe(config, folder.parent.name)
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


def network(module: nn.Module, picture: Callable[[Any], Any] = jax.nn.sigmoid) -> tuple[Any, Any]:
    return module.init, lambda params, x: picture(module.apply(params, x))


def model(its: Any, picture: Callable[[Any], Any] = jax.nn.sigmoid) -> tuple[Any, Any]:
    """Of a variational or adversarial Model, what it makes of its codes' means."""

    def expected(params: Any, x: Any) -> Any:
        codes = its.encoder.apply(params["encoder"], x)
        return picture(its.decode(params, codes[0] if isinstance(codes, tuple) else codes))

    return its.init, expected


def semi_supervised() -> tuple[Any, Any]:
    its = aae_semi_supervised.build(SEMI_SUPERVISED, SHAPE, 4)

    def expected(params: Any, x: Any) -> Any:
        logits, style = its.encode(params, x)
        return jax.nn.sigmoid(its.decode(params, jax.nn.softmax(logits), style))

    return its.init, expected


DENOISE, LESSON = (denoise.Config(network=name, **DIGITS) for name in ("unet", "lesson"))  # type: ignore[arg-type]
EDSR = super_resolution.Config(width=4, blocks=1, **DIGITS)
LARGER = super_resolution.Config(network="lesson", **DIGITS)
VAE = vae.Config(recipe="iwae", latents=3, likelihood="gaussian", **DIGITS)
AAE = aae.Config(latents=3, encoder="gaussian", hidden=(8, 8), **DIGITS)
SEMI_SUPERVISED = aae_semi_supervised.Config(hidden=(8, 8), **DIGITS)
PLANE = latent_space.Config(**DIGITS)
# <experiment>/<name>: its config, and when called init and (params, images) -> images of the network.
RUNS: dict[str, tuple[RunConfig, Callable[[], tuple[Any, Any]]]] = {
    "autoencoder/a": (autoencoder.Config(**DIGITS), lambda: network(autoencoder.build(SHAPE))),
    "denoise/a": (DENOISE, lambda: network(denoise.build(DENOISE, SHAPE))),
    "denoise/lesson": (LESSON, lambda: network(denoise.build(LESSON, SHAPE))),
    "super_resolution/a": (
        EDSR,
        lambda: network(super_resolution.build(EDSR, SHAPE), lambda outputs: jnp.clip(outputs, 0, 1)),
    ),
    "super_resolution/lesson": (LARGER, lambda: network(super_resolution.build(LARGER, SHAPE))),
    "vae/a": (VAE, lambda: model(vae.build(VAE, SHAPE), lambda outputs: jnp.clip(outputs, 0, 1))),
    "conv_vae/a": (conv_vae.Config(latents=3, **DIGITS), lambda: model(conv_vae.build(SHAPE, 3))),
    "aae/a": (AAE, lambda: model(aae.build(AAE, SHAPE))),
    "aae_semi_supervised/a": (SEMI_SUPERVISED, semi_supervised),
    "latent_space/a-autoencoder": (PLANE, lambda: network(latent_space.build_autoencoder(SHAPE))),
    "latent_space/a-VAE": (PLANE, lambda: model(conv_vae.build(SHAPE, 2))),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_every_experiment_reloads(name: str, tmp_path: Path) -> None:
    config, make = RUNS[name]
    init, expected = make()
    size = 6 if name.startswith("super_resolution") else 12
    params = random_params(init, (size, size, 1))
    run = a_run(tmp_path / name, config, params)
    command(run, *(["--image-shape", 12, 12, 1] if name != "autoencoder/a" else []))
    found = reload(run / "export", images(size))
    np.testing.assert_allclose(found, jax.jit(expected)(params, images(size)), rtol=1e-4, atol=1e-5)
    assert np.ptp(found) > 0.05
    if "discriminator" in params:
        assert not [path for path in load_file(run / "export" / "parameters.safetensors") if "discriminator" in path]
    for artefact in (run / "export").glob("*.bin"):
        assert str(ROOT).encode() not in artefact.read_bytes()  # no path of this machine


def test_every_experiment_with_a_network_has_its_test() -> None:
    assert {name.split("/")[0] for name in RUNS} == set(export.CONFIGS)


def test_the_seed_and_the_checkpoint_that_are_asked_for(tmp_path: Path) -> None:
    config = vae.Config(recipe="flax", latents=2, seed=5, seeds=2, **DIGITS)
    its = vae.build(config, SHAPE)
    best, last = ([random_params(its.init, seed=10 * step + seed) for seed in range(2)] for step in range(2))
    stacked = [jax.tree.map(lambda *leaves: np.stack(leaves), *seeds) for seeds in (best, last)]
    run = a_run(tmp_path / "vae" / "several", config, *stacked)
    for options, expected, seed, step in [
        ((), last[0], 5, 2),
        (("--seed-index", 1, "--checkpoint", "best", "--output", tmp_path / "out"), best[1], 6, 1),
    ]:
        command(run, "--image-shape", 12, 12, 1, *options)
        folder = tmp_path / "out" if options else run / "export"
        flat = load_file(folder / "parameters.safetensors")
        bias = expected["decoder"]["params"]["pixels"]["bias"]
        np.testing.assert_array_equal(flat["decoder/params/pixels/bias"], bias)
        manifest = json.loads((folder / "export.json").read_text())
        assert (manifest["seed"], manifest["step"]) == (seed, step)
        assert manifest["experiment"] == "vae"
        assert manifest["config"] == options_as_json(config)


def test_the_example_of_the_readme_needs_neither_flax_nor_this_package(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "experiments/guides/export.md").read_text(), re.DOTALL)
    (script,) = (code for code in blocks if "encoder.call" in code)
    its = ConvAutoencoder()
    params = random_params(its.init, (28, 28, 1))
    command(a_run(tmp_path / "runs" / "autoencoder" / "mnist-seed0", autoencoder.Config(dataset="digits"), params))
    program = f"import sys\nsys.modules |= {{'flax': None, 'aejax': None, 'experiments': None}}\n{script}\n"
    program += "np.savez('said', images=images, latents=latents, reconstructions=reconstructions)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=200)

    said = np.load(tmp_path / "said.npz")
    latents = ConvEncoder().apply({"params": params["params"]["encoder"]}, said["images"])
    np.testing.assert_allclose(said["latents"], latents, rtol=1e-4, atol=1e-5)
    reconstructions = jax.nn.sigmoid(its.apply(params, said["images"]))
    np.testing.assert_allclose(said["reconstructions"], reconstructions, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each way to be wrong."""
    top = tmp_path_factory.mktemp("runs")
    params = random_params(autoencoder.build(SHAPE).init)
    config = autoencoder.Config(**DIGITS)
    a_run(top / "autoencoder" / "good", config, params)
    a_run(top / "else" / "moved", config, params)
    a_run(top / "autoencoder" / "no_dataset", autoencoder.Config(dataset="lost.npz"), params)
    a_run(top / "autoencoder" / "untrained", config)
    (top / "autoencoder" / "empty").mkdir()
    contents = {
        "text": "{",
        "list": "[1]",
        "old": json.dumps({"seed": 0, "epochs": 30}),
        "foreign": json.dumps({**records.describe(config, "autoencoder"), "options": {"colour": "red"}}),
        "out_of_bounds": json.dumps({**records.describe(config, "autoencoder"), "options": {"epochs": 0}}),
    }
    for name, text in contents.items():
        (a_run(top / "autoencoder" / name, config, params) / "config.json").write_text(text)
    a_run(top / "autoencoder" / "no_params", config, {"else": np.zeros(3, np.float32)})
    damaged = a_run(top / "autoencoder" / "damaged", config, params)
    damage(damaged / "checkpoints" / "1", "flipped bit")
    a_run(
        top / "vae" / "of_another_size",
        vae.Config(latents=3, **DIGITS),
        random_params(network(autoencoder.build(SHAPE))[0]),
    )
    return top


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "run"),
        ("missing", "holds no run"),
        ("autoencoder/empty", "holds no run"),
        ("else/moved", "no run of an experiment that can be exported: .*autoencoder"),
        ("autoencoder/untrained", "holds no checkpoint"),
        ("autoencoder/text", "config.json is damaged"),
        ("autoencoder/list", "config.json is damaged"),
        ("autoencoder/old", "holds a run of an older layout"),
        ("autoencoder/foreign", "config.json is not that of a run of autoencoder .*colour"),
        ("autoencoder/out_of_bounds", "config.json is not that of a run of autoencoder .*--epochs"),
        ("autoencoder/no_params --image-shape 12 12 1", "config.json.* is not that of its checkpoint"),
        ("autoencoder/damaged", "no sound checkpoint"),
        ("autoencoder/no_dataset", "lost.npz.*--image-shape"),
        ("autoencoder/good --image-shape 12 12", "--image-shape"),
        ("autoencoder/good --image-shape 12 12 3", r"\(12, 12, 3\).* is not that of its checkpoint"),
        ("autoencoder/good --image-shape 13 13 1", "13 x 13"),
        ("autoencoder/good --image-shape 12 12 -1", "--image-shape"),
        ("autoencoder/good --seed-index 1", "--seed-index 1: .* the indices 0 to 0"),
        ("autoencoder/good --seed-index -1", "--seed-index -1"),
        ("autoencoder/good --checkpoint newest", "newest.*--checkpoint"),
        ("vae/of_another_size --image-shape 12 12 1", "is not that of its checkpoint"),
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
