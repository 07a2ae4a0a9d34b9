"""Figures on matplotlib axes: what is drawn, where, and in which colours."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from support.libraries import hide_library
from support.pictures import assert_is_kept, draw, is_alike
from support.results import result_of

from exclip_widget import ImageError, MissingLibraryError, ParameterError
from exclip_widget.results import Interactions, View
from exclip_widget.results.colormap import PALETTES, colormap, colors_at, is_dark, opacity
from exclip_widget.results.figures import register_colormaps

mpl.use("agg")
import matplotlib.pyplot as plt

from exclip_widget.results.paper_figure import PaperFigure

COLORS = json.loads((Path(__file__).parents[1] / "algebra" / "colors.json").read_text())
MARKUP = r"50% $x_1$ <b>&amp; \rm{a} ~ ^ # | -- `` ''"
RESULT = result_of("a red boat")
NOT_FINITE = result_of("a red boat", values=np.where(RESULT.values > 0, RESULT.values, np.nan))
IMAGE = Image.new("RGB", (80, 60), (200, 100, 50))


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def texts_in(axes: Any) -> list[Any]:
    return list(axes.texts)


# ---------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("example", COLORS, ids=lambda example: f"{example['palette']} {example['theme']}")
def test_colours_are_those_of_the_widget(example: dict[str, Any]) -> None:
    """`js/test/colormap.test.ts` checks the widget's colours against the same examples."""
    at = np.array(example["at"])
    colors = colormap(example["palette"], example["theme"])
    np.testing.assert_array_equal(colors_at(at, colors), example["colors"])
    np.testing.assert_allclose(opacity(at), example["opacity"], atol=1e-12)


def test_there_are_examples_of_all_colours() -> None:
    known = {(example["palette"], example["theme"]) for example in COLORS}
    assert known == {(palette, theme) for palette in PALETTES for theme in ("light", "dark")}


def test_colours_beyond_the_ends_are_those_of_the_ends() -> None:
    colors = colormap("blue-orange")
    np.testing.assert_array_equal(colors_at(np.array([-9.0, 9.0]), colors), colors[[0, -1]])
    np.testing.assert_array_equal(colors, colormap("blue–orange"))


@pytest.mark.parametrize("options", [("jet",), (3,), ("blue–orange", "grey")])
def test_colours_that_are_not_there(options: tuple[Any, ...]) -> None:
    with pytest.raises(ParameterError, match=r"(palette|theme)=.* is not one of"):
        colormap(*options)


def test_the_colour_maps_are_registered_with_matplotlib() -> None:
    register_colormaps()
    register_colormaps()
    found = mpl.colormaps["exclip_teal_ochre_dark"]
    np.testing.assert_allclose(found(0)[:3], colormap("teal–ochre", "dark")[0] / 255)
    np.testing.assert_allclose(found(1.0)[:3], colormap("teal–ochre", "dark")[-1] / 255)


# ------------------------------------------------------------------------------------------- the heat map


@pytest.mark.parametrize("image", [IMAGE, np.asarray(IMAGE), np.asarray(IMAGE.convert("L"))])
def test_the_heat_map_lies_on_the_patches(image: Any) -> None:
    result = result_of("a red boat", view=View((80, 60), (0.125, 0, 0.75, 1)))
    axes = result.plot(image, "red boat")
    below, above = axes.images
    assert tuple(below.get_extent()) == (0, 80, 60, 0)
    assert tuple(above.get_extent()) == (10, 70, 60, 0)
    assert axes.get_xlim() == (0, 80)
    assert axes.get_ylim() == (60, 0)
    heat = result.heat("red boat")
    drawn = np.asarray(above.get_array())
    fractions = heat / np.abs(heat).max()
    np.testing.assert_allclose(drawn[..., :3], colors_at(fractions, colormap()) / 255)
    np.testing.assert_allclose(drawn[..., 3], opacity(fractions))
    assert axes.get_title() == "red boat"


def test_a_scale_is_kept_and_figures_can_be_compared() -> None:
    drawn = np.asarray(RESULT.plot(IMAGE, "red", scale=1000).images[1].get_array())
    assert drawn[..., 3].max() < 0.01


def test_without_an_image_the_patches_are_drawn_alone() -> None:
    (only,) = RESULT.plot().images
    assert (np.asarray(only.get_array())[..., 3] == 1).all()
    bare = result_of("a red boat", view=None)
    assert bare.plot().get_xlim() == (0, 4)


