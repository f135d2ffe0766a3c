"""The page's layers, in numpy and in the page's own JavaScript, against flax; and what the page may not contain."""

import base64
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import latent_page
from aejax.latent_page.export import layer_list
from aejax.nn.convolutional import ConvDecoder
from aejax.nn.heads import LatentDecoder
from aejax.nn.mlp import DenseDecoder

DECODERS = {
    "dense": DenseDecoder((5, 7), (3, 4, 1)),
    "dense tanh": DenseDecoder((6,), (2, 3, 3), nn.tanh),
    "dense linear": DenseDecoder((), (3, 3, 1)),
    "conv": LatentDecoder(ConvDecoder(widths=(3, 4, 5)), (2, 2, 3)),
    "two channels": DenseDecoder((4,), (2, 3, 2)),
    "conv native, RGB, oblong": LatentDecoder(ConvDecoder(3, (4, 2, 3), lowering="native"), (2, 3, 2)),
}
PLACES = np.array([[0, 0], [0.5, -1], [-3, 2], [20, 30]], np.float32)

pytestmark = pytest.mark.filterwarnings("error")


def random_params(decoder: nn.Module, latents: int = 2) -> Any:
    """Of normal numbers everywhere: as initialised, biases are zero and would hide their loss."""
    shapes = jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros((1, latents)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape), jnp.float32), shapes)


def inputs(decoder: nn.Module, n: int = 6, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    params = random_params(decoder)
    shape = jax.eval_shape(decoder.apply, params, jnp.zeros((n, 2))).shape
    arguments = {
        "decoder": decoder,
        "params": params,
        "latents": rng.normal(size=(n, 2)),
        "labels": np.arange(n) % 3,
        "images": rng.integers(0, 256, shape, np.uint8),
        "title": "Latents",
    }
    return arguments | changes


def expected(decoder: nn.Module, params: Any) -> np.ndarray:
    return np.asarray(jax.nn.sigmoid(jax.jit(decoder.apply)(params, PLACES)))


def part(page: str, name: str) -> str:
    """The content of the script element with this id, read as a browser does: up to the first end tag."""
    match = re.search(rf'<script[^>]* id="{name}">|<script id="{name}">', page)
    assert match
    return page[match.end() : page.lower().index("</script", match.end())]


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def numpy_conv(x: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    size, pad = layer["size"], layer["size"] // 2 if layer["padding"] == "SAME" else 0
    kernel = floats(layer["kernel"]).reshape(size, size, layer["inputs"], layer["outputs"])
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((pad, pad), (pad, pad), (0, 0))), (size, size), (0, 1)
    )
    return np.einsum("hwiyx,yxio->hwo", windows, kernel) + floats(layer["bias"])


NUMPY: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {
    "dense": lambda x, layer: (
        x @ floats(layer["kernel"]).reshape(layer["inputs"], layer["outputs"]) + floats(layer["bias"])
    ),
    "reshape": lambda x, layer: x.reshape(layer["shape"]),
    "upsample": lambda x, layer: x.repeat(2, 0).repeat(2, 1),
    "conv": numpy_conv,
    "relu": lambda x, layer: np.maximum(x, 0),
    "tanh": lambda x, layer: np.tanh(x),
    "sigmoid": lambda x, layer: 1 / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_the_layer_list_is_the_decoder(decoder: nn.Module) -> None:
    params = random_params(decoder)
    layers = json.loads(json.dumps(layer_list(decoder, params)))
    for place, image in zip(PLACES, expected(decoder, params), strict=True):
        x = place
        for layer in layers:
            x = NUMPY[layer["type"]](x, layer)
        np.testing.assert_allclose(x, image, atol=1e-5)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_the_page_decodes_as_flax_does(decoder: nn.Module) -> None:
    arguments = inputs(decoder)
    page = latent_page.html(**arguments)
    program = f"""{part(page, "decoder")}
    const decode = makeDecoder({part(page, "data")}.layers);
    const decoded = {PLACES.tolist()}.map(([x, y]) => decode(x, y));
    if (!decoded.every((image) => image instanceof Float32Array)) throw new Error("not a Float32Array");
    console.log(JSON.stringify(decoded.map((image) => Array.from(image))));"""
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=True)
    images = expected(decoder, arguments["params"])
    np.testing.assert_allclose(np.reshape(json.loads(done.stdout), images.shape), images, atol=1e-5)


def test_the_page_holds_the_points_and_their_images() -> None:
    arguments = inputs(DECODERS["dense tanh"], labels=np.array([7, 3, 3, 12, 7, 7]))
    data = json.loads(part(latent_page.html(**arguments), "data"))
    np.testing.assert_array_equal(floats(data["latents"]).reshape(-1, 2), arguments["latents"].astype(np.float32))
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(data["labels"]), "<i4"), [1, 0, 0, 2, 1, 1])
    images = np.frombuffer(base64.b64decode(data["images"]), np.uint8)
    np.testing.assert_array_equal(images.reshape(-1, *data["shape"]), arguments["images"])
    assert [entry["name"] for entry in data["classes"]] == ["3", "7", "12"]


