"""Uploads: images that arrive from a browser in chunks, and cannot be trusted."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.widgets import answer, book, file_of, line, make, until, upload, working

from exclip_widget import ImageError, explain
from exclip_widget.widget.protocol import read_message
from exclip_widget.widget.uploads import MOST_BYTES, Uploads

PAGES = book().pages


def test_upload_in_parts() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise))
    assert len(data) > 2 * 2**20
    widget = make()
    widget.tokens = [2]
    upload(widget, 3, data)
    assert answer(widget, 3) == {"kind": "accepted", "question": 3}
    np.testing.assert_array_equal(np.asarray(widget.image), noise)
    expected = explain(book().model, noise, PAGES[0].caption, tokenizer=book().tokenizer, method="exclip")
    np.testing.assert_allclose(widget.wait(60).values, expected.values, rtol=1e-3, atol=1e-6)
    assert widget.tokens == [2]


def test_an_image_that_is_sent_again_changes_nothing() -> None:
    """A browser that misses an answer sends the image again under its number."""
    widget = make()
    widget.wait(60)
    boat, fish = (file_of(Image.new("RGB", (24, 24), colour)) for colour in ("red", "blue"))
    with widget.lock:  # the worker cannot read the first before the second arrives
        upload(widget, 7, boat)
        upload(widget, 7, boat)
    accepted = {"kind": "accepted", "question": 7}
    assert answer(widget, 7) == accepted
    result, request = widget.wait(60), widget._request
    line(widget).says({"kind": "test", "question": 8, "tokens": [2], "region": []})
    answer(widget, 8)
    upload(widget, 7, boat)  # shown already
    assert line(widget).of_kind("accepted", "refused")[-1] == accepted
    assert widget.wait(60) is result
    assert widget._request == request
    assert len(widget._tests) == 1
    upload(widget, 9, fish)
    answer(widget, 9)
    widget.wait(60)
    upload(widget, 7, boat)  # not the newest any more
    assert line(widget).of_kind("accepted", "refused")[-1] == accepted
    until(lambda: not working())
    assert widget.image.getpixel((0, 0)) == (0, 0, 255)


def test_uploaded_picture_is_upright_and_opaque() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    widget = make()
    upload(widget, 1, file_of(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif))
    answer(widget, 1)
    assert widget.image.size == (20, 40)
    upload(widget, 2, file_of(Image.new("RGBA", (8, 8), (0, 0, 0, 0))))
    answer(widget, 2)
    assert widget.image.getpixel((0, 0)) == (255, 255, 255)


def test_uploaded_picture_with_damaged_exif_data_is_read_as_it_is() -> None:
    widget = make()
    upload(widget, 1, file_of(Image.new("RGB", (40, 20), "red"), exif=b"garbage"))
    assert answer(widget, 1) == {"kind": "accepted", "question": 1}
    assert widget.image.size == (40, 20)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG whose header declares this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT" + zlib.compress(b"x"))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


WHOLE = file_of(PAGES[1].image)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SVG, "SVG"),
        (b"\xef\xbb\xbf <svg/>", "SVG"),
        (b"%PDF-1.4 hello", "in a supported format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "in a supported format"),
        (b"<html><script>alert(1)</script>", "in a supported format"),
        (b"", "empty"),
        (b"x", "in a supported format"),
        (WHOLE[: len(WHOLE) // 2], "cannot be read"),
        (WHOLE[:100] + bytes(100) + WHOLE[200:], "cannot be read"),
        (png_header(20_000, 10_000), "too large|at most"),
        (png_header(10_000, 10_000), "too large|at most"),
        (png_header(2**31 - 1, 2**31 - 1), "too large|at most"),
    ],
)
def test_bad_pictures_are_refused_in_words(data: bytes, words: str) -> None:
    widget = make()
    result = widget.wait(60)
    picture = widget.image
    upload(widget, 1, data, name="<img src=x onerror=alert(1)>\ud800.png" + "x" * 500)
    refused = answer(widget, 1)
    assert refused["kind"] == "refused"
    assert any(word in refused["message"] for word in words.split("|")), refused["message"]
    assert len(refused["message"]) < 400
    assert widget.image is picture
    assert widget.wait(1) is result


def chunk(number: int = 1, offset: int = 0, size: int = 10, data: bytes = b"12345") -> Any:
    message = {"kind": "upload", "question": number, "offset": offset, "bytes": size, "name": "x.png"}
    return read_message(message, [data])


def test_fifty_megabytes_are_refused_at_the_first_chunk() -> None:
    uploads = Uploads()
    with pytest.raises(ImageError, match="50 MiB; expected at most 32"):
        uploads.add(chunk(size=50 * 2**20))
    assert uploads.add(chunk(size=50 * 2**20, offset=5)) is None  # refused only once
    assert uploads.add(chunk(size=MOST_BYTES, data=bytes(2**20))) is None


def test_chunks_in_order_make_a_file() -> None:
    uploads = Uploads()
    assert uploads.add(chunk()) is None
    assert uploads.add(chunk(offset=2, data=b"345")) is None  # has arrived before
    file = uploads.add(chunk(offset=5, data=b"67890"))
    assert file is not None
    assert file.data == b"1234567890"
    assert uploads.add(chunk(offset=5)) is None  # arrives late


def test_chunks_that_are_missing_are_missed_once() -> None:
    uploads = Uploads()
    uploads.add(chunk())
    with pytest.raises(ImageError, match="did not arrive complete"):
        uploads.add(chunk(offset=6))
    assert uploads.add(chunk(offset=5)) is None
    with pytest.raises(ImageError, match="did not arrive complete"):
        uploads.add(chunk(number=2, offset=5))
    assert uploads.add(chunk(number=2, offset=7)) is None
    with pytest.raises(ImageError, match="did not arrive complete"):
        uploads.add(chunk(number=3, size=4))


def test_a_new_upload_takes_the_place_of_another() -> None:
    uploads = Uploads()
    uploads.add(chunk())
    assert uploads.add(chunk(number=2, size=5)) is not None
    with pytest.raises(ImageError, match="did not arrive complete"):
        uploads.add(chunk(offset=5))
    assert uploads.add(chunk(size=5)) is not None  # the page was reloaded and counts from one again


def test_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    widget = make()
    upload(widget, 1, buffer.getvalue(), "x.gif")
    answer(widget, 1)
    assert widget.image.getpixel((3, 3)) == (255, 0, 0)
