import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from aejax import plots


def pictures(n: int, h: int = 28, w: int = 28, c: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, h, w, c), np.float32)


def levels(images: np.ndarray) -> np.ndarray:
    return np.rint(255 * images).astype(np.uint8)


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def record(epoch: int, split: str, **values: float | None) -> dict:
    return {"epoch": epoch, "step": 210 * epoch, "split": split, **values}


def curves(*splits: str, epochs: int = 5) -> list[dict]:
    return [
        record(e, split, bce=0.1 + 0.1 / e + 0.01 * i, mse=10.0 ** (-e / 2), psnr=1.0 + 5 * e, ssim=0.1 * e)
        for e in range(1, epochs + 1)
        for i, split in enumerate(splits)
    ]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 9), h=st.integers(1, 6), w=st.integers(1, 6), c=st.sampled_from([1, 3]), columns=st.integers(1, 6)
)
def test_tile_places_every_pixel_exactly(n: int, h: int, w: int, c: int, columns: int) -> None:
    images = pictures(n, h, w, c)
    mosaic = plots.tile(images, columns)
    lines = -(-n // columns)
    assert mosaic.dtype == np.uint8
    assert mosaic.shape == (lines * (h + 1) - 1, columns * (w + 1) - 1, 3)
    rest = np.ones(mosaic.shape[:2], bool)
    for i in range(n):
        place = np.s_[i // columns * (h + 1) :, i % columns * (w + 1) :]
        assert (mosaic[place][:h, :w] == levels(images[i])).all()
        rest[place][:h, :w] = False
    assert (mosaic[rest] == 255).all()


def test_tile_clips_and_paints_nan_black() -> None:
    images = np.array([-1, 2, np.nan, np.inf], np.float32).reshape(1, 2, 2, 1)
    assert plots.tile(images, 1)[..., 0].tolist() == [[0, 255], [0, 255]]


@pytest.mark.parametrize("title", [None, "Denoiser, MNIST held-out"])
@pytest.mark.parametrize("n", [1, 3, 10, 16])
def test_image_grid_draws_every_pixel_as_a_whole_square(n: int, title: str | None) -> None:
    rows = {"input": pictures(n, seed=1), "reconstruction": pictures(n, c=3, seed=2)}
    figure = plots.image_grid(rows, title)
    drawn = pixels(figure)
    assert drawn.shape[:2] == tuple(np.rint(figure.get_size_inches()[::-1] * plots.DPI).astype(int))
    box = figure.axes[0].get_window_extent()
    left, top = round(box.x0), round(drawn.shape[0] - box.y1)
    scale = (round(box.width) - 4 * (n - 1)) // (28 * n)
    assert scale >= 2
    for i, images in enumerate(rows.values()):
        for j in range(n):
            y, x = top + i * (28 * scale + 4), left + j * (28 * scale + 4)
            expected = np.broadcast_to(levels(images[j]), (28, 28, 3)).repeat(scale, 0).repeat(scale, 1)
            np.testing.assert_array_equal(drawn[y : y + 28 * scale, x : x + 28 * scale], expected)
    if n >= 10:
        assert 800 <= drawn.shape[1] <= 1200


def test_image_grid_labels_rows_in_order_and_inside_the_figure() -> None:
    names = ["input", "a rather long label for a row of pictures", "two\nlines"]
    figure = plots.image_grid({name: pictures(12) for name in names}, title="A title")
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == [*names, "A title"]
    heights = []
    for text in texts:
        box = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
        assert box.x0 >= 0
        assert box.y1 <= figure.bbox.y1
        heights.append(box.y0)
    assert heights[0] > heights[1] > heights[2]


def test_image_grid_enlarges_a_smaller_row() -> None:
    small, large = pictures(4, 14, 14), pictures(4)
    drawn = pixels(plots.image_grid({"low": small, "high": large}))
    enlarged = pixels(plots.image_grid({"low": small.repeat(2, 1).repeat(2, 2), "high": large}))
    np.testing.assert_array_equal(drawn, enlarged)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (2, 0, 28, 1), (2, 28, 28, 0)])
