"""Previews: what a notebook shows for a result that is the value of a cell."""

from __future__ import annotations

import base64
import io
import sys
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from .colormap import colormap, colors_at, is_dark
from .figures import tinted_words
from .interactions import Interactions
from .regions import view_box

SIDE = 192
"""Longest side of the grid of patches, in pixels."""

STRONGEST = 190
"""Opacity of the strongest colour over the image, out of 255."""


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
    source = _small_source(result)
    similarity = "similarity" if result.foil is None else "difference of similarities"
    return (
        f'<div style="max-width:640px;line-height:1.7"><div dir="auto">{" ".join(words)}</div>'
        f'<img alt="heat map of all words" width="{width}" height="{height}" '
        f'style="margin:6px 0;image-rendering:pixelated" src="{source}">'
        f"<div>{similarity} {result.similarity:z.4f}, method {escape(result.method)}</div></div>"
    )


def picture(result: Interactions) -> str:
    """Return the heat map on the grid of patches as a base64 PNG, for viewers that show no HTML.

    Code hosts use it, and so do papers and slides that are made from notebooks.

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
    return _encode(_shown_picture(result), "png")


def live_view(result: Interactions) -> dict[str, Any]:
    """Return a widget of the result in IPython's display format, or nothing without a kernel or the image.

    Raises
    ------
    ParameterError
        If the result cannot be shown: it is a difference, or has numbers that are not finite.
    """
    known = None if result.view is None else result.view.picture
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if known is None or not hasattr(shell, "kernel"):
        return {}
    # Through the package's public name, because results may not import widgets.
    package = sys.modules[__name__.partition(".")[0]]
    shown = package.ExplainWidget.from_result(result, known)._repr_mimebundle_()
    bundle: dict[str, Any] = shown[0] if isinstance(shown, tuple) else shown
    return {kind: data for kind, data in bundle.items() if kind != "text/plain"}


def _shown_size(result: Interactions) -> tuple[int, int]:
    """Return the width and height of the grid, in the proportions of what the model saw if known."""
    width, height = float(result.grid.columns), float(result.grid.rows)
    if result.view is not None:
        left, top, right, bottom = view_box(result.view)
        width, height = right - left, bottom - top
    longest = max(width, height)
    return max(1, round(SIDE * width / longest)), max(1, round(SIDE * height / longest))


def _small_source(result: Interactions) -> str:
    """Return the picture as a small data URL."""
    if result.view is None or result.view.picture is None:
        return f"data:image/png;base64,{_encode(_heat_picture(result.heat()), 'png')}"
    return f"data:image/jpeg;base64,{_encode(_shown_picture(result), 'jpeg')}"


def _shown_picture(result: Interactions) -> Image.Image:
    """Return the heat map, over the image if it is cached."""
    heat, size = result.heat(), _shown_size(result)
    shown = _heat_picture(heat).resize(size, Image.Resampling.NEAREST)
    if result.view is None or result.view.picture is None:
        return shown
    box, longest = view_box(result.view), max(result.view.size)
    factor = max(1, longest // (4 * SIDE))  # a photograph is not needed at full resolution
    small = result.view.picture.convert("RGB").reduce(factor)
    # What lies beyond the image is black.
    seen = small.transform(
        size, Image.Transform.EXTENT, [edge / factor for edge in box], Image.Resampling.BILINEAR
    )
    strength = np.abs(heat) / (np.abs(heat).max() or 1.0)
    mask = Image.fromarray((STRONGEST * strength).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return Image.composite(shown, seen, mask)


def _heat_picture(heat: Float[np.ndarray, "rows columns"]) -> Image.Image:
    """Return a heat map as a picture, with one pixel per patch."""
    return Image.fromarray(colors_at(heat / (np.abs(heat).max() or 1.0), colormap()))


def _encode(shown: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    shown.save(file, kind)
    return base64.b64encode(file.getvalue()).decode("ascii")
