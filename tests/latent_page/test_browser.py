"""The page in headless Chromium, where there is one."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest

from aejax import latent_page
from aejax.nn.mlp import DenseDecoder
from tests.latent_page.test_page import DECODERS, inputs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def dumped(page: str, fragment: str, folder: Path) -> str:
    """The document after its scripts have run."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        f"{file.as_uri()}{fragment}",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("decoder", [DECODERS["dense tanh"], DECODERS["conv"]], ids=["dense", "conv"])
def test_the_browser_decodes_the_place_in_the_address(decoder: nn.Module, tmp_path: Path) -> None:
    arguments = inputs(decoder, class_names=["<b>zero</b>", "one & only", "two"])
    x, y = arguments["latents"][4] + 0.001
    document = dumped(latent_page.html(**arguments), f"#{x},{y}", tmp_path)
    mean = jax.nn.sigmoid(jax.jit(decoder.apply)(arguments["params"], np.array([[x, y]]))).mean()
    assert float(re.findall(r'data-mean="([^"]*)"', document)[0]) == pytest.approx(float(mean), abs=1e-5)
    assert re.findall(r'data-point="([^"]*)"', document) == ["4"]
    assert f"z = ({x:.2f}, {y:.2f})".replace("-", "−") in document  # noqa: RUF001
    assert document.count("&lt;b&gt;zero&lt;/b&gt;</b>") == 1
    assert document.count('aria-pressed="true"') == 3


def test_away_from_every_point_no_original_is_shown(tmp_path: Path) -> None:
    document = dumped(latent_page.html(**inputs(DECODERS["dense"])), "#100,100", tmp_path)
    assert "data-mean" in document
    assert "data-point" not in document
    assert 'id="holder" class="empty"' in document


def test_without_a_place_the_page_starts_on_a_point(tmp_path: Path) -> None:
    assert "data-point" in dumped(latent_page.html(**inputs(DECODERS["dense"])), "", tmp_path)


ACTIONS = """<script>
window.requestAnimationFrame = (draw) => draw(); // a page that is only dumped gets no frames
const plot = document.getElementById("plot");
const box = plot.getBoundingClientRect();
const seen = [];
const see = () => seen.push(["place", "label"].map((id) => document.getElementById(id).textContent));
const point = (x, y) => {
  // The plane is square and its margins of 44 and 8 pixels lie left and below, right and above.
  const inner = box.width - 52;
  const place = { clientX: box.left + 44 + x * inner, clientY: box.top + 8 + y * inner };
  plot.dispatchEvent(new PointerEvent("pointermove", place));
  see();
};
const press = (key, shiftKey) => {
  plot.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey }));
  see();
};
point(0.5, 0.5);
point(0.5 + 0.5 / 1.06, 0.5 - 0.5 / 1.06);
press("ArrowLeft", true);
press("ArrowDown", false);
point(2, 2);
document.querySelectorAll("#legend button")[1].click();
point(0.5 + 0.5 / 1.06, 0.5 - 0.5 / 1.06);
document.getElementById("all").click();
point(0.5 - 0.5 / 1.06, 0.5 + 0.5 / 1.06);
document.getElementById("all").click();
see();
document.body.dataset.seen = JSON.stringify(seen);
</script></body>"""


def test_pointer_keys_and_legend(tmp_path: Path) -> None:
    decoder = DenseDecoder((3,), (2, 2, 1))
    corners = np.array([[-1.0, -1.0], [1.0, 1.0]])
    page = latent_page.html(**inputs(decoder, 2, latents=corners, labels=np.array([0, 1]), class_names=["low", "high"]))
    document = dumped(page.replace("</body>", ACTIONS), "", tmp_path)
    (seen,) = re.findall(r'data-seen="([^"]*)"', document)
    places = [
        *[(0.0, 0.0, ""), (1.0, 1.0, "high")],
        *[(0.894, 1.0, ""), (0.894, 0.989, "")],  # a tenth and a hundredth of the half width, 1.06
        (1.06, -1.06, ""),  # no further than the plane goes
        (1.0, 1.0, ""),  # its label is hidden
        *[(-1.0, -1.0, ""), (-1.0, -1.0, "low")],  # all are hidden, all are shown
    ]
    expected = [[f"z = ({x:.2f}, {y:.2f})".replace("-", "−"), name] for x, y, name in places]  # noqa: RUF001
    assert json.loads(html.unescape(seen)) == expected