def test_other_shapes_are_refused_by_name(shape: tuple[int, ...]) -> None:
    message = str(shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=message):
        plots.image_grid({"input": np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match=message):
        plots.tile(np.zeros(shape, np.float32), 4)


def test_rows_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 28, 28, 3\).*\(4, 28, 28, 3\)"):
        plots.image_grid({"a": pictures(3), "b": pictures(4)})
    with pytest.raises(ValueError, match=r"\(3, 20, 28, 3\)"):
        plots.image_grid({"a": pictures(3), "b": pictures(3, 20)})
    with pytest.raises(ValueError, match="at least one row"):
        plots.image_grid({})
    with pytest.raises(ValueError, match=r"\(0, 28, 28, 3\)"):
        plots.image_grid({"a": pictures(0)})
    with pytest.raises(ValueError, match="columns 0"):
        plots.tile(pictures(3), 0)
    with pytest.raises(ValueError, match="uint8"):
        plots.tile(levels(pictures(3)), 2)


def test_learning_curves_draw_the_records() -> None:
    metrics = curves("train", "held_out")
    figure = plots.learning_curves(metrics[::-1], y=["bce", "psnr"], x="step")
    assert [axes.get_ylabel() for axes in figure.axes] == ["mean BCE (nats per pixel)", "PSNR (dB)"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "held-out"]
    for axes, name in zip(figure.axes, ["bce", "psnr"], strict=True):
        assert axes.get_xlabel() == "step"
        for line, split in zip(axes.lines, ["train", "held_out"], strict=True):
            expected = [(r["step"], r[name]) for r in metrics if r["split"] == split]
            np.testing.assert_allclose(line.get_xydata(), expected)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.1200", "0.1300"]
    assert pixels(figure).std() > 0


def test_only_a_range_of_more_than_a_decade_is_logarithmic() -> None:
    figure = plots.learning_curves(curves("train"), y=["bce", "mse", "psnr", "ssim"])
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "linear", "linear"]
    negative = [record(1, "train", elbo=-100.0), record(2, "train", elbo=-1.0)]
    assert plots.learning_curves(negative, y="elbo").axes[0].get_yscale() == "linear"


def test_nan_absent_values_and_absent_splits_are_left_out() -> None:
    metrics = [
        record(1, "train", bce=0.3),
        record(2, "train", bce=float("nan")),
        record(3, "train", bce=0.2),
        record(4, "train", bce=float("inf")),
        record(3, "held_out", bce=None),
        record(3, "test", mse=0.1),
    ]
    figure = plots.learning_curves(metrics, y=["bce", "mse", "nowhere"])
    bce, mse, nowhere = figure.axes
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 0]
    np.testing.assert_array_equal(bce.lines[0].get_ydata(), [0.3, np.nan, 0.2, np.nan])
    assert [text.get_text() for text in bce.texts] == ["0.2000"]
    assert mse.lines[0].get_marker() == "o"
    assert nowhere.get_ylabel() == "nowhere"
    pixels(figure)
    pixels(plots.learning_curves([]))


@pytest.mark.parametrize("values", [[0.1, 0.1, 0.1], [0.1, 0.1001, 0.5], [0.3, 0.2, 0.1]])
def test_final_values_never_overlap(values: list[float]) -> None:
    metrics = [record(e, s, bce=v + 1 / e) for e in (1, 2, 9) for s, v in zip(plots.SPLITS, values, strict=True)]
    figure = plots.learning_curves(metrics, y=["bce", "bce"])
    pixels(figure)
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(boxes) == 3
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))


def test_lines_draw_every_curve_under_its_name() -> None:
    figure = plots.lines([1, 2, 4], {"a": [3, 1, 2], "b": [0, 5, 1]}, "noise", "share", "A title")
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [(1, 0), (2, 5), (4, 1)])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("noise", "share", "A title")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    banded = plots.lines([1, 2], {"a": [3, 1], "b": [0, 5]}, "x", "y", "title", {"b": ([-1, 4], [1, 6])})
    (band,) = banded.axes[0].collections
    assert {tuple(corner) for corner in band.get_paths()[0].vertices} == {(1, -1), (1, 1), (2, 4), (2, 6)}


