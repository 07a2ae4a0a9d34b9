"""Figures of results on matplotlib axes, in the widget's colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from ..checks import positive_number
from ..errors import ParameterError, named_type
from ..image import ImageLike
from .colormap import PALETTES, colormap, colors_at, is_dark, opacity
from .explained_image import read_explained_image
from .interactions import Interactions
from .latex import tinted
from .regions import Box, Region, view_box
from .selection import Rows, Words, rows_of_words, text_of
from .tables import require_library

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZES = {
    "heat": (3.3, 4.5),
    "words": (6.9, 9.0),
    "both": (3.3, 4.5),
    "caption": (5.0, 5.0),
    "receipt": (5.0, 2.4),
}
"""Width and height of a new figure of each kind, in inches; in most journals, 3.3 is one column and 6.9 two.

For an image, the height is an upper limit. Heat maps of words get as many rows as they need.
"""

IMAGELESS = ("caption", "receipt")
"""Kinds of figures that show no image."""

COLUMNS = 4
"""Heat maps side by side in a new figure of words."""

TITLE = 0.25
"""Inches above each heat map of a figure of words, for its title."""

GAP = 0.06
"""Space between heat maps, as a fraction of a column's width."""

MARGIN = 0.04
"""Inches around the contents of a new figure."""

MOST_OF_LINE = 0.95
"""Largest width of a word with its background, as a fraction of the axes' width."""

LINE, GAP_OF_WORDS = 1.5, 0.35
"""Distances between the lines and between the words of a tinted caption, in multiples of its font size."""


def register_colormaps() -> None:
    """Register the widget's colour maps with matplotlib. Registering them again is harmless.

    Their names are ``exclip_blue_orange``, ``exclip_purple_green`` and ``exclip_teal_ochre``, and the same
    with ``_dark`` for dark backgrounds.

    Raises
    ------
    MissingLibraryError
        If matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib
    >>> register_colormaps()
    >>> matplotlib.colormaps["exclip_blue_orange"].N
    513
    """
    matplotlib = require_library("matplotlib", "plot")
    colors = require_library("matplotlib.colors", "plot")
    for palette in PALETTES:
        for theme in ("light", "dark"):
            name = f"exclip_{palette.replace('–', '_')}{'_dark' if theme == 'dark' else ''}"
            if name not in matplotlib.colormaps:  # registering it again would warn
                matplotlib.colormaps.register(
                    colors.ListedColormap(colormap(palette, theme) / 255, name=name)
                )


def plot(
    result: Interactions,
    image: ImageLike | Literal[False] | None,
    words: Words,
    region: Region,
    *,
    kind: str,
    axes: Axes | None,
    scale: float | None,
    palette: str,
) -> Axes:
    """Draw a result; see `Interactions.plot`."""
    drawing = read_drawing(result, image, words, region, kind=kind, scale=scale, palette=palette)
    register_colormaps()
    if axes is not None:
        given: object = axes
        if not isinstance(given, require_library("matplotlib.axes", "plot").Axes):
            raise ParameterError(f"axes is {named_type(given)} ({given!r:.80}); expected matplotlib axes")
        drawing.draw(axes)
        return axes
    pyplot = require_library("matplotlib.pyplot", "plot")
    from .paper_figure import PaperFigure

    return drawing.draw_alone(pyplot.figure(FigureClass=PaperFigure, layout="constrained"))


