"""Descriptions: that they give a model back, and that reading one runs no code that the folder has chosen."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import corruptions
from aejax.errors import UserError
from aejax.models import likelihoods, posteriors, priors
from aejax.models.description import describe, rebuild
from aejax.models.image_to_image import ImageToImage
from aejax.nn.mlp import MLP
from tests.models.kinds import DECODER, MODELS


def read_again(value: Any) -> Any:
    return rebuild(json.loads(json.dumps(describe(value))))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_every_kind_of_model_comes_back_equal(model: Any) -> None:
    again = read_again(model)
    assert again == model
    assert hash(again) == hash(model)  # so that both share compiled programs
    assert type(again) is type(model)


@pytest.mark.parametrize("module", [likelihoods, posteriors, priors, corruptions])
def test_every_class_of_the_parts_is_in_one_of_these_models(module: Any) -> None:
    """Each that can be instantiated: a new one belongs into `kinds`, or is described here."""
    text = json.dumps([describe(model) for model in MODELS.values()])
    alone = [likelihoods.Bernoulli(), corruptions.SaltAndPepper(0.1), corruptions.Speckle(0.1)]
    text += json.dumps([describe(part) for part in alone if read_again(part) == part])
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    concrete = [c for c in classes if "__dataclass_fields__" in vars(c) and not getattr(c, "__abstractmethods__", None)]
    assert [c.__name__ for c in concrete if f"{module.__name__}:{c.__name__}" not in text] == []
    assert concrete


@pytest.mark.parametrize("function", [nn.relu, nn.tanh, jnp.tanh, jax.nn.silu, corruptions.binarize])
def test_functions_of_modules_come_back_as_themselves(function: Any) -> None:
    assert read_again(function) is function


@pytest.mark.parametrize("value", [1, 0.1, "a", True, None, (1, (2.5, "b"), None)])
def test_plain_values_come_back_equal(value: Any) -> None:
    assert read_again(value) == value


def closure() -> Any:
    def inner(key: Any, images: Any) -> Any:
        return images

    return inner


@pytest.mark.parametrize(
    "value", [lambda x: x, closure(), functools.partial(nn.relu), np.zeros((9, 9)), {"a": 1}, object()], ids=type
)
def test_what_no_module_holds_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(UserError, match=type(value).__name__) as refusal:
        describe(ImageToImage(DECODER, corruption=value))
    assert "\n" not in str(refusal.value)


def test_a_module_that_is_not_imported_is_named_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_a_stranger.py").write_text("raise SystemExit('this ran')")
    monkeypatch.syspath_prepend(tmp_path)
    described = describe(ImageToImage(MLP((3,))))
    described["network"]["class"] = "of_a_stranger:Network"
    with pytest.raises(UserError, match=r"of_a_stranger.* import the module") as refusal:
        rebuild(described)
    assert "\n" not in str(refusal.value)
    assert "of_a_stranger" not in sys.modules


@pytest.mark.parametrize(
    "address",
    [
        "os:system",
        "subprocess:run",
        "builtins:eval",
        "aejax.models.priors:math",
        "aejax.no_such_module:f",
        "flax.linenx:f",
        "jax.nn_:f",
        "jax.nn:no_such_function",
        "aejax.models.description:describe.x",
        "",
        7,
        None,
    ],
)
def test_what_is_no_part_of_a_model_is_refused(address: Any) -> None:
    for described in ({"function": address}, {"class": address}):
        with pytest.raises(UserError) as refusal:
            rebuild(described)
        assert "\n" not in str(refusal.value)


def test_nothing_is_imported_but_what_is_trusted() -> None:
    before = set(sys.modules)
    for model in MODELS.values():
        read_again(model)
    assert {name for name in set(sys.modules) - before if not name.startswith(("aejax.", "flax.", "jax."))} == set()


def test_fields_of_another_version_are_refused_with_the_class() -> None:
    with pytest.raises(UserError, match=r"StandardNormal.*colour"):
        rebuild(describe(priors.StandardNormal(latents=2)) | {"colour": "red"})