def test_labelled_points_stand_where_they_are_with_bars_of_one_deviation() -> None:
    points = {"a": (0.1, 0.2), "b\nin\nfour\nlines": (3.0, 0.1), "c": (2.9, 0.1001)}
    figure = plots.labelled_points(points, {"a": (0.02, 0.01)}, "distance", "bce", level=("the tutorial", 0.15))
    pixels(figure)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    np.testing.assert_allclose(axes.containers[0][0].get_xydata(), [points["a"]])
    across, up = (bar.get_segments()[0] for bar in axes.containers[0][2])
    np.testing.assert_allclose(across, [(0.08, 0.2), (0.12, 0.2)])
    np.testing.assert_allclose(up, [(0.1, 0.19), (0.1, 0.21)])
    boxes = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}  # without the line to the point
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["the tutorial: 0.15"]
    names = sorted((boxes[name] for name in points), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(names))
    assert all(box.x1 <= figure.bbox.x1 for box in boxes.values())


def test_sorted_values_ascend_in_a_panel_for_each_entry() -> None:
    random = np.random.default_rng(0)
    panels = {"mean": {"AAE": random.normal(size=30), "floor": random.normal(size=5)}, "std": {"AAE": np.ones(30)}}
    figure = plots.sorted_values(panels, "latents")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mean", "std"]
    for line, values in zip(figure.axes[0].lines, panels["mean"].values(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), np.sort(values))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["AAE", "floor"]


def points(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, 2)), random.integers(-1, 10, n)


def test_scatter_shows_each_point_in_the_colour_of_its_label() -> None:
    latents, labels = points(200)
    figure = plots.scatter({"AAE": latents, "VAE": 3 * latents}, labels)
    for axes, scale in zip(figure.axes, (1, 3), strict=True):
        drawn = axes.collections[0]
        np.testing.assert_allclose(drawn.get_offsets(), scale * latents)
        colours = to_rgba_array([plots.CLASS_COLOURS[label] if label >= 0 else "#8c959f" for label in labels])
        np.testing.assert_allclose(drawn.get_facecolor()[:, :3], colours[:, :3])
        assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))  # one scale
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*map(str, range(10)), "unknown"]


def test_many_classes_have_colours_of_a_scale_and_the_commonest_are_named_inside_the_picture() -> None:
    random = np.random.default_rng(0)
    labels = np.concatenate([np.arange(-1, 100), np.repeat(np.arange(0, 36, 3), 5)])
    latents = random.normal(size=(len(labels), 2))
    names = tuple(f"class {i} " + "with a long name" * (i % 2) for i in range(100))
    figure = plots.scatter({"AAE": latents}, labels, names)
    width = pixels(figure).shape[1]
    legend = figure.legends[0]
    named = [text.get_text() for text in legend.get_texts()]
    assert named == [*(plots.printable(names[i], 24) for i in range(0, 36, 3)), "unknown"]
    assert legend.get_title().get_text() == "12 commonest\nof 100 classes"
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert len(set(plots.class_colours(np.arange(-1, 100), names))) == 101
    assert figure.axes[0].get_window_extent().width > width / 3


def test_a_label_has_its_colour_whichever_others_there_are_and_a_name_or_is_refused() -> None:
    assert plots.class_colours(np.array([4]), ("a",) * 30) == [plots.class_colours(np.arange(30))[4]]
    assert plots.class_colours(np.array([-1, 3])) == ["#8c959f", plots.CLASS_COLOURS[3]]
    assert plots.class_colours(np.array([2**40])) != plots.class_colours(np.array([-1]))
    assert [plots.class_name(label, ("cat", "dog")) for label in (-1, 0, 1)] == ["unknown", "cat", "dog"]
    with pytest.raises(ValueError, match="label 2 does not index 2 class names"):
        plots.class_name(2, ("cat", "dog"))


def test_planes_share_a_square_by_column_and_leave_the_gap_to_the_legend() -> None:
    latents, labels = points(200)
    labels = labels.clip(0)
    rows = {"prior": {"a": (latents, None), "b": (latents, labels)}, "codes": {"b": (2 * latents, labels)}}
    figure = plots.planes(rows)
    first, second, gap, last = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["a", "b"]
    assert (first.get_ylabel(), gap.get_ylabel()) == ("prior", "codes")
    assert len(first.collections[0].get_facecolor()) == 1
    assert second.get_xlim() == last.get_xlim()
    assert second.get_ylim() == last.get_ylim()
    np.testing.assert_allclose(last.collections[0].get_offsets(), 2 * latents)
    assert [text.get_text() for text in gap.get_legend().get_texts()] == [str(label) for label in range(10)]