def test_a_label_keeps_its_colour_whichever_others_there_are() -> None:
    def colours(labels: np.ndarray) -> dict[str, str]:
        page = latent_page.html(**inputs(DECODERS["dense"], len(labels), labels=labels))
        return {entry["name"]: entry["colour"] for entry in json.loads(part(page, "data"))["classes"]}

    every = colours(np.arange(10))
    assert len(set(every.values())) == 10
    assert colours(np.array([9, 4])) == {name: every[name] for name in ("4", "9")}


@pytest.mark.parametrize(("names", "expected"), [(None, ["unknown", "0", "11"]), (["cat"] * 12, ["unknown", "cat"])])
def test_labels_may_be_unknown_and_have_names_and_more_than_ten_classes(names: Any, expected: list[str]) -> None:
    labels = np.array([0, -1, 11, -5, 0, 0])
    page = latent_page.html(**inputs(DECODERS["dense"], labels=labels, class_names=names))
    data = json.loads(part(page, "data"))
    assert [entry["name"] for entry in data["classes"]][: len(expected)] == expected
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(data["labels"]), "<i4"), [1, 0, 2, 0, 1, 1])
    assert len({entry["colour"] for entry in data["classes"]}) == 3


def test_hostile_names_stay_text() -> None:
    title = '</title></script><script>alert(1)</script><!-- & "quotes" {{DATA}}'
    names = ["</script><script>alert(2)</script>", "<!--<script>", "a & b \u2028 {{PAGE}}"]
    page = latent_page.html(**inputs(DECODERS["dense"], title=title, class_names=names))
    usual = latent_page.html(**inputs(DECODERS["dense"]))
    tags = [re.findall(r"</?[a-zA-Z!][^\s>]*", text) for text in (page, usual)]
    assert tags[0] == tags[1]
    assert "alert(1)</" not in page
    assert [html.unescape(text) for text in re.findall(r"<(?:title|h1)>(.*)</", page)] == [title, title]
    assert [entry["name"] for entry in json.loads(part(page, "data"))["classes"]] == names


@pytest.mark.parametrize("decoder", [DECODERS["dense"], DECODERS["conv"]], ids=["dense", "conv"])
def test_the_page_loads_nothing(decoder: nn.Module) -> None:
    page = latent_page.html(**inputs(decoder))
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|\bsrc\s*=|\bhref\s*=|@import|\burl\(|\bfetch\(|\bimport\(|XMLHttp|WebSocket", page)
    assert "{{" not in page.replace(part(page, "data"), "")


def test_ten_thousand_images_stay_under_12_mb() -> None:
    page = latent_page.html(**inputs(DenseDecoder((16,), (28, 28, 1)), 10_000))
    assert len(page) < 12e6


class Other(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3)(x)


@pytest.mark.parametrize(
    ("decoder", "latents", "message"),
    [
        (Other(), 2, "got Other"),
        (LatentDecoder(Other(), (2, 2, 3)), 2, "got LatentDecoder of Other"),
        (ConvDecoder(), 2, "got ConvDecoder"),
        (DenseDecoder((4,), (3, 3, 1), nn.gelu), 2, "activation"),
        (DenseDecoder((4,), (3, 3, 1)), 3, "2 latents, got one of 3"),
        (LatentDecoder(ConvDecoder(), (2, 2, 3)), 1, "2 latents, got one of 1"),
    ],
)
def test_other_decoders_are_refused(decoder: nn.Module, latents: int, message: str) -> None:
    params = {"params": {}} if isinstance(decoder, ConvDecoder) else random_params(decoder, latents)
    with pytest.raises(ValueError, match=message):
        latent_page.html(**inputs(DECODERS["dense"]) | {"decoder": decoder, "params": params})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents": np.zeros((6, 3))}, r"latents of shape \(6, 2\), got float64 of \(6, 3\)"),
        ({"latents": np.zeros((5, 2))}, "latents"),
        ({"latents": np.zeros((6, 2), int)}, "latents"),
        ({"latents": np.full((6, 2), np.nan)}, "finite"),
        ({"labels": np.zeros(5, int)}, r"labels of shape \(6,\)"),
        ({"labels": np.zeros(6)}, "integer labels"),
        ({"images": np.zeros((6, 3, 4, 1), np.float32)}, "uint8"),
        ({"images": np.zeros((6, 3, 4, 2), np.uint8)}, r"\(3, 4, 1\), not \(3, 4, 2\)"),
        ({"images": np.zeros((6, 3, 4), np.uint8)}, "uint8 images"),
        ({"images": np.zeros((0, 3, 4, 1), np.uint8)}, "uint8 images"),
        ({"images": np.zeros((6, 4, 3, 1), np.uint8)}, r"\(3, 4, 1\), not \(4, 3, 1\)"),
        ({"class_names": ["zero", "one"]}, "label 2 does not index 2 class names"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent_page.html(**inputs(DECODERS["dense"], **changes))