@dataclass(frozen=True)
class Drawing:
    """What a figure shows, already validated: drawing it rejects nothing.

    Attributes
    ----------
    result : Interactions
        The result.
    kind : str
        A key of `SIZES`.
    pixels : np.ndarray or None
        The image, uint8, (height, width, 3).
    words, region : words, region
        As `Interactions.plot` takes them.
    heats : sequence of (str, np.ndarray)
        Each heat map, preceded by its words; an empty text for the whole caption.
    tints : (list of str, np.ndarray)
        The text of each word, and its tint as a signed fraction of the scale.
    scale : float or None
        Value of the strongest colour of the heat maps; None for the largest value.
    colors : np.ndarray
        The colours from -1 to 1.
    """

    result: Interactions
    kind: str
    pixels: UInt8[np.ndarray, "height width 3"] | None
    words: Words
    region: Region
    heats: Sequence[tuple[str, np.ndarray]]
    tints: tuple[list[str], np.ndarray]
    scale: float | None
    colors: UInt8[np.ndarray, "colors 3"]

    @property
    def aspect(self) -> float:
        """Ratio of a heat map's height to its width."""
        _, (width, height) = _places_of(self.result)
        return height / width

    def draw(self, axes: Axes) -> None:
        """Draw on axes, in the space they have."""
        if self.kind == "receipt":
            _draw_receipt(axes, self.result, self.words, self.region, self.colors)
        elif self.kind == "caption":
            axes.set_axis_off()
            _write_caption(axes, self, above=False)
        elif self.kind == "words":
            _draw_grid(axes, self)
        else:
            ((text, heat),) = self.heats
            _draw_heat(axes, self, heat)
            if self.kind == "both":
                _write_caption(axes, self, above=True)
            elif text:
                axes.set_title(text, parse_math=False)

    def draw_alone(self, figure: Figure) -> Axes:
        """Draw in an empty figure with constrained layout, and fit the figure to its contents."""
        width, most = SIZES[self.kind]
        height = most
        if self.kind == "words":
            columns = min(len(self.heats), COLUMNS)
            width *= columns / COLUMNS
            rows = ceil(len(self.heats) / columns)
            height = rows * (width / columns * self.aspect + TITLE) + 2 * MARGIN
        elif self.kind in ("heat", "both"):
            width = min(width, most / self.aspect)
            height = 2 * most  # for now, so that only the width is a limit
        figure.set_size_inches(width, height)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=MARGIN, h_pad=MARGIN)
        axes: Axes = figure.add_subplot()
        self.draw(axes)
        if self.kind in ("heat", "both", "caption"):
            figure.set_size_inches(width, self._height(axes))
        return axes

    def _height(self, axes: Axes) -> float:
        """Return the height that a new figure needs, in inches."""
        figure = _laid_out(axes)
        inside, whole = axes.get_window_extent(), axes.get_tightbbox()
        assert whole is not None
        if self.kind == "caption":
            needed = inside.y1 - min(text.get_window_extent().y0 for text in axes.texts)
        else:
            needed = whole.height - inside.height + self.aspect * inside.width
        return float(needed / figure.dpi + 2 * MARGIN)


def read_drawing(
    result: Interactions,
    image: ImageLike | Literal[False] | None,
    words: Words,
    region: Region,
    *,
    kind: str,
    scale: float | None,
    palette: str = "blue–orange",
) -> Drawing:
    """Validate what a figure shows, and return it.

    Raises
    ------
    ImageError, ParameterError
        As `Interactions.plot` does.
    """
    if kind not in tuple(SIZES):  # which also takes what has no hash
        raise ParameterError(f"kind={kind!r:.80} is not one of {', '.join(map(repr, SIZES))}")
    if kind in IMAGELESS and image is not None and image is not False:
        raise ParameterError(f"kind={kind!r} shows no image; leave image out, or give kind='both'")
    limit = None if scale is None else positive_number("scale", scale)
    if kind == "words":
        heats = [(_text_of(result, rows), result.heat(list(rows))) for rows in _parts_of(result, words)]
        limit = limit or max(float(np.abs(heat).max()) for _, heat in heats)
    else:
        heats = [("" if words is None else _text_of(result, result[words]), result.heat(words))]
    texts, tints = tinted_words(result, region, limit if kind == "caption" else None)
    return Drawing(
        result=result,
        kind=kind,
        pixels=None if kind in IMAGELESS else _pixels_of(result, image),
        words=words,
        region=region,
        heats=heats,
        tints=([drawable(text) for text in texts], tints),
        scale=limit,
        colors=colormap(palette),
    )