def test_density_counts_the_points_over_one_square() -> None:
    latents, _ = points(5000)
    figure = plots.density({"prior": latents, "codes": latents / 2})
    wide, narrow = (axes.images[0] for axes in figure.axes)
    assert wide.get_extent() == narrow.get_extent()
    assert wide.get_clim() == narrow.get_clim()
    left, right, low, high = wide.get_extent()
    cell = (right - left) * (high - low) / 60**2
    for image in (wide, narrow):  # densities, of which few points lie outside
        assert image.get_array().sum() * cell == pytest.approx(1, abs=1e-6)
    assert narrow.get_array().max() > 2 * wide.get_array().max()


def test_a_caption_leaves_the_figure_below_it_as_it_is() -> None:
    def figure() -> Figure:
        return plots.image_grid({"a": pictures(3), "b": pictures(3, seed=1)}, "title")

    before, after = pixels(figure()), pixels(plots.captioned(figure(), "seed 0 of 0 to 2"))
    strip = len(after) - len(before)
    assert strip == 30
    np.testing.assert_array_equal(after[strip:], before)
    assert (after[:strip] < 128).any()


@pytest.mark.parametrize("name", ["lines", "scatter", "sorted values"])
def test_a_caption_overlaps_nothing(name: str) -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    figure = {
        "lines": lambda: plots.lines([0, 1], {"a": [0, 1]}, "x", "y", "title"),
        "scatter": lambda: plots.scatter({"a": points}, np.arange(30) % 3),
        "sorted values": lambda: plots.sorted_values({"a": {f"curve {i}": points[:, 0] for i in range(3)}}, "x"),
    }[name]()
    plots.captioned(figure, "seed 0 of 0 to 2")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    caption = figure.texts[-1].get_window_extent(renderer)
    others = [axes.get_tightbbox(renderer) for axes in figure.axes]
    others += [legend.get_window_extent(renderer) for legend in figure.legends]
    assert not any(caption.overlaps(other) for other in others)


def test_mosaic_draws_row_by_row_and_fills_with_white() -> None:
    images = pictures(5, 4, 4)
    figure = plots.mosaic(images, 3, "samples")
    drawn = figure.axes[0].images[0].get_array()
    scale = (drawn.shape[1] - 2 * 2) // (3 * 4)
    step = 4 * scale + 2
    for i in range(5):
        y, x = i // 3 * step, i % 3 * step
        np.testing.assert_array_equal(
            drawn[y : y + 4 * scale : scale, x : x + 4 * scale : scale, 0], levels(images[i])[..., 0]
        )
    assert (drawn[step:, 2 * step :] == 255).all()
    with pytest.raises(ValueError, match="columns 0"):
        plots.mosaic(images, 0)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_other_numbers_of_channels_are_drawn_as_their_mean_and_the_title_says_so(channels: int) -> None:
    images = pictures(3, 5, 4, channels)
    mean = images.mean(axis=-1, keepdims=True)
    np.testing.assert_array_equal(plots.tile(images, 2), plots.tile(mean, 2))
    figure = plots.image_grid({"in": images, "out": mean}, "test set")
    assert figure.axes[0].texts[-1].get_text() == f"test set (mean of {channels} channels)"
    expected = plots.image_grid({"in": mean, "out": mean}).axes[0].images[0].get_array()
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), expected)
    assert plots.mosaic(images, 2).axes[0].texts[-1].get_text() == f"mean of {channels} channels"


def test_long_titles_and_tall_images_stay_inside_a_picture_that_can_be_saved(tmp_path: Path) -> None:
    figure = plots.image_grid({"in": pictures(3, 9000, 1), "out": pictures(3, 9000, 1)}, "long " * 80)
    plots.save(figure, tmp_path / "tall.png")
    box = figure.axes[0].texts[-1].get_window_extent()
    assert box.x1 <= figure.bbox.x1


HOSTILE = ("_$ a_b$_$x^{ \\frac{ $\\alpha$ {\n中😀\udcff\x07 %s #&~", "x" * 400)


