"""Pictures are found by image id, wherever they are; a missing or wrong one gets a clear message."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exclip_widget import ImageError, ParameterError
from exclip_widget.results.origin import View
from exclip_widget.widget import thumbnails
from exclip_widget.widget.thumbnails import SIDE, Thumbnails

RED = Image.new("RGB", (600, 300), (200, 30, 30))


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_thumbnail_is_a_small_jpeg_of_the_picture() -> None:
    small = decoded(Thumbnails({"a": RED}).thumbnail("a", View.of(RED)).jpeg)
    assert (small.format, small.size) == ("JPEG", (SIDE, SIDE // 2))
    assert np.abs(np.asarray(small).astype(int) - (200, 30, 30)).max() < 12


def test_a_folder_has_files_with_and_without_suffixes(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    RED.save(tmp_path / "1.jpg")
    RED.save(tmp_path / "2.png")
    RED.save(tmp_path / "train" / "3.png")
    pictures = Thumbnails(tmp_path)
    for key in ("1", "1.jpg", "2", "train/3", "train/3.png"):
        assert pictures.picture(key).size == (600, 300)


@pytest.mark.parametrize("key", ["../outside", "/etc/hostname", "no such", "a\0b", "x" * 5000])
def test_nothing_outside_a_folder_is_read(tmp_path: Path, key: str) -> None:
    RED.save(tmp_path / "outside.png")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ImageError, match="there is no picture"):
        Thumbnails(tmp_path / "pictures").picture(key)


def test_a_function_finds_pictures_and_its_errors_are_named() -> None:
    def find(key: str) -> Any:
        if key == "9":
            raise OSError("disk <full>")
        return RED

    pictures = Thumbnails(find)
    assert pictures.picture("a").size == (600, 300)
    with pytest.raises(ImageError, match=r"images\('9'\) raised OSError: disk <full>"):
        pictures.picture("9")


def test_what_is_missing_broken_or_of_another_size_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    with pytest.raises(ImageError, match="not of a format"):
        Thumbnails(tmp_path).thumbnail("broken")
    with pytest.raises(ImageError, match="no picture of 'b'"):
        Thumbnails({"a": RED}).thumbnail("b")
    with pytest.raises(ImageError, match="600 x 300 pixels; expected 96 x 96"):
        Thumbnails({"a": RED}).thumbnail("a", View((96, 96)))


def test_a_picture_of_other_pixels_than_were_explained_is_marked() -> None:
    edited = RED.copy()
    edited.putpixel((599, 299), (200, 30, 31))
    pictures = Thumbnails({"same": RED, "edited": edited})
    explained = View.of(RED)
    assert not pictures.thumbnail("same", explained).is_of_other_pixels
    assert pictures.thumbnail("edited", explained).is_of_other_pixels
    assert not Thumbnails({"unknown": edited}).thumbnail("unknown", View(RED.size)).is_of_other_pixels


@pytest.mark.parametrize(
    ("given", "message"),
    [("/no/such/folder", "is not a folder"), (5, "images is an int"), (RED, "images is a")],
)
def test_anything_else_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Thumbnails(given)


def test_thumbnails_are_made_once_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def find(key: str) -> Image.Image:
        found.append(key)
        return RED

    size = len(Thumbnails(find).thumbnail("a").jpeg)
    monkeypatch.setattr(thumbnails, "MOST_BYTES", 2 * size)
    found.clear()
    pictures = Thumbnails(find)
    for key in ("a", "b", "a", "c", "a", "b"):
        pictures.thumbnail(key)
    assert found == ["a", "b", "c", "b"]
