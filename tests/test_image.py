"""Images: anything a user may pass works as if converted to RGB first, or gets a clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.explaining import MODEL, refusal_of, values_of, values_or_refusal
from support.oracle import assert_close
from support.zoo.inputs import picture, saved, scene
from support.zoo.models import preprocess_for

from exclip_widget import ImageError


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "PA"])
def test_picture_of_any_mode(mode: str) -> None:
    """Grey, palette, opaque alpha, print and video colours work as if converted to RGB first."""
    source = picture(1)
    if mode in ("LAB", "PA"):
        source = Image.new(mode, (20, 20), (40, 255) if mode == "PA" else (40, 140, 120))
    else:
        source = source.convert(mode)
    before = source.tobytes()
    np.testing.assert_array_equal(values_of(source), values_of(source.convert("RGB")))
    assert source.mode == mode
    assert source.tobytes() == before


def test_transparent_picture() -> None:
    """However transparency is filled, an array and a PIL image of it give the same values."""
    rgba = np.dstack([scene(1), np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)])
    assert np.isfinite(values_of(rgba)).all()
    np.testing.assert_array_equal(values_of(rgba), values_of(Image.fromarray(rgba)))


@pytest.mark.parametrize("as_path", [True, False])
def test_picture_of_16_bits(as_path: bool, tmp_path: Path) -> None:
    """Pillow's own conversion would clip 16-bit greys to white."""
    grey = np.asarray(picture(2).convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert deep.mode.startswith("I;16")
    source = saved(deep, tmp_path, "deep.png") if as_path else deep
    outcome = values_or_refusal(ImageError, source)
    if isinstance(outcome, str):
        assert "16" in outcome
        return
    expected = values_of(Image.fromarray(grey))
    assert_close(outcome, expected, 1e-2)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_picture_of_32_bits(mode: str) -> None:
    """In a 32-bit image, it is unknown which value is white, unless all lie between 0 and 255."""
    grey = picture(2).convert("L")
    outcome = values_or_refusal(ImageError, grey.convert(mode))
    if isinstance(outcome, str):
        assert mode in outcome
        return
    assert_close(outcome, values_of(grey), 1e-2)


def test_animated_picture_is_its_first_frame(tmp_path: Path) -> None:
    frames = [picture(seed).convert("P", palette=Image.Palette.ADAPTIVE) for seed in range(3)]
    path = saved(frames[0], tmp_path, "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(path) as animation:
        assert animation.n_frames == 3
        first = animation.convert("RGB")
    np.testing.assert_array_equal(values_of(path), values_of(first))
    with Image.open(path) as animation:
        np.testing.assert_array_equal(values_of(animation), values_of(first))
        assert animation.tell() == 0
        animation.seek(2)
        values_of(animation)
        assert animation.tell() == 2, "the caller's image must stay at its frame"


@pytest.mark.parametrize("name", ["boat.png", "boat.jpg", "boat.webp", "böat one.png"])
@pytest.mark.parametrize("kind", [str, Path])
def test_picture_by_path(name: str, kind: Callable[[Path], Any], tmp_path: Path) -> None:
    path = saved(picture(1), tmp_path, name)
    with Image.open(path) as image:
        expected = values_of(image.convert("RGB"))
    np.testing.assert_array_equal(values_of(kind(path)), expected)
    path.unlink()  # The file must not be held open.


@pytest.mark.parametrize("kind", [str, Path])
def test_missing_picture(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    assert "absent.png" in refusal_of(ImageError, kind(tmp_path / "absent.png"))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n", None])
def test_unreadable_picture(content: bytes | None, tmp_path: Path) -> None:
    """Not an image, only the start of one, or a folder: the message names the file."""
    path = tmp_path / "bad.png"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert "bad.png" in refusal_of(ImageError, path)


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_truncated_picture(name: str, tmp_path: Path) -> None:
    """Pillow reads the header at once and the pixels later, so the error is raised late."""
    path = saved(picture(1), tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert name in refusal_of(ImageError, path)
    with Image.open(path) as image:
        refusal_of(ImageError, image)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_picture_without_pixels(size: tuple[int, int]) -> None:
    message = refusal_of(ImageError, Image.new("RGB", size))
    assert str(size[0]) in message
    assert str(size[1]) in message
    assert "0" in refusal_of(ImageError, np.zeros((*size, 3), np.uint8))


def test_smallest_picture() -> None:
    assert np.isfinite(values_of(Image.new("RGB", (1, 1), "red"))).all()


@pytest.mark.parametrize(
    "image", [None, 3, b"bytes", [[1, 2]], object(), {"image": 1}, ""], ids=lambda x: repr(x)[:10]
)
def test_picture_of_an_unknown_kind(image: object) -> None:
    message = refusal_of(ImageError, image)
    assert type(image).__name__ in message or repr(image) in message


def test_picture_as_tensor() -> None:
    """A tensor must look like the output of preprocessing; any other is refused."""
    pixels = preprocess_for(MODEL)(picture())
    for tensor in (pixels, pixels[None]):
        np.testing.assert_array_equal(values_of(tensor), values_of(picture()))
    assert "(48, 64, 3)" in refusal_of(ImageError, torch.from_numpy(scene(1)))
    assert "int64" in refusal_of(ImageError, pixels.long())
    assert "NaN" in refusal_of(ImageError, pixels / 0)
    assert "(3, 8, 8)" in refusal_of(ImageError, pixels[:, :8, :8])


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a,
        lambda a: np.dstack([a, np.full(a.shape[:2], 255, np.uint8)]),
        lambda a: np.asfortranarray(a),
        lambda a: np.concatenate([a, a], axis=1)[:, : a.shape[1]],
        lambda a: a[::-1, ::-1][::-1, ::-1],
        lambda a: a.astype(np.float32) / 255,
        lambda a: a / 255,
    ],
    ids=["rgb", "rgba", "fortran", "view", "strides", "float32", "float64"],
)
def test_picture_as_array(change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = change(scene(1))
    before = array.copy()
    np.testing.assert_array_equal(values_of(array), values_of(picture(1)))
    np.testing.assert_array_equal(array, before)


def test_grey_arrays() -> None:
    grey = np.asarray(picture(1).convert("L"))
    expected = values_of(Image.fromarray(grey))
    np.testing.assert_array_equal(values_of(grey), expected)
    np.testing.assert_array_equal(values_of(grey.astype(np.float32) / 255), expected)


def test_one_channel_array() -> None:
    grey = np.asarray(picture(1).convert("L"))
    outcome = values_or_refusal(ImageError, grey[:, :, None])
    if isinstance(outcome, str):
        assert "(48, 64, 1)" in outcome
        return
    np.testing.assert_array_equal(outcome, values_of(grey))


@pytest.mark.parametrize(
    ("array", "like"),
    [
        (scene(1) > 127, (scene(1) > 127) * np.uint8(255)),
        (scene(1).astype(np.uint16) * 257, scene(1)),
        (scene(1).astype(np.int64), scene(1)),
        (scene(1).astype(np.int32), scene(1)),
        ((scene(1) // 2).astype(np.int8), scene(1) // 2),
        ((scene(1) / 255).astype(np.float16), scene(1)),
    ],
    ids=["bool", "uint16", "int64", "int32", "int8", "float16"],
)
def test_arrays_of_other_dtypes(array: np.ndarray, like: np.ndarray) -> None:
    """Either the error names the dtype, or the array is read in the only sensible way."""
    outcome = values_or_refusal(ImageError, array)
    if isinstance(outcome, str):
        assert array.dtype.name in outcome
        return
    assert_close(outcome, values_of(like), 2e-2)


@pytest.mark.parametrize(
    "array",
    [
        np.full((8, 8, 3), 1.5),
        np.full((8, 8, 3), 200.0, np.float32),
        np.full((8, 8, 3), -0.5),
    ],
    ids=["above", "bytes", "below"],
)
def test_float_arrays_out_of_range(array: np.ndarray) -> None:
    message = refusal_of(ImageError, array)
    assert "0" in message
    assert "1" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_is_found(value: float) -> None:
    array = scene(1).astype(np.float32) / 255
    array[17, 5, 1] = value
    message = refusal_of(ImageError, array).lower()
    assert "nan" in message or "inf" in message


@pytest.mark.parametrize("shape", [(), (8,), (8, 8, 2), (8, 8, 5), (3, 8, 8), (1, 8, 8, 3), (8, 8, 0)])
def test_array_of_another_shape(shape: tuple[int, ...]) -> None:
    assert str(shape) in refusal_of(ImageError, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [object, str, complex, "datetime64[s]"])
def test_array_of_no_numbers(dtype: Any) -> None:
    array = np.zeros((8, 8, 3), dtype)
    assert str(array.dtype) in refusal_of(ImageError, array)
