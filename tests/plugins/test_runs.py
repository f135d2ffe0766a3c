"""What a prior, a posterior and a method of one's own get from a run, without code for it."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from aejax import latent_page, load
from aejax.data.feeds import device_feed
from aejax.evaluation import judge
from aejax.methods.method import Method
from aejax.models.latent_variable import LatentVariableModel
from aejax.training.config import RunConfig
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from tests.plugins import checks, test_factor_vae, test_flow_posterior, test_vamp_prior

Plugin = tuple[LatentVariableModel, Method]
IMAGES = (255 * np.asarray(checks.images())).astype(np.uint8)


class Data:
    images, labels = IMAGES, np.arange(len(IMAGES), dtype=np.int32) % 2


def trained(plugin: Plugin, runs: Path, name: str, epochs: int, devices: int = 1, seeds: int = 2) -> list:
    """The states of a run of a few steps, started anew or taken up."""
    model, method = plugin
    config = RunConfig(runs=runs, name=name, seeds=seeds, devices=devices)
    mesh = make_mesh(devices, 16)
    with open_run(config, "plugin", model=model, image_shape=checks.SHAPE) as run:
        feed = device_feed(IMAGES, 16, mesh)
        return fit(method, feed, run, epochs=epochs, seed=0, seeds=seeds, evaluations={"held_out": IMAGES})


@pytest.fixture(params=[test_vamp_prior, test_flow_posterior, test_factor_vae], ids=["prior", "posterior", "method"])
def plugin(request: pytest.FixtureRequest) -> Plugin:
    make: Callable[[], Plugin] = request.param.plugin
    return make()


def test_seeds_resuming_devices_loading_judging_and_the_page(plugin: Plugin, tmp_path: Path) -> None:
    model, _ = plugin
    whole = trained(plugin, tmp_path, "whole", 2)
    trained(plugin, tmp_path, "in two lives", 1)
    jax.tree.map(np.testing.assert_array_equal, trained(plugin, tmp_path, "in two lives", 2), whole)

    alone = trained(plugin, tmp_path, "two devices", 2, devices=2, seeds=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone[0].params, whole[0].params)

    models = [load(tmp_path / "plugin" / "whole", seed_index=i) for i in range(2)]
    assert models[1].model == model
    jax.tree.map(np.testing.assert_array_equal, models[1].params, model.own(whole[1].params))
    table = judge.judge(models, Data, Data, settings=judge.Settings(nll_samples=20, nll_images=8))
    nll = next(values for name, values in table["test"].items() if name.startswith("nll"))
    assert np.shape(nll) == (2,)
    assert {judge.CODES, judge.FLOOR} <= set(table)

    one = models[0]
    page = latent_page.html(
        model.decoder, one.params["decoder"], one.encode(IMAGES), Data.labels, IMAGES, "two latents of a plugin"
    )
    assert "two latents of a plugin" in page
