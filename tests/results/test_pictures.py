"""The most recently explained images are kept, as far as they fit."""

from __future__ import annotations

import pytest
from PIL import Image

from exclip_widget.lru_cache import LRUCache
from exclip_widget.results import View, pictures


@pytest.fixture(autouse=True)
def room_for_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_kept", LRUCache(pictures._bytes_of, 3 * 3 * 100))


def view_of(colour: str, side: int = 10) -> View:
    return View.of(Image.new("RGB", (side, side), colour))


def test_the_last_ones_are_at_hand() -> None:
    views = [view_of(colour) for colour in ("red", "green", "blue", "white")]
    assert [view.picture is None for view in views] == [True, False, False, False]
    known = views[1].picture
    assert known is not None
    assert known.getpixel((0, 0)) == (0, 128, 0)


def test_what_is_used_stays() -> None:
    red, green, _ = (view_of(colour) for colour in ("red", "green", "blue"))
    assert red.picture is not None
    view_of("white")
    assert green.picture is None
    assert red.picture is not None


def test_an_image_larger_than_the_room_is_not_kept() -> None:
    small = view_of("red")
    assert view_of("blue", side=40).picture is None
    assert small.picture is None


def test_one_image_is_kept_once() -> None:
    views = [view_of("red") for _ in range(5)]
    other = view_of("blue")
    assert all(view.picture is not None for view in (*views, other))


def test_a_view_without_a_hash_has_no_image() -> None:
    assert View((10, 10)).picture is None


def test_plain_images_of_the_same_pixels_lying_and_standing_are_two() -> None:
    lying, standing = (View.of(Image.new("RGB", size, "white")) for size in ((15, 10), (10, 15)))
    pictures = [lying.picture, standing.picture]
    assert [picture and picture.size for picture in pictures] == [lying.size, standing.size]
    assert lying.is_of_other_pixels(Image.new("RGB", (10, 15), "white"))
