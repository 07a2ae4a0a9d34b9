"""Figures of results on matplotlib axes, in the widget's colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from ..checks import positive_number
from ..errors import ImageError, ParameterError
from .colormap import PALETTES, colormap, colors_at, is_dark, opacity
from .interactions import Interactions
from .latex import tinted
from .regions import Region, view_box
from .selection import Words, rows_of_words, text_of
from .tables import require_library

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = {"heat": (3.3, 3.3), "both": (3.3, 3.9), "caption": (5.0, 0.6), "receipt": (5.0, 2.4)}
"""Width and height in inches of a new figure of each kind; 3.3 is a column of most journals."""

ABOVE = (0.0, 1.02, 1.0, 0.18)
"""Where the caption stands above the image: left, bottom, width and height, as fractions of the axes."""


def register_colormaps() -> None:
    """Register the widget's colour maps with matplotlib; doing so again is no error.

    Their names are ``exclip_blue_orange``, ``exclip_purple_green`` and ``exclip_teal_ochre``, each with
    ``_dark`` for dark grounds.

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
    image: Any,
    words: Words,
    region: Region,
    *,
    kind: str,
    axes: Axes | None,
    scale: float | None,
    palette: str,
) -> Axes:
    """Draw a result; see `Interactions.plot`."""
    if kind not in SIZES:
        raise ParameterError(f"kind={kind!r} is not one of {', '.join(map(repr, SIZES))}")
    if kind in ("caption", "receipt") and image is not None:
        raise ParameterError(f"kind={kind!r} shows no image; leave image out, or give kind='both'")
    limit = None if scale is None else positive_number("scale", scale)
    colors = colormap(palette)
    pixels = None if image is None else _pixels_of(image, result)
    # Whatever is refused is refused before a figure is made.
    heat, (texts, fractions) = result.heat(words), tinted_words(result, region, limit)
    if axes is None:
        register_colormaps()
        pyplot = require_library("matplotlib.pyplot", "plot")
        axes = pyplot.subplots(figsize=SIZES[kind], layout="constrained")[1]
    assert axes is not None
    if kind == "receipt":
        _draw_receipt(axes, result, words, region, colors)
    elif kind == "caption":
        _draw_caption(axes, texts, fractions, colors)
    else:
        _draw_heat(axes, result, heat, pixels, limit, colors)
        if kind == "both":
            _draw_caption(axes.inset_axes(ABOVE), *tinted_words(result, region, None), colors)
        elif words is not None:
            axes.set_title(text_of(result.rows, result[words]), parse_math=False)
    return axes


def latex(result: Interactions, region: Region, *, scale: float | None, palette: str) -> str:
    """Return the tinted caption in LaTeX; see `Interactions.latex`."""
    limit = None if scale is None else positive_number("scale", scale)
    texts, fractions = tinted_words(result, region, limit)
    return tinted(texts, colors_at(fractions, colormap(palette)))


def _pixels_of(image: Any, result: Interactions) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ImageError(
            f"image is a {type(image).__name__} of shape {pixels.shape}; expected a PIL image, or an array "
            "(height, width) or (height, width, 3)"
        )
    if result.view is None:
        raise ImageError(
            "the result is of preprocessed pixels, so it is not known where in the image they lie; leave "
            "image out to plot the patches alone"
        )
    width, height = result.view.size
    if pixels.shape[:2] != (height, width):
        raise ImageError(
            f"image is {pixels.shape[1]} x {pixels.shape[0]} pixels; expected {width} x {height}, those of "
            "the image that was explained"
        )
    return pixels


def _draw_heat(
    axes: Axes,
    result: Interactions,
    heat: Float[np.ndarray, "rows columns"],
    pixels: np.ndarray | None,
    scale: float | None,
    colors: UInt8[np.ndarray, "colors 3"],
) -> None:
    fractions = heat / (scale or float(np.abs(heat).max()) or 1.0)
    alpha = opacity(fractions) if pixels is not None else np.ones_like(heat)
    shown = np.concatenate([colors_at(fractions, colors) / 255, alpha[..., None]], axis=-1)
    if result.view is None:
        width, height = result.grid.columns, result.grid.rows
        left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    else:
        width, height = result.view.size
        left, top, right, bottom = view_box(result.view)
    if pixels is not None:
        axes.imshow(pixels, extent=(0, width, height, 0), cmap="gray")
    axes.imshow(shown, extent=(left, right, bottom, top), interpolation="nearest")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])


def tinted_words(
    result: Interactions, region: Region, scale: float | None
) -> tuple[list[str], Float[np.ndarray, " words"]]:
    """Return what each word says, and its tint as a signed fraction of the scale."""
    tint, words = result.tint(region), rows_of_words(result.rows)
    values = np.array([tint[list(rows)].sum() for rows in words], float)
    return [text_of(result.rows, rows) for rows in words], values / (
        scale or float(np.abs(values).max(initial=0)) or 1.0
    )


def _draw_caption(
    axes: Axes,
    texts: list[str],
    fractions: Float[np.ndarray, " words"],
    colors: UInt8[np.ndarray, "colors 3"],
) -> None:
    """Write words on grounds of their tints, in lines as wide as the axes."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    # Captions are text: `parse_math` would read dollars as formulas.
    drawn = [
        axes.text(
            0,
            1,
            text,
            va="top",
            parse_math=False,
            color="white" if is_dark(ground) else "black",
            bbox={"facecolor": ground / 255, "edgecolor": "none", "pad": 1.5},
        )
        for text, ground in zip(texts, colors_at(fractions, colors), strict=True)
    ]
    figure: Any = axes.get_figure(root=True)
    figure.draw_without_rendering()
    inside = axes.get_window_extent()
    x = y = 0.0
    for text in drawn:
        size = text.get_window_extent()
        font = float(text.get_fontsize()) * figure.dpi / 72
        if x and x + size.width > inside.width:
            x, y = 0.0, y + 1.5 * font
        text.set_position((x / inside.width, 1 - y / inside.height))
        x += size.width + 0.35 * font


def _draw_receipt(
    axes: Axes, result: Interactions, words: Words, region: Region, colors: UInt8[np.ndarray, "colors 3"]
) -> None:
    """Draw the parts as bars, each from where the one before ends, and the similarity below them."""
    receipt = result.receipt(words, region)
    name = "similarity" if result.foil is None else "difference of similarities"
    labels = [*(label for label, _ in receipt.lines), name]
    values = np.array([*receipt.parts.values(), receipt.similarity])
    starts = np.array([0.0, *np.cumsum(values[:-2]), 0.0])
    inks = [*(colors_at(0.7 * np.sign(values[:-1]), colors) / 255), np.array([0.2, 0.2, 0.2])]
    places = np.arange(len(values))
    axes.barh(places, values, left=starts, color=inks, height=0.7)
    for place, (start, value) in enumerate(zip(starts, values, strict=True)):
        axes.annotate(
            f"{value:+.3f}".replace("-", "−"),
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
