"""Compare figures with stored pictures: a visible difference fails, a renderer's rounding does not."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

KEPT = Path(__file__).parents[1] / "results" / "pictures"
"""The stored pictures. `EXCLIP_WRITE_PICTURES=1` rewrites them; look at each one before committing it."""

DRAWN = Path(__file__).parents[2] / "test-results"
"""Folder for a figure that differs from its stored picture."""

DOTS_PER_INCH = 50

BLUR = 2
"""Radius in pixels of the blur before pictures are compared, which smooths out the shapes of letters."""

SHIFT = 2
"""Pixels by which anything may have moved: renderers round positions and the sizes of letters."""

MOST_DIFFERENT = 60.0
"""Largest difference allowed between a pixel and its closest match nearby, in levels of 255."""

MEAN_DIFFERENT = 2.0
"""Largest difference allowed on average, in levels of 255."""


def draw(figure: Any) -> Image.Image:
    """Render a matplotlib figure at a low resolution."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return Image.open(file).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Return the largest and the mean pixel difference in levels of 255, after a blur allowing small shifts.

    Pictures whose sizes differ by more than a few pixels count as different as black and white.
    """
    if any(abs(a - b) > max(3, 0.03 * b) for a, b in zip(one.size, other.size, strict=True)):
        return 255.0, 255.0
    first, second = (
        np.asarray(picture.resize(other.size).filter(ImageFilter.BoxBlur(BLUR)), float)
        for picture in (one, other)
    )
    # In both directions, so that something present in only one of them counts, whichever it is.
    apart = np.maximum(_distance(first, second), _distance(second, first))
    return float(apart.max()), float(apart.mean())


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far each pixel of `one` is from the closest colour near its position in `other`."""
    height, width, _ = one.shape
    around = np.pad(other, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    found = np.full((height, width), np.inf)
    for down, across in np.ndindex(2 * SHIFT + 1, 2 * SHIFT + 1):
        moved = around[down : down + height, across : across + width]
        found = np.minimum(found, np.abs(one - moved).max(-1))
    return found


def is_alike(one: Image.Image, other: Image.Image) -> bool:
    """Return whether two pictures look the same."""
    most, mean = difference(one, other)
    return most <= MOST_DIFFERENT and mean <= MEAN_DIFFERENT


def assert_is_kept(figure: Any, name: str) -> None:
    """Check that a figure looks like the stored picture of this name."""
    drawn, path = draw(figure), KEPT / f"{name}.png"
    if os.environ.get("EXCLIP_WRITE_PICTURES"):
        path.parent.mkdir(exist_ok=True)
        drawn.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
        return
    with Image.open(path) as kept:
        alike = is_alike(drawn, kept.convert("RGB"))
        apart = difference(drawn, kept.convert("RGB"))
    if not alike:
        DRAWN.mkdir(exist_ok=True)
        drawn.save(DRAWN / path.name)
    assert alike, f"{DRAWN / path.name} differs from {path} by {apart[0]:.0f}, {apart[1]:.1f} on average"
