"""An image beside a result is read as `explain` reads it, and compared with the one that was explained."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import ExifTags, Image
from support.results import result_of

from exclip_widget import ExplainWidget, write_page
from exclip_widget.image import open_image
from exclip_widget.results import Interactions, View

mpl.use("agg")
import matplotlib.pyplot as plt

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 80, 3), np.uint8)
GREY = RNG.integers(90, 110, (60, 80), np.uint8)
UPSIDE_DOWN = 3
"""The EXIF orientation of a photograph that was taken upside down."""


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def photograph() -> io.BytesIO:
    image, file = Image.fromarray(PIXELS), io.BytesIO()
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = UPSIDE_DOWN
    image.save(file, "png", exif=exif)
    return file


def half_transparent() -> Image.Image:
    image = Image.fromarray(PIXELS).convert("RGBA")
    image.putalpha(Image.fromarray(GREY))
    return image


def explained(image: Any) -> Interactions:
    return result_of("a red boat", view=View.of(open_image(image)))


def shown(axes: Any) -> np.ndarray:
    """Return the pixels of the image that axes show, in colours from 0 to 255."""
    picture = axes.get_images()[0]
    return np.asarray(picture.to_rgba(picture.get_array(), bytes=True))[..., :3]


@pytest.mark.parametrize(
    "image",
    [
        photograph(),
        half_transparent(),
        Image.fromarray(GREY.astype(np.uint16) << 8),
        Image.fromarray(GREY > 100),
        GREY,
        GREY > 100,
        PIXELS.astype(np.uint16) << 8,
        PIXELS / 255,
    ],
    ids=["turned file", "RGBA", "I;16", "1", "grey", "bool", "uint16", "float"],
)
def test_a_figure_shows_the_pixels_that_were_explained(image: Any) -> None:
    axes = explained(image).plot(image)
    np.testing.assert_array_equal(shown(axes), np.asarray(open_image(image)))


def test_a_figure_takes_the_path_of_an_image(tmp_path: Path) -> None:
    path = tmp_path / "photograph.png"
    path.write_bytes(photograph().getvalue())
    axes = explained(path).plot(str(path))
    np.testing.assert_array_equal(shown(axes), PIXELS[::-1, ::-1])


SHOWING: dict[str, Callable[[Interactions, Any, Path], Any]] = {
    "plot": lambda result, image, _: result.plot(image),
    "to_html": lambda result, image, folder: result.to_html(folder / "one.html", image),
    "write_page": lambda result, image, folder: write_page(folder / "all.html", [(result, image)]),
    "from_result": lambda result, image, _: ExplainWidget.from_result(result, image).close(),
}


@pytest.mark.parametrize("name", SHOWING)
@pytest.mark.parametrize(
    "other", [Image.open(photograph()), Image.new("RGB", (80, 60))], ids=["not turned", "another image"]
)
def test_other_pixels_are_told_at_the_line_that_shows_them(name: str, other: Any, tmp_path: Path) -> None:
    result = explained(photograph())
    with pytest.warns(UserWarning, match="different pixels from the one in which 'a red boat'") as told:
        SHOWING[name](result, other, tmp_path)
    # Old versions of traitlets warn of their own metadata whenever a widget is made.
    assert [one.filename for one in told if one.category is UserWarning] == [__file__]


@pytest.mark.parametrize("name", SHOWING)
def test_nothing_is_told_of_the_image_itself(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        SHOWING[name](explained(photograph()), photograph(), tmp_path)