def drawable(text: str) -> str:
    r"""Return a text that matplotlib draws.

    It has no byte order marks, which have no width and break PDFs, and halves of characters are replaced.

    Examples
    --------
    >>> drawable("\ufeffa boat"), drawable("a \ud83d")
    ('a boat', 'a \ufffd')
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", text.replace("\ufeff", ""))


def _text_of(result: Interactions, rows: Rows) -> str:
    return drawable(text_of(result.rows, rows))


def _parts_of(result: Interactions, words: Words) -> list[Rows]:
    """Return the rows of each heat map: of each entry of a list, or else of each word in `words`."""
    if isinstance(words, (list, tuple)) and words:
        return [result[one] for one in words]
    numbers = result.words
    by_word = groupby(result[words], lambda row: numbers[row] if numbers[row] >= 0 else -1 - row)
    return [tuple(rows) for _, rows in by_word]


def latex(result: Interactions, region: Region, *, scale: float | None, palette: str) -> str:
    """Return the tinted caption in LaTeX; see `Interactions.latex`."""
    limit = None if scale is None else positive_number("scale", scale)
    texts, fractions = tinted_words(result, region, limit)
    return tinted(texts, colors_at(fractions, colormap(palette)))


def _pixels_of(result: Interactions, image: ImageLike | Literal[False] | None) -> np.ndarray | None:
    """Return the pixels to show beneath a heat map; None if there is no image."""
    if image is None:
        shown = None if result.view is None else result.view.picture
    else:
        shown = None if image is False else read_explained_image(result, image)[0]
    return None if shown is None else np.asarray(shown)


def _places_of(result: Interactions) -> tuple[Box, tuple[float, float]]:
    """Return the box of the patches, and the width and height of the drawing, in pixels of the image.

    If the image is unknown, the unit is a patch instead.
    """
    if result.view is None:
        size = float(result.grid.columns), float(result.grid.rows)
        return (0.0, 0.0, *size), size
    return view_box(result.view), result.view.size


def _draw_heat(axes: Axes, drawing: Drawing, heat: Float[np.ndarray, "rows columns"]) -> None:
    fractions = heat / (drawing.scale or float(np.abs(heat).max()) or 1.0)
    pixels = drawing.pixels
    alpha = opacity(fractions) if pixels is not None else np.ones_like(heat)
    shown = np.concatenate([colors_at(fractions, drawing.colors) / 255, alpha[..., None]], axis=-1)
    (left, top, right, bottom), (width, height) = _places_of(drawing.result)
    if pixels is not None:
        axes.imshow(pixels, extent=(0, width, height, 0))
    axes.imshow(shown, extent=(left, right, bottom, top), interpolation="nearest")
    outliers = drawing.result.outliers
    if outliers is not None and outliers.any():
        rows, columns = np.nonzero(outliers)
        x = left + (columns + 0.5) * (right - left) / heat.shape[1]
        y = top + (rows + 0.5) * (bottom - top) / heat.shape[0]
        for color, points in (("black", 2), ("white", 1)):  # a ring that is visible on any image
            axes.scatter(x, y, 16, facecolors="none", edgecolors=color, linewidths=points)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor("N")  # so that what is above it is at the top of the space given by a layout


def _draw_grid(axes: Axes, drawing: Drawing) -> None:
    """Draw each heat map in its own axes, row by row, in the number of columns that makes them largest."""
    axes.set_axis_off()
    figure = _laid_out(axes)
    inside = axes.get_window_extent()
    title = TITLE * figure.dpi
    count = len(drawing.heats)

    def width_with(columns: int) -> float:
        """Return how wide a heat map is with this many side by side."""
        height = inside.height / ceil(count / columns) - title
        return float(min(inside.width / columns, height / drawing.aspect))

    columns = max(range(1, count + 1), key=width_with)
    width = inside.width / columns * (1 - GAP)
    # The distance between rows and the height of a heat map, as fractions of the axes.
    step = min(1 / ceil(count / columns), (width * drawing.aspect + title) / inside.height)
    height = max(0.1 * step, step - title / inside.height)
    for number, (text, heat) in enumerate(drawing.heats):
        row, column = divmod(number, columns)
        cell = axes.inset_axes((column / columns, 1 - (row + 1) * step, (1 - GAP) / columns, height))
        _draw_heat(cell, drawing, heat)
        name: Any = cell.set_title(text, fontsize="small", parse_math=False, pad=3)
        name.set_fontsize(name.get_fontsize() / max(1, name.get_window_extent().width / width))


def _laid_out(axes: Axes) -> Any:
    """Lay out the figure of axes, and return it."""
    figure: Any = axes.figure.canvas.figure  # the whole figure, even from a subfigure, in every version
    figure.draw_without_rendering()
    return figure


def tinted_words(
    result: Interactions, region: Region, scale: float | None
) -> tuple[list[str], Float[np.ndarray, " words"]]:
    """Return the text of each word, and its tint as a signed fraction of the scale."""
    tint, words = result.tint(region), rows_of_words(result.rows)
    values = np.array([tint[list(rows)].sum() for rows in words], float)
    return [text_of(result.rows, rows) for rows in words], values / (
        scale or float(np.abs(values).max(initial=0)) or 1.0
    )


def _write_caption(axes: Axes, drawing: Drawing, *, above: bool) -> None:
    """Write words on backgrounds of their tints, in lines as wide as the axes: above or inside them.

    Positions are in points from the upper left corner, so words keep their distances if the axes change.
    """
    texts, fractions = drawing.tints
    # Captions are text: `parse_math` would read dollars as formulas.
    drawn: list[Any] = [
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 0),
            textcoords="offset points",
            annotation_clip=False,
            in_layout=False,
            parse_math=False,
            color="white" if is_dark(ground) else "black",
            bbox={"facecolor": ground / 255, "edgecolor": "none", "pad": 1.5},
        )
        for text, ground in zip(texts, colors_at(fractions, drawing.colors), strict=True)
    ]
    # A word that is wider than the axes would leave them no space.
    _laid_out(axes)
    width = MOST_OF_LINE * axes.get_window_extent().width
    for text in drawn:
        text.set_fontsize(text.get_fontsize() / max(1, text.get_window_extent().width / width))
        text.set_in_layout(above)
    # Making space for the lines may shrink the axes, and then the lines break elsewhere.
    for _ in range(3):
        points = 72 / _laid_out(axes).dpi
        before = [text.get_position() for text in drawn]
        _break_lines(drawn, axes.get_window_extent().width * points, points, above=above)
        if before == [text.get_position() for text in drawn]:
            break


def _break_lines(texts: Sequence[Any], width: float, points: float, *, above: bool) -> None:
    """Arrange texts in lines of a width in points; `points` is the size of a pixel."""
    lines: list[list[tuple[Any, float]]] = [[]]
    x = 0.0
    for text in texts:
        extent = text.get_window_extent().width * points
        if lines[-1] and x + extent > width:
            lines.append([])
            x = 0.0
        lines[-1].append((text, x))
        x += extent + GAP_OF_WORDS * text.get_fontsize()
    for number, line in enumerate(lines):
        # Of the baseline, in font sizes: a letter's depth above the edge, or its height below it.
        y = (len(lines) - 1 - number) * LINE + 0.6 if above else -number * LINE - 1
        for text, x in line:
            text.set_position((x, y * text.get_fontsize()))


def _draw_receipt(
    axes: Axes, result: Interactions, words: Words, region: Region, colors: UInt8[np.ndarray, "colors 3"]
) -> None:
    """Draw the parts as bars, each from where the one before ends, and the similarity below them."""
    receipt = result.receipt(words, region)
    name = "similarity" if result.foil is None else "difference of similarities"
    labels = [*(drawable(label) for label, _ in receipt.lines), name]
    values = np.array([*receipt.parts.values(), receipt.similarity])
    starts = np.array([0.0, *np.cumsum(values[:-2]), 0.0])
    inks = [*(colors_at(0.7 * np.sign(values[:-1]), colors) / 255), np.array([0.2, 0.2, 0.2])]
    places = np.arange(len(values))
    axes.barh(places, values, left=starts, color=inks, height=0.7)
    for place, (start, value) in enumerate(zip(starts, values, strict=True)):
        axes.annotate(
            f"{value:+z.3f}".replace("-", "−"),
            (max(start, start + value), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
        )
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(places, labels, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("cosine similarity")