def test_axes_that_are_given_are_drawn_on_and_returned() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert RESULT.plot(IMAGE, "boat", axes=left) is left
    assert len(left.images) == 2
    assert not right.images
    assert plt.get_fignums() == [figure.number]


# -------------------------------------------------------------------------------- the caption, the receipt


def test_words_stand_on_their_tints() -> None:
    axes = RESULT.plot(kind="caption", region=(0, 0, 40, 40))
    texts = texts_in(axes)
    assert [text.get_text() for text in texts] == ["a", "red", "boat"]
    tint = RESULT.tint((0, 0, 40, 40))[1:4]
    expected = colors_at(tint / np.abs(tint).max(), colormap())
    for text, color in zip(texts, expected, strict=True):
        np.testing.assert_allclose(text.get_bbox_patch().get_facecolor()[:3], color / 255)
        assert text.get_color() == ("white" if is_dark(color) else "black")


def test_long_captions_are_broken_into_lines_that_fit() -> None:
    axes = result_of(" ".join(f"word{n}" for n in range(30))).plot(kind="caption")
    axes.figure.draw_without_rendering()
    inside = axes.get_window_extent()
    places = [text.get_window_extent() for text in texts_in(axes)]
    assert len({round(place.y1) for place in places}) > 2
    assert all(place.x1 <= inside.x1 + 1 for place in places)
    for one, other in pairwise(places):
        assert other.x0 > one.x1 or other.y1 < one.y1  # in reading order, beside or below


def test_both() -> None:
    axes = RESULT.plot(IMAGE, "boat", (0, 0, 40, 40), kind="both")
    assert [text.get_text() for text in texts_in(axes)] == ["a", "red", "boat"]
    assert len(axes.images) == 2
    assert not axes.get_title()


LONG = " ".join(f"word{n}" for n in range(20))


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (200, 40), (40, 200)])
@pytest.mark.parametrize("caption", ["a boat", LONG])
def test_a_new_figure_is_as_high_as_what_is_in_it(size: tuple[int, int], caption: str) -> None:
    """The caption is right above the image, and there is no empty strip anywhere."""
    result = result_of(caption, view=View(size))
    axes = result.plot(Image.new("RGB", size), kind="both")
    figure = axes.figure
    figure.draw_without_rendering()
    texts, inside = [text.get_window_extent() for text in texts_in(axes)], axes.get_window_extent()
    margin = 0.06 * figure.dpi
    assert inside.y0 < margin
    assert figure.bbox.height - max(text.y1 for text in texts) < margin
    letters = max(text.height for text in texts)
    assert 0 < min(text.y0 for text in texts) - inside.y1 < letters
    assert inside.height / inside.width == pytest.approx(size[1] / size[0], rel=0.02)
    assert all(text.x1 <= inside.x1 + 1 for text in texts)
    # The same holds for a caption alone.
    alone = result.plot(kind="caption")
    alone.figure.draw_without_rendering()
    lowest = min(text.get_window_extent().y0 for text in texts_in(alone))
    assert 0 < lowest < letters


def test_a_caption_above_axes_that_are_given_makes_room_for_itself() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    result_of(LONG).plot(IMAGE, kind="both", axes=left)
    RESULT.plot(kind="receipt", axes=right)
    figure.draw_without_rendering()
    texts = [text.get_window_extent() for text in texts_in(left)]
    assert max(text.y1 for text in texts) <= figure.bbox.height
    assert min(text.y0 for text in texts) > left.get_window_extent().y1


# --------------------------------------------------------------------------------------- a grid of words


