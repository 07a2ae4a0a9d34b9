"""The widget's colour maps: signed, diverging, symmetric about 0, and safe for colour-blind eyes.

`js/view/colormap.ts` has the same numbers, and explains the choice of them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from ..errors import ParameterError

LIGHTNESS = {"light": (0.97, 0.45), "dark": (0.24, 0.86)}
"""Lightness at 0 and at the ends, on a light and on a dark background."""

PALETTES = {
    "blue–orange": {
        "light": ((232, 262, 0.115, 0.16), (72, 36, 0.13, 0.155)),
        "dark": ((262, 230, 0.13, 0.1), (36, 76, 0.12, 0.125)),
    },
    "purple–green": {
        "light": ((318, 306, 0.12, 0.16), (136, 150, 0.13, 0.12)),
        "dark": ((302, 318, 0.14, 0.12), (152, 128, 0.11, 0.15)),
    },
    "teal–ochre": {
        "light": ((204, 214, 0.1, 0.085), (96, 72, 0.14, 0.105)),
        "dark": ((216, 200, 0.075, 0.105), (70, 94, 0.09, 0.14)),
    },
}
"""Below and above 0: hue in degrees at 0 and at the end, OKLCH chroma at `KNEE` and at the end."""

KNEE = 0.4
"""Where chroma stops rising: early, so that the sign of small values is visible too."""

STEPS = 256
"""Steps on each side of 0."""

# Björn Ottosson, "A perceptual color space for image processing" (2020), rounded as in the widget.
FROM_OKLAB = np.array([[1, 0.39634, 0.2158], [1, -0.10556, -0.06385], [1, -0.08948, -1.29149]])
TO_LINEAR = np.array(
    [[4.07674, -3.30771, 0.23097], [-1.26844, 2.60976, -0.34132], [-0.0042, -0.70342, 1.70761]]
)


def colormap(palette: str = "blue–orange", theme: str = "light") -> UInt8[np.ndarray, "colors 3"]:
    """Return the colours of a scale from -1 to 1: red, green and blue, from 0 to 255, (513, 3).

    Parameters
    ----------
    palette : {"blue–orange", "purple–green", "teal–ochre"}
        The hues; a hyphen works in place of the dash.
    theme : {"light", "dark"}
        The background that 0 fades into.

    Raises
    ------
    ParameterError
        If there is no such palette or theme.

    Examples
    --------
    >>> colormap()[256].tolist()
    [245, 245, 245]
    """
    name = str(palette).replace("-", "–")
    if name not in PALETTES:
        raise ParameterError(f"palette={palette!r} is not one of {', '.join(map(repr, PALETTES))}")
    if theme not in LIGHTNESS:
        raise ParameterError(f"theme={theme!r} is not one of 'light', 'dark'")
    least, most = LIGHTNESS[theme]
    x = np.arange(-STEPS, STEPS + 1) / STEPS
    hue, last_hue, chroma, last_chroma = np.array(PALETTES[name][theme])[(x >= 0).astype(int)].T
    m = np.abs(x)
    c = np.where(m < KNEE, chroma * m / KNEE, chroma + (last_chroma - chroma) * (m - KNEE) / (1 - KNEE))
    h = np.deg2rad(hue + (last_hue - hue) * m)
    lab = np.stack([least + (most - least) * m, c * np.cos(h), c * np.sin(h)])
    linear = np.clip(TO_LINEAR @ (FROM_OKLAB @ lab) ** 3, 0, 1)
    encoded = np.where(linear <= 0.00313, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colors: np.ndarray = np.floor(255 * encoded.T + 0.5).astype(np.uint8)
    return colors


def colors_at(
    fractions: Float[np.ndarray, "..."], colors: UInt8[np.ndarray, "colors 3"]
) -> UInt8[np.ndarray, "... 3"]:
    """Return the colours of signed fractions of a scale; beyond -1 and 1, those of the ends."""
    # Halves are rounded up, as in the widget.
    steps = np.floor(np.clip(fractions, -1, 1) * STEPS + 0.5).astype(int) + STEPS
    found: np.ndarray = colors[steps]
    return found


def opacity(fractions: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return how much of the image values cover: nothing at 0, never all of it."""
    covered: np.ndarray = 0.9 * np.minimum(1, np.abs(fractions)) ** 0.9
    return covered


def is_dark(color: UInt8[np.ndarray, "3"]) -> bool:
    """Return whether white is easier to read than black on a colour, by WCAG 2's relative luminance.

    Examples
    --------
    >>> is_dark(np.array([0, 0, 90], np.uint8)), is_dark(np.array([255, 200, 90], np.uint8))
    (True, False)
    """
    c = color / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    # The contrast with white is 1.05 / (L + 0.05), with black (L + 0.05) / 0.05.
    return (luminance + 0.05) ** 2 < 1.05 * 0.05
