"""Every Pillow mode, path, URL and open file is read correctly or refused with a clear error."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from exclip_widget.errors import ImageError
from exclip_widget.image import open_image


def smooth(size: tuple[int, int] = (64, 48)) -> Image.Image:
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 255, (6, 8, 3), np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )


IMAGE = smooth()
GREY = IMAGE.convert("L")


def difference(found: Image.Image, wanted: Image.Image) -> float:
    return float(np.abs(np.asarray(found, int) - np.asarray(wanted.convert("RGB"), int)).mean())


@pytest.mark.parametrize("mode", Image.MODES)
def test_each_mode_of_this_pillow_is_read_or_refused(mode: str) -> None:
    source = Image.new(mode, (4, 3))
    before = source.tobytes()
    try:
        read: Image.Image | str = open_image(source)
    except ImageError as refusal:
        read = str(refusal)
    if isinstance(read, str):
        assert mode in read
    else:
        assert (read.mode, read.size) == ("RGB", (4, 3))
    assert source.tobytes() == before


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_colours_survive_a_mode(mode: str) -> None:
    source = IMAGE.convert("RGBA").convert("RGBa") if mode == "RGBa" else IMAGE.convert(mode)
    assert difference(open_image(source), IMAGE) < 4


@pytest.mark.parametrize("mode", ["L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"])
def test_greys_survive_a_mode(mode: str) -> None:
    if mode == "La":
        source = GREY.convert("LA").convert("La")
    elif mode.startswith("I;16"):
        deep = (np.asarray(GREY).astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else "<u2")
        source = Image.frombytes(mode, GREY.size, deep.tobytes())
    else:
        source = GREY.convert(mode)
    assert difference(open_image(source), GREY) <= 1


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "PA"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    clear = Image.new("RGBA", (2, 1))
    if mode == "La":
        clear = clear.convert("LA").convert("La")
    elif mode == "PA":
        clear = Image.new("PA", (2, 1), (7, 0))
    else:
        clear = clear.convert(mode)
    assert open_image(clear).getpixel((0, 0)) == (255, 255, 255)


def test_a_palette_with_alpha_of_its_own() -> None:
    source = Image.new("P", (2, 1))
    source.putpalette([10, 20, 30, 0, 40, 50, 60, 255], "RGBA")
    source.putpixel((1, 0), 1)
    read = open_image(source)
    assert [read.getpixel((at, 0)) for at in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_a_png_with_one_transparent_colour(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        source = Image.fromarray(np.array([[1000, 2000]], np.uint16))
    else:
        source = Image.new(mode, (2, 1), 0)
        source.putpixel((1, 0), 1 if mode != "RGB" else (1, 1, 1))
    clear: Any = {"RGB": (0, 0, 0), "I;16": 1000}.get(mode, 0)
    source.save(tmp_path / "a.png", transparency=clear)
    read = open_image(tmp_path / "a.png")
    assert read.getpixel((0, 0)) == (255, 255, 255)
    assert mode in ("1", "P") or read.getpixel((1, 0)) != (255, 255, 255)


RAMP = np.linspace(0, 1, 64)[None].repeat(8, 0)


@pytest.mark.parametrize(
    "levels",
    [
        (2 * RAMP - 1).astype(np.float32),
        (1.5 * RAMP).astype(np.float32),
        (254.5 * RAMP).astype(np.float32),
        (1000 * RAMP).astype(np.float32),
        (65535 * RAMP).astype(np.float32),
        np.full((4, 4), np.nan, np.float32),
        np.full((4, 4), np.inf, np.float32),
        (1e6 * RAMP).astype(np.int32),
        (1000 * RAMP).astype(np.int32),
        (1000 * RAMP - 500).astype(np.int32),
    ],
)
def test_numbers_whose_white_is_unknown_are_refused(levels: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"expected 0 to|NaN or infinite"):
        open_image(Image.fromarray(levels))


def test_numbers_whose_white_is_known() -> None:
    wanted = np.round(RAMP * 255).astype(np.uint8)
    for source in (
        Image.fromarray(RAMP.astype(np.float32)),
        Image.fromarray((RAMP * 255).round().astype(np.float32)),
        Image.fromarray((RAMP * 255).round().astype(np.int32)),
        RAMP,
        RAMP.astype(np.float16),
        np.round(RAMP * 65535).astype(">u2"),
        np.round(RAMP * 65535).astype("<u2"),
        np.ma.masked_array(RAMP, mask=False),
    ):
        found = np.asarray(open_image(source))[..., 0]
        assert np.abs(found.astype(int) - wanted).max() <= 1


def test_masked_values_are_refused() -> None:
    with pytest.raises(ImageError, match="masked"):
        open_image(np.ma.masked_less(RAMP, 0.5))


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.png",
        "http://a/b.jpg",
        "s3://bucket/a",
        "FILE:///a.png",
        "data:image/png;base64,AA",
    ],
)
def test_an_address_is_not_fetched(address: str) -> None:
    with pytest.raises(ImageError, match="URLs are not fetched"):
        open_image(address)


def test_a_path_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    IMAGE.save(tmp_path / "a.png")
    for path in ("~/a.png", Path("~/a.png")):
        assert difference(open_image(path), IMAGE) == 0
    with pytest.raises(ImageError, match=r"~/b\.png"):
        open_image("~/b.png")
    monkeypatch.chdir(tmp_path)
    GREY.save("~b.png")
    assert difference(open_image("~b.png"), GREY) == 0, "a file name may start with a tilde"


@pytest.mark.parametrize("path", ["", "a\0b", "~nobody-of-this-name/a.png", b"a.png", "x" * 5000])
def test_a_path_that_leads_nowhere(path: Any) -> None:
    with pytest.raises(ImageError):
        open_image(path)


def test_an_open_file(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        file.seek(5)
        assert difference(open_image(file), IMAGE) == 0
        assert (file.tell(), file.closed) == (5, False)
    with pytest.raises(ImageError, match="closed"):
        open_image(file)
    with (tmp_path / "a.png").open(encoding="latin1") as text, pytest.raises(ImageError, match="'rb'"):
        open_image(text)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"io\.BytesIO"):
        open_image((tmp_path / "a.png").read_bytes())  # type: ignore[arg-type]


def test_an_open_file_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    IMAGE.save(file, "png", exif=exif)
    assert difference(open_image(file), IMAGE.transpose(Image.Transpose.ROTATE_270)) == 0
    assert ImageOps.exif_transpose(Image.open(file)).size == open_image(file).size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_turned_upright_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    IMAGE.save(file, "png", exif=exif)
    read = open_image(file)
    assert difference(read, ImageOps.exif_transpose(Image.open(file))) == 0
    assert difference(ImageOps.exif_transpose(read), read) == 0


def jpeg(exif: bytes) -> bytes:
    file = io.BytesIO()
    IMAGE.save(file, "jpeg", exif=b"Exif\0\0" + exif)
    return file.getvalue()


def png_with(kind: bytes, data: bytes) -> bytes:
    """Return a PNG with a further chunk before its pixels."""
    file = io.BytesIO()
    IMAGE.save(file, "png")
    whole = file.getvalue()
    at = whole.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return whole[:at] + chunk + whole[at:]


DAMAGED = {
    "cut in its header": jpeg(b"MM"),
    "cut in its first address": jpeg(b"MM\0*\0\0"),
    "garbage": jpeg(b"garbage!"),
    "zeros": jpeg(bytes(20)),
    "another number than TIFF's": jpeg(b"II\x2b\0\x08\0\0\0"),
    "printed bytes": jpeg(rb"b'Exif\x00\x00MM"),
    "PNG": png_with(b"eXIf", b"garbage"),
    "hexadecimal": png_with(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzzzz\n"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_with_damaged_exif_data_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DAMAGED[name])
    for source in (tmp_path / "a", io.BytesIO(DAMAGED[name]), Image.open(tmp_path / "a")):
        assert difference(open_image(source), Image.open(tmp_path / "a")) == 0


@pytest.mark.parametrize(("tag", "kind"), [(0x0132, 11), (0x02BC, 11)])
def test_an_orientation_beside_damaged_exif_data_is_followed(tag: int, kind: int) -> None:
    """Pillow can read such data, but not write it again."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHII", tag, kind, 1, 38)
    data = jpeg(b"MM\0*\0\0\0\x08\0\x02" + entries + bytes(4) + b"\xff\0\0\1" * 4)
    with pytest.raises(Exception, match=r"."):
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    wanted = Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_270)
    assert difference(open_image(io.BytesIO(data)), wanted) == 0


def test_a_lack_of_memory_for_exif_data_is_not_taken_for_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def getexif(_: Image.Image) -> None:
        raise MemoryError("no memory left")

    data = jpeg(b"MM")
    monkeypatch.setattr(Image.Image, "getexif", getexif)
    with pytest.raises(ImageError, match="no memory left"):
        open_image(io.BytesIO(data))


def test_a_closed_image_is_refused(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(ImageError, match="the PIL image cannot be read"):
        open_image(image)
