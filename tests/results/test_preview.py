"""What a notebook shows for a result: its tinted caption, its heat map, and nothing that could run."""

from __future__ import annotations

import base64
import io
import pickle
from dataclasses import replace
from types import SimpleNamespace

import IPython
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image
from support.pages import Document
from support.results import result_of, tokens_of

from exclip_widget import Interactions, demo
from exclip_widget.results import View
from exclip_widget.results.colormap import colormap, colors_at
from exclip_widget.results.origin import Crop
from exclip_widget.results.preview import SIDE


def shown(result: Interactions) -> Document:
    data, _ = DisplayFormatter().format(result, include=["text/html", "text/plain"])
    assert data["text/plain"] == repr(result)
    return Document(data["text/html"])


def test_words_have_their_tints() -> None:
    result = demo.example()
    page = shown(result)
    assert page.all("span") == result.caption.split()
    tint = result.tint()
    values = np.array([tint[list(result[word])].sum() for word in page.all("span")])
    colors = colors_at(values / np.abs(values).max(), colormap())
    styles = [str(attributes["style"]) for name, attributes in page.elements if name == "span"]
    expected = [f"background:rgb({red},{green},{blue});" for red, green, blue in colors.tolist()]
    assert [style[: len(start)] for style, start in zip(styles, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("view", "size"),
    [
        (None, (SIDE, 144)),
        (View((80, 60)), (SIDE, 144)),
        (View((200, 50), (0.25, 0.0, 0.5, 1.0)), (SIDE, 96)),
    ],
)
def test_the_heat_map_has_a_pixel_for_each_patch(view: View | None, size: tuple[int, int]) -> None:
    result = result_of(view=view)
    page = shown(result)
    (image,) = (attributes for name, attributes in page.elements if name == "img")
    assert (image["width"], image["height"]) == tuple(map(str, size))
    data = base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,"))
    heat = result.heat()
    colors = colors_at(heat / np.abs(heat).max(), colormap())
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(picture, colors)
    # Frontends that show no HTML get a picture of the same size.
    bundle, _ = DisplayFormatter().format(result, include=["image/png"])
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as picture:
        assert picture.size == size
        corners = np.asarray(picture)[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_array_equal(corners, colors[[0, 0, -1, -1], [0, -1, 0, -1]])


def test_a_difference_says_so() -> None:
    difference = result_of() - result_of("a blue boat on a blue sea", seed=1)
    page = shown(difference)
    assert "red − blue" in page.all("span")
    assert any(text.startswith("difference of similarities") for text in page.all("div"))


def test_markup_stays_text() -> None:
    text = "<img/src=x/onerror=alert(1)>"
    page = shown(result_of(tokens=tokens_of(f"a {text} boat", special=False), method=text))
    assert text in page.all("span")
    assert [name for name, _ in page.elements].count("img") == 1


@pytest.mark.parametrize(
    "result",
    [result_of(values=np.full((9, 3, 4), np.nan, np.float32)), result_of(tokens=tokens_of(""))],
)
def test_what_has_no_picture_is_shown_in_words(result: Interactions) -> None:
    shown = result._repr_mimebundle_()
    text, reason = shown.pop("text/plain").split("\nwithout a heat map: ")
    assert text == repr(result)
    assert "finite" in reason or "word" in reason
    assert not shown


def test_it_is_small() -> None:
    result = result_of(rows=32, columns=32, tokens=tokens_of("a b " * 30))
    assert len(result._repr_mimebundle_()["text/html"]) < 30_000


def with_picture(size: tuple[int, int] = (80, 60), crop: Crop = (0, 0, 1, 1)) -> Interactions:
    """Return a result that still has its image: red on the left, blue on the right."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return result_of(view=View.of(image, crop), values=np.zeros((9, 3, 4), np.float32))


def picture_of(result: Interactions) -> np.ndarray:
    data = base64.b64decode(result._repr_mimebundle_()["image/png"])
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def test_the_image_lies_under_the_heat_map_while_it_is_at_hand() -> None:
    result = with_picture()
    seen = picture_of(result)
    assert seen[72, 40].tolist() == [255, 0, 0]
    assert seen[72, 150].tolist() == [0, 0, 255]
    # The same holds for a copy, and for a result with other values.
    assert picture_of(pickle.loads(pickle.dumps(result)))[72, 40].tolist() == [255, 0, 0]
    hot = replace(result, values=np.ones((9, 3, 4), np.float32))
    assert picture_of(hot)[72, 40].tolist() != [255, 0, 0]


def test_what_lies_beyond_the_image_is_black() -> None:
    seen = picture_of(with_picture(crop=(0, -0.5, 1, 2)))
    assert seen[2, 40].tolist() == [0, 0, 0]
    assert seen[len(seen) // 2, 20].tolist() == [255, 0, 0]


def test_a_large_image_makes_no_large_preview() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3000, 4000, 3), dtype=np.uint8)
    result = result_of(view=View.of(Image.fromarray(noise)))
    assert len(result._repr_mimebundle_()["text/html"]) < 40_000


def test_a_kernel_that_has_the_image_shows_the_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    shown = with_picture()._repr_mimebundle_()
    assert shown["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert {"text/plain", "text/html", "image/png"} <= set(shown)  # for viewers without a kernel
    assert "application/vnd.jupyter.widget-view+json" not in result_of()._repr_mimebundle_()
    difference = with_picture() - with_picture()
    assert "application/vnd.jupyter.widget-view+json" not in difference._repr_mimebundle_()