def test_a_heat_map_for_each_word_on_one_scale() -> None:
    result = result_of("a dog-fish on a sea")
    axes = result.plot(IMAGE, kind="words")
    cells = axes.child_axes
    assert [cell.get_title() for cell in cells] == ["a", "dog-fish", "on", "a", "sea"]
    rows = [[1], [2, 3], [4], [5], [6]]
    heats = [result.heat(one) for one in rows]
    most = max(np.abs(heat).max() for heat in heats)
    for cell, heat in zip(cells, heats, strict=True):
        below, above = cell.images
        assert tuple(below.get_extent()) == (0, 80, 60, 0)
        drawn = np.asarray(above.get_array())
        np.testing.assert_allclose(drawn[..., :3], colors_at(heat / most, colormap()) / 255)
        np.testing.assert_allclose(drawn[..., 3], opacity(heat / most))
    scaled = result.plot(IMAGE, kind="words", scale=1000).child_axes
    assert max(np.asarray(cell.images[1].get_array())[..., 3].max() for cell in scaled) < 0.01


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        ("red boat", ["red", "boat"]),
        (["red boat", "sea"], ["red boat", "sea"]),
        ([3, "red boat", re.compile("sea|blue")], ["boat", "red boat", "blue sea"]),
        (slice(None), ["<sot>", "a", "red", "boat", "on", "a", "blue", "sea", "<eot>"]),
        ("boat", ["boat"]),
    ],
)
def test_which_words_have_a_heat_map(words: Any, titles: list[str]) -> None:
    result = result_of("a red boat on a blue sea")
    assert [cell.get_title() for cell in result.plot(words=words, kind="words").child_axes] == titles


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 40])
@pytest.mark.parametrize("size", [(80, 60), (40, 90), (300, 60)])
def test_heat_maps_keep_apart_and_fill_the_figure(count: int, size: tuple[int, int]) -> None:
    result = result_of(" ".join(f"longer-word-number-{n}" for n in range(count)), view=View(size))
    new = result.plot(Image.new("RGB", size), kind="words")
    given = result.plot(kind="words", axes=plt.subplots(figsize=(4, 3))[1])
    for axes in (new, given):
        axes.figure.draw_without_rendering()
        inside = axes.get_window_extent()
        cells = [(cell.get_window_extent(), cell.title.get_window_extent()) for cell in axes.child_axes]
        assert len(cells) == count
        for cell, title in cells:
            assert cell.height / cell.width == pytest.approx(size[1] / size[0], rel=0.02)
            assert title.y0 >= cell.y1
            assert inside.x0 - 1 <= cell.x0 < cell.x1 <= inside.x1 + 1
            assert inside.y0 - 1 <= cell.y0 < title.y1 <= inside.y1 + 1
        for (one, title), (other, next_title) in pairwise(cells):
            # Letters that are only a few pixels high are rendered too wide.
            beside = other.x0 > one.x1 and next_title.x0 >= title.x1 - 0.1 * one.width
            assert beside or next_title.y1 <= one.y0 + 1
        if axes is new:
            assert max(cell.x1 for cell, _ in cells) - min(cell.x0 for cell, _ in cells) > 0.8 * inside.width
            highest, lowest = max(title.y1 for _, title in cells), min(cell.y0 for cell, _ in cells)
            assert highest - lowest > 0.7 * inside.height


@pytest.mark.parametrize("total", [0.1, float("nan")])
def test_the_bars_of_a_receipt_follow_each_other_to_the_similarity(total: float) -> None:
    result = result_of("a red boat", total=total)
    receipt = result.receipt("boat")
    axes = result.plot(words="boat", kind="receipt")
    bars = axes.patches
    at = 0.0
    for bar, value in zip(bars, receipt.parts.values(), strict=False):
        assert bar.get_x() == pytest.approx(at)
        assert bar.get_width() == pytest.approx(value)
        at += value
    assert (bars[-1].get_x(), bars[-1].get_width()) == (0, pytest.approx(result.similarity))
    assert at == pytest.approx(result.similarity)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [label for label, _ in receipt.lines] + ["similarity"]


def test_a_foil_difference_is_drawn_alike() -> None:
    difference = RESULT - result_of("a blue boat", seed=1)
    assert difference.plot(IMAGE, "red − blue").get_title() == "red − blue"
    labels = difference.plot(kind="receipt").get_yticklabels()
    assert labels[-1].get_text() == "difference of similarities"


@pytest.mark.parametrize("kind", ["heat", "words", "both", "caption", "receipt"])
def test_captions_are_text(kind: str) -> None:
    """Captions are neither formulas nor markup: SVG contains every letter as written, escaped."""
    result = result_of(MARKUP)
    words = None if kind == "caption" else [slice(1, -1)]
    image = IMAGE if kind in ("heat", "words", "both") else None
    with mpl.rc_context({"svg.fonttype": "none"}):
        axes = result.plot(image, words, kind=kind)
        file = io.StringIO()
        axes.figure.savefig(file, format="svg")
    written = re.sub(r"<!--.*?-->", "", file.getvalue(), flags=re.DOTALL)
    assert "&lt;b&gt;&amp;amp;" in written
    assert "<b>" not in written
    assert "$x_1$" in written


