"""Previews: what a notebook shows of a result that is the value of a cell. Results hold no image."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from jaxtyping import Float
from PIL import Image

from .colormap import colormap, colors_at, is_dark
from .figures import tinted_words
from .interactions import Interactions
from .regions import view_box

SIDE = 192
"""Longest side of the grid of patches, in pixels."""


def preview(result: Interactions) -> str:
    """Return the tinted caption and the heat map on the grid of patches, as HTML without any script.

    Raises
    ------
    ParameterError
        If the interactions are not finite, or all tokens are special.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> preview(demo.example()).count("<span")
    8
    """
    texts, tints = tinted_words(result, None, None)
    words = []
    for text, color in zip(texts, colors_at(tints, colormap()), strict=True):
        ink, ground = "#fff" if is_dark(color) else "#000", ",".join(map(str, color.tolist()))
        words.append(
            f'<span style="background:rgb({ground});color:{ink};padding:1px 3px;border-radius:2px">'
            f"{escape(text)}</span>"
        )
    width, height = _shown_size(result)
    source = f"data:image/png;base64,{_encode(_heat_picture(result.heat()))}"
    similarity = "similarity" if result.foil is None else "difference of similarities"
    return (
        f'<div style="max-width:640px;line-height:1.7"><div dir="auto">{" ".join(words)}</div>'
        f'<img alt="heat map of all words" width="{width}" height="{height}" '
        f'style="margin:6px 0;image-rendering:pixelated" src="{source}">'
        f"<div>{similarity} {result.similarity:.4f}, method {escape(result.method)}</div></div>"
    )


def picture(result: Interactions) -> str:
    """Return the heat map on the grid of patches as a PNG in base64, for what shows no HTML.

    Code hosts, papers and slides that notebooks are turned into take it.

    Raises
    ------
    ParameterError
        As `preview` does.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> picture(demo.example())[:8]
    'iVBORw0K'
    """
    return _encode(_heat_picture(result.heat()).resize(_shown_size(result), Image.Resampling.NEAREST))


def _shown_size(result: Interactions) -> tuple[int, int]:
    """Return width and height of the grid, in the proportions of what the model saw if they are known."""
    width, height = float(result.grid.columns), float(result.grid.rows)
    if result.view is not None:
        left, top, right, bottom = view_box(result.view)
        width, height = right - left, bottom - top
    longest = max(width, height)
    return max(1, round(SIDE * width / longest)), max(1, round(SIDE * height / longest))


def _heat_picture(heat: Float[np.ndarray, "rows columns"]) -> Image.Image:
    """Return a heat map as a picture, one pixel a patch."""
    return Image.fromarray(colors_at(heat / (np.abs(heat).max() or 1.0), colormap()))


def _encode(shown: Image.Image) -> str:
    file = io.BytesIO()
    shown.save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")