def every_figure(name: str) -> list[Figure]:
    """All figures of the package, of constant values, with this text in every place that takes one."""
    images, plane, labels = np.ones((3, 4, 4, 1), np.float32), np.ones((9, 2)), np.zeros(9, int)
    records = [record(1, name, **{name: 1.0})]
    return [
        plots.image_grid({name: images}, name),
        plots.mosaic(images, 2, name),
        plots.scatter({name: plane}, labels, (name,)),
        plots.planes({name: {name: (plane, labels), "b": (plane, None)}, "c": {"b": (plane, labels)}}, (name,)),
        plots.density({name: plane, "b": plane}),
        plots.learning_curves(records, name, splits=(name,)),
        plots.lines([1], {name: [2.0]}, name, name, name),
        plots.sorted_values({name: {name: np.ones(3)}}, name),
        plots.labelled_points({name: (1.0, 1.0)}, {}, name, name, (name, 1.0)),
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", HOSTILE)
def test_any_text_and_constant_values_are_drawn_without_a_warning(name: str, tmp_path: Path) -> None:
    for figure in every_figure(name):
        plots.save(figure, tmp_path / "any.png")
        assert not any(text.get_parse_math() and "$" in text.get_text() for text in figure.findobj(Text))
        assert all(legend.get_texts() for legend in figure.legends)


def test_points_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    latents, labels = points(50)
    broken = np.concatenate([latents, [[np.nan, 0], [np.inf, 1], [0, -np.inf]]])
    labels = np.concatenate([labels, [0, 0, 0]])
    expected = plots.scatter({"a": latents}, labels[:50]).axes[0].get_xlim()
    assert plots.scatter({"a": broken}, labels).axes[0].get_xlim() == expected
    plots.save(plots.density({"a": broken, "b": np.full((2, 2), np.nan)}), tmp_path / "density.png")


def test_text_is_kept_where_the_font_has_it_and_escaped_where_not() -> None:
    assert plots.printable("Straße, λ → ∞, 10 µm") == "Straße, λ → ∞, 10 µm"
    assert plots.printable("中_b\n c") == "\\u4e2d_b c"
    assert plots.printable("a  b\nc", lines=True) == "a b\nc"
    assert plots.printable("_hidden") == " _hidden"
    assert plots.printable("x" * 30, 10) == "x" * 9 + "…"


RC = """
text.usetex: True
savefig.bbox: tight
savefig.facecolor: black
figure.facecolor: red
font.family: serif
font.size: 30
axes.prop_cycle: cycler('color', ['k'])
lines.linewidth: 9
text.parse_math: True
"""
DRAW = """
from pathlib import Path
import numpy as np
from aejax import plots
plots.save(plots.image_grid({"a": np.ones((3, 9, 9, 1), np.float32)}, "title"), Path(folder) / "grid.png")
plots.save(plots.lines([1, 2], {"a": [1, 2]}, "x", "y", "title"), Path(folder) / "lines.png")
"""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no_such_backend"])
def test_figures_are_the_same_whatever_settings_and_backend_the_user_has(backend: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(RC)
    environment = os.environ | {"MPLBACKEND": backend, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    command = [sys.executable, "-W", "error", "-c", f"folder = {str(theirs)!r}{DRAW}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    exec(DRAW, {"folder": ours})
    for name in ("grid.png", "lines.png"):
        with Image.open(theirs / name) as first, Image.open(ours / name) as second:
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_the_users_settings_and_backend_are_left_as_they_were(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 31.0, "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        plots.save(plots.lines([1], {"a": [1]}, "x", "y", "title"), tmp_path / "lines.png")
        assert dict(matplotlib.rcParams) == before


def test_save_writes_a_png_of_the_figure_size_and_its_folder(tmp_path: Path) -> None:
    figure = plots.image_grid({"input": jnp.asarray(pictures(10))})
    path = tmp_path / "figures" / "deep" / "grid.png"
    plots.save(figure, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels(figure))
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grid.png"
    path.write_bytes(b"old")

    def fail(self: Figure, target: Path, **options: object) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.save(Figure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_import_stays_clear_of_pyplot_and_jax() -> None:
    code = "import sys, aejax.plots; sys.exit('matplotlib.pyplot' in sys.modules or 'jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