@pytest.mark.parametrize("kind", ["both", "caption"])
def test_a_word_that_is_wider_than_the_figure_is_made_to_fit(kind: str) -> None:
    axes = result_of("a " + "W" * 60 + " boat").plot(IMAGE if kind == "both" else None, kind=kind)
    axes.figure.draw_without_rendering()
    whole = axes.figure.bbox
    words = [text.get_window_extent() for text in axes.texts]
    assert all(whole.x0 <= word.x0 and word.x1 <= whole.x1 for word in words)
    if kind == "both":
        assert axes.get_window_extent().width > 0.7 * whole.width


@pytest.mark.parametrize("kind", ["words", "both", "caption", "receipt"])
def test_half_a_character_is_drawn_as_its_replacement(kind: str) -> None:
    result = result_of("a red\ud83d boat")
    axes = result.plot(None, None if kind == "caption" else [slice(None)], kind=kind)
    axes.figure.savefig(io.BytesIO(), format="pdf")
    shown = "".join(text.get_text() for text in axes.figure.findobj(mpl.text.Text))
    assert "\ufffd" in shown
    assert "\ud83d" not in shown


@pytest.mark.parametrize("kind", ["heat", "words", "both", "caption", "receipt"])
def test_a_byte_order_mark_is_drawn_as_nothing(kind: str) -> None:
    """Matplotlib raises an IndexError for it in a PDF; files that were read as plain UTF-8 begin with one."""
    marked = result_of("\ufeffa red\ufeff boat \ufeff")
    words = None if kind == "caption" else [slice(None)]
    image = IMAGE if kind in ("heat", "words", "both") else None
    axes = marked.plot(image, words, kind=kind)
    axes.figure.savefig(io.BytesIO(), format="pdf")
    shown = [text.get_text() for text in axes.figure.findobj(mpl.text.Text)]
    assert not any("\ufeff" in text for text in shown)
    if kind in ("caption", "both"):
        assert [text for text in shown if text in ("a", "red", "boat")] == ["a", "red", "boat"]


def test_fonts_are_those_that_journals_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """PDF and PostScript use TrueType, whoever saves the figure; the user's own figures are left alone."""

    def fonts(kind: str) -> set[bytes]:
        axes = RESULT.plot(kind="receipt")
        file = io.BytesIO()
        axes.figure.savefig(file, format=kind)
        with monkeypatch.context() as patch:
            patch.setattr(plt, "gcf", lambda: axes.figure)
            again = io.BytesIO()
            plt.savefig(again, format=kind)
        plt.close(axes.figure)
        pattern = rb"/Subtype /(Type\w+)|/FontType (\d+)"
        found = [{b"".join(one) for one in re.findall(pattern, part.getvalue())} for part in (file, again)]
        assert found[0] == found[1]
        return found[0]

    with mpl.rc_context({"pdf.compression": 0}):
        assert {b"Type0"} <= fonts("pdf") <= {b"Type0", b"Type1", b"Type2"}
        assert b"42" in fonts("ps")
    assert mpl.rcParams["pdf.fonttype"] == 3
    own = plt.figure()
    RESULT.plot(axes=own.subplots())
    assert type(own) is not PaperFigure
    plt.close(own)


# -------------------------------------------------------------------------------------- pictures, as seen

SCENE = Image.new("RGB", (80, 60), (150, 190, 210))
SCENE.paste((200, 40, 40), (10, 10, 40, 30))
SCENE.paste((230, 200, 60), (50, 35, 70, 55))

PICTURES: dict[str, tuple[Interactions, dict[str, Any]]] = {
    "heat": (RESULT, {"image": SCENE, "words": "boat"}),
    "heat, a part of the image": (
        result_of("a red boat", view=View((80, 60), (0.125, 0, 0.75, 1))),
        {"image": SCENE, "words": "red boat", "palette": "purple-green"},
    ),
    "patches alone": (RESULT, {"words": "red", "palette": "teal-ochre"}),
    "words": (RESULT, {"image": SCENE, "kind": "words"}),
    "both": (result_of("a red boat on a blue sea"), {"image": SCENE, "kind": "both"}),
    "caption": (RESULT, {"kind": "caption", "region": (0, 0, 40, 40)}),
    "receipt": (RESULT, {"kind": "receipt", "words": "boat"}),
    "difference": (RESULT - result_of("a blue boat", seed=1), {"image": SCENE, "kind": "both"}),
}


