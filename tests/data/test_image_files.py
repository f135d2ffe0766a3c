"""What each kind of image file becomes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aejax.data.image_files import UnreadableError, decode, is_grey

RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)


def write(tmp_path: Path, image: Image.Image, name: str = "image.png", **options: object) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "a.gif", "a.webp", "a.jpg"])
def test_formats(tmp_path: Path, name: str) -> None:
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(name.split(".")[1], {})
    path = write(tmp_path, Image.fromarray(COLOURS), name, **options)
    assert not is_grey(path)
    np.testing.assert_allclose(decode(path, grey=False).astype(int), COLOURS, atol=4 if name == "a.jpg" else 0)
    assert decode(path, grey=True).shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(RAMP), RAMP),
        (Image.fromarray(RAMP > 99), (RAMP > 99) * np.uint8(255)),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), RAMP),
        (Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(np.full_like(RAMP, 255))]), RAMP),
        (Image.fromarray(RAMP).convert("P"), RAMP),
    ],
)
def test_grey_ones_stay_grey(tmp_path: Path, image: Image.Image, expected: np.ndarray) -> None:
    path = write(tmp_path, image)
    assert is_grey(path)
    np.testing.assert_array_equal(decode(path, grey=True)[..., 0], expected)
    np.testing.assert_array_equal(decode(path, grey=False), np.repeat(expected[..., None], 3, axis=-1))


def test_floating_point_tiff(tmp_path: Path) -> None:
    path = write(tmp_path, Image.fromarray((RAMP / 255).astype(np.float32)), "a.tif")
    np.testing.assert_array_equal(decode(path, grey=True)[..., 0], RAMP)
    with pytest.raises(UnreadableError, match=r"outside \[0, 1\]"):
        decode(write(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "b.tif"), grey=True)
    with pytest.raises(UnreadableError, match="16 bits"):
        decode(write(tmp_path, Image.fromarray(RAMP.astype(np.int32) * 2**20), "c.tif"), grey=True)


def test_transparency_is_white_and_hides_what_is_under_it(tmp_path: Path) -> None:
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:4], alpha[4] = 0, 128
    decoded = decode(write(tmp_path, Image.fromarray(np.dstack([COLOURS, alpha]))), grey=False)
    np.testing.assert_array_equal(decoded[:4], 255)
    np.testing.assert_allclose(decoded[4], COLOURS[4] * (128 / 255) + 127, atol=1.01)
    np.testing.assert_array_equal(decoded[5:], COLOURS[5:])
    palette = Image.fromarray(RAMP // 128, "P")
    palette.putpalette([9, 0, 0, 0, 255, 0])
    decoded = decode(write(tmp_path, palette, "p.gif", transparency=0), grey=False)
    np.testing.assert_array_equal(decoded, np.where((RAMP < 128)[..., None], 255, [[[0, 255, 0]]]))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(np.broadcast_to(np.array([200, 40, 90], np.uint8), (16, 16, 3)).copy())
    decoded = decode(write(tmp_path, image.convert("CMYK"), "a.jpg", quality=100), grey=False)
    np.testing.assert_allclose(decoded.astype(int), np.asarray(image), atol=6)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    path = write(tmp_path, Image.fromarray(COLOURS[:5]), "a.png", exif=exif)
    np.testing.assert_array_equal(decode(path, grey=False), np.rot90(COLOURS[:5], -1))


def test_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200)]
    for name in ("a.gif", "a.tif", "a.webp"):
        path = write(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(decode(path, grey=True), 10, atol=2)


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    whole = write(tmp_path, Image.fromarray(COLOURS), "whole.png").read_bytes()
    (tmp_path / "folder.png").mkdir()
    for name, content in {"text.png": b"text", "empty.png": b"", "cut.png": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError) as error:
            decode(tmp_path / name, grey=False)
        assert "\n" not in str(error.value)
    with pytest.raises(UnreadableError, match="No such file"):
        decode(tmp_path / "absent.png", grey=False)
    with pytest.raises(UnreadableError, match="no image of a known kind"):
        is_grey(tmp_path / "text.png")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path, Image.new("1", (20_000, 20_000)))
    with pytest.raises(UnreadableError, match="bomb"):
        decode(path, grey=True)
