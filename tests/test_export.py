"""What is exported computes what the network does, for any batch and by the lowering of each platform."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import export
from safetensors.numpy import load_file

from aejax.errors import UserError
from aejax.export import exported, of_trained, write
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import GaussianLearnt
from aejax.models.posteriors import (
    ClassAndStylePosterior,
    DeterministicPosterior,
    GaussianPosterior,
    Posterior,
    UniversalPosterior,
)
from aejax.models.priors import ClassAndStylePrior, StandardNormal
from aejax.models.trained import Trained
from aejax.nn.convolutional import ConvAutoencoder
from aejax.nn.heads import Autoencoder, GaussianEncoder, LatentEncoder, UniversalEncoder
from aejax.nn.mlp import MLP, DenseDecoder

Call = Callable[..., dict[str, Any]]
SHAPE = (12, 12, 1)
CODES = DenseDecoder((5,), SHAPE)


class Case(NamedTuple):
    """A trained model, and `expected`: (images, noise) -> the pictures that it gives, from end to end."""

    trained: Trained
    expected: Callable[[Any, Any], Any]


def random_params(init: Callable[..., Any]) -> Any:
    """Of the shapes that `init` gives; biases and gains are not 0 either."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, *SHAPE)))
    return jax.tree.map(lambda leaf: random.normal(0, 0.7, leaf.shape).astype(np.float32), shapes)


def network(module: nn.Module) -> Case:
    params = random_params(module.init)
    trained = Trained(ImageToImage(module), params, SHAPE)
    return Case(trained, lambda images, noise: jax.nn.sigmoid(module.apply(params, images)))


def vae() -> Case:
    decoder = DenseDecoder((6,), (*SHAPE[:2], 2))
    posterior = GaussianPosterior(GaussianEncoder(MLP((6,)), 2))
    model = LatentVariableModel(posterior, decoder, StandardNormal(latents=2), GaussianLearnt())
    params = random_params(model.init)

    def expected(images: Any, noise: Any) -> Any:
        mean, _ = posterior.encoder.apply(params["encoder"], images)
        return jnp.clip(model.decode(params, mean)[..., :1], 0, 1)

    return Case(Trained(model, params, SHAPE), expected)


def aae(posterior: Posterior) -> Case:
    model = LatentVariableModel(posterior, CODES, StandardNormal(latents=3))
    params = random_params(model.init)

    def expected(images: Any, noise: Any) -> Any:
        given = (images, noise) if isinstance(posterior, UniversalPosterior) else (images,)
        codes = posterior.encoder.apply(params["encoder"], *given)
        codes = codes[0] if isinstance(posterior, GaussianPosterior) else codes
        return jax.nn.sigmoid(CODES.apply(params["decoder"], codes))

    # A discriminator's params are no part of the model.
    discriminator = {"discriminator": {"params": {"kernel": np.ones((3, 1), np.float32)}}}
    return Case(Trained(model, {**params, **discriminator}, SHAPE), expected)


def semi() -> Case:
    posterior = ClassAndStylePosterior(LatentEncoder(MLP((6,)), 4 + 2), classes=4)
    model = LatentVariableModel(posterior, CODES, ClassAndStylePrior(latents=4 + 2, classes=4))
    params = random_params(model.init)

    def expected(images: Any, noise: Any) -> Any:
        code = posterior.encoder.apply(params["encoder"], images)
        classes_and_style = jnp.concatenate([jax.nn.softmax(code[:, :4]), code[:, 4:]], axis=1)
        return jax.nn.sigmoid(CODES.apply(params["decoder"], classes_and_style))

    return Case(Trained(model, params, SHAPE), expected)


CASES: dict[str, Callable[[], Case]] = {
    "convolutional": lambda: network(ConvAutoencoder(1, (3, 2, 2), (2, 2, 3))),
    "dense": lambda: network(Autoencoder(LatentEncoder(MLP((5,)), 2), CODES)),
    "VAE": vae,
    "AAE": lambda: aae(DeterministicPosterior(LatentEncoder(MLP((5,)), 3))),
    "Gaussian AAE": lambda: aae(GaussianPosterior(GaussianEncoder(MLP((5,)), 3))),
    "universal AAE": lambda: aae(UniversalPosterior(UniversalEncoder(MLP((5,)), 3, 4))),
    "semi-supervised AAE": semi,
}