def plain(result: Interactions, options: dict[str, Any]) -> Any:
    """Draw a figure in matplotlib's own style and font, whatever the machine's settings."""
    with mpl.rc_context(dict(mpl.rcParamsDefault) | {"backend": "agg", "font.family": ["DejaVu Sans"]}):
        if options.get("kind") != "receipt":
            return result.plot(**options).figure
        # The place is fixed, because the width of labels, and so where bars begin, depends on the renderer.
        axes = plt.figure(figsize=(5, 2.4)).add_axes((0.4, 0.2, 0.5, 0.75))
        return result.plot(**options, axes=axes).figure


@pytest.mark.parametrize("name", PICTURES)
def test_figures_look_as_they_did(name: str) -> None:
    assert_is_kept(plain(*PICTURES[name]), name.replace(", ", "-").replace(" ", "-"))


def test_figures_that_show_something_else_are_told_apart() -> None:
    """The comparison's tolerance is smaller than the effect of any likely mistake."""
    kept = {name: draw(plain(*given)) for name, given in PICTURES.items()}
    for name, changes in (
        ("heat", {"words": "red"}),
        ("heat", {"palette": "purple-green"}),
        ("heat", {"scale": 0.1}),
        ("heat", {"image": SCENE.transpose(Image.Transpose.FLIP_TOP_BOTTOM)}),
        ("caption", {"region": None}),
        ("receipt", {"words": "red"}),
        ("words", {"words": ["red", "a", "boat"]}),
    ):
        result, options = PICTURES[name]
        assert not is_alike(draw(plain(result, options | changes)), kept[name]), (name, changes)
    result, options = PICTURES["heat, a part of the image"]
    other = draw(plain(result_of("a red boat"), options))
    assert not is_alike(other, kept["heat, a part of the image"])
    assert is_alike(draw(plain(*PICTURES["heat"])), kept["heat"])


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("result", "arguments", "error", "message"),
    [
        (RESULT, {"kind": "pie"}, ParameterError, "kind='pie' is not one of 'heat', 'words', 'both', 'cap"),
        (RESULT, {"kind": []}, ParameterError, r"kind=\[\] is not one of"),
        (RESULT, {"axes": 5}, ParameterError, r"axes is an int \(5\); expected matplotlib axes"),
        (RESULT, {"image": IMAGE, "kind": "receipt"}, ParameterError, "shows no image"),
        (RESULT, {"image": IMAGE.resize((40, 30))}, ImageError, "40 x 30 pixels; expected 80 x 60"),
        (RESULT, {"image": "boat.png"}, ImageError, "there is no image 'boat.png'"),
        (RESULT, {"image": np.zeros((60, 80, 2))}, ImageError, r"image has shape \(60, 80, 2\)"),
        (result_of(view=None), {"image": IMAGE}, ImageError, "from preprocessed pixels"),
        (RESULT, {"scale": 0}, ParameterError, "scale=0 is not a positive number"),
        (RESULT, {"palette": "jet"}, ParameterError, "palette='jet'"),
        (RESULT, {"words": "cat"}, ParameterError, "'cat' is not in the caption"),
        (RESULT, {"words": ["a", "cat"], "kind": "words"}, ParameterError, "'cat' is not in the caption"),
        (RESULT, {"words": [], "kind": "words"}, ParameterError, "choose"),
        (NOT_FINITE, {"kind": "words"}, ParameterError, "interactions of 'a red boat' are not finite"),
        (NOT_FINITE, {"kind": "caption"}, ParameterError, "are not finite"),
        (NOT_FINITE, {"kind": "receipt"}, ParameterError, "are not finite"),
        (RESULT, {"region": (0, 0, 900, 9)}, ParameterError, "reaches beyond the image"),
    ],
)
def test_what_cannot_be_drawn(
    result: Interactions, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        result.plot(**arguments)
    assert not plt.get_fignums()  # no empty figure is left


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_library("matplotlib", monkeypatch)
    with pytest.raises(MissingLibraryError, match=r"pip install 'exclip-widget\[plot\]'"):
        RESULT.plot()