def batch(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.random((n, *SHAPE), np.float32), random.standard_normal((n, 8), np.float32)


def through(calls: Mapping[str, Call], inputs: Mapping[str, Iterable[str]], flat: Any, *given: np.ndarray) -> Any:
    """What functions, one after the other, make of images, or images and noise; `inputs` has the names of each's."""
    values: dict[str, Any] = dict(zip(("images", "noise"), given, strict=False))
    for name, call in calls.items():
        values |= call(flat, *(values[wanted] for wanted in inputs[name]))
        values |= {"latents": values["mean"]} if "mean" in values else {}
    return values["images"]


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_computes_what_the_network_does_for_any_batch(name: str, tmp_path: Path) -> None:
    trained, expected = CASES[name]()
    functions = of_trained(trained)
    files = write(tmp_path, functions, trained.params, {})
    assert {file.name for file in files} == {"encoder.bin", "decoder.bin", "parameters.safetensors", "export.json"}
    flat = load_file(tmp_path / "parameters.safetensors")
    calls = {name: export.deserialize((tmp_path / f"{name}.bin").read_bytes()).call for name in functions}
    names = {name: function.inputs for name, function in functions.items()}
    for n in (1, 3, 256) if name == "convolutional" else (3,):
        found = through(calls, names, flat, *batch(n))
        np.testing.assert_allclose(found, jax.jit(expected)(*batch(n)), rtol=1e-5, atol=1e-6)
        assert np.ptp(found) > 0.1  # what is compared is a picture


def test_each_platform_has_its_own_lowering_and_all_compute_the_same() -> None:
    trained, expected = CASES["convolutional"]()
    functions, params = of_trained(trained), trained.params

    def convolves(*platforms: str) -> set[bool]:
        programs = [exported(function, params, platforms).mlir_module() for function in functions.values()]
        return {"stablehlo.convolution" in program for program in programs}

    assert convolves("cpu") == {False}
    assert convolves("cpu", "cuda", "tpu") == {True}
    flat = flatten_dict(params, sep="/")
    for_all = exported(functions["encoder"], params).call
    compiled = jax.jit(for_all).lower(flat, batch(3)[0]).compile().as_text()
    assert not [word for word in (" convolution(", " conditional(") if word in compiled]  # of the CPU's alone

    calls = {}
    for name, function in functions.items():
        for_gpus = exported(function, params, ("cuda",))
        assert "stablehlo.convolution" in for_gpus.mlir_module()
        anywhere = (export.DisabledSafetyCheck.platform(),)
        calls[name] = dataclasses.replace(for_gpus, disabled_safety_checks=anywhere).call  # here, on a CPU
    names = {name: function.inputs for name, function in functions.items()}
    found = through(calls, names, flat, *batch(3))
    np.testing.assert_allclose(found, jax.jit(expected)(*batch(3)), rtol=1e-5, atol=1e-6)


def test_the_parameters_and_the_manifest_describe_what_is_there(tmp_path: Path) -> None:
    trained, _ = CASES["VAE"]()
    params = trained.params
    write(tmp_path, of_trained(trained), params, {"run": "mine"})
    flat = load_file(tmp_path / "parameters.safetensors")
    assert flat.keys() == flatten_dict(params, sep="/").keys()
    for path, leaf in flatten_dict(params, sep="/").items():
        np.testing.assert_array_equal(flat[path], leaf)

    manifest = json.loads((tmp_path / "export.json").read_text())
    assert manifest["run"] == "mine"
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    encoder, decoder = manifest["functions"]["encoder"], manifest["functions"]["decoder"]
    assert encoder["inputs"]["images"]["shape"] == ["batch", 12, 12, 1]
    moments = {name: value["shape"] for name, value in encoder["outputs"].items()}
    assert moments == {"mean": ["batch", 2], "log_variance": ["batch", 2]}
    assert decoder["inputs"]["latents"]["shape"] == ["batch", 2]
    assert decoder["outputs"]["images"]["shape"] == ["batch", 12, 12, 1]
    assert decoder["outputs"]["images"]["dtype"] == "float32"


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    trained, _ = CASES["dense"]()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .*--output"):
        write(tmp_path / "file" / "export", of_trained(trained), trained.params, {})
