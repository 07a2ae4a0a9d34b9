"""Tinted captions in LaTeX, with everything escaped that LaTeX would interpret."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from .colormap import is_dark

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    # In pairs, these would become ligatures.
    "-": "{-}",
    "`": "{`}",
    "'": "{'}",
    ",": "{,}",
    "?": "{?}",
    "!": "{!}",
}
"""Replacements for the characters that have a meaning in LaTeX."""


def escape(text: str) -> str:
    r"""Escape text so that LaTeX prints it unchanged. Control characters become spaces.

    Examples
    --------
    >>> print(escape("50% of $x_1$ {a}"))
    50\% of \$x\_1\$ \{a\}
    """
    return "".join(ESCAPES.get(char, char) if char.isprintable() else " " for char in text)


def tinted(words: Sequence[str], colors: UInt8[np.ndarray, "words 3"]) -> str:
    """Return LaTeX for words on backgrounds of their colours. It needs the package xcolor."""
    boxes = []
    for word, color in zip(words, colors, strict=True):
        ink, numbers = "white" if is_dark(color) else "black", ",".join(map(str, color.tolist()))
        boxes.append(rf"\colorbox[RGB]{{{numbers}}}{{\strut\textcolor{{{ink}}}{{{escape(word)}}}}}")
    return r"{\setlength{\fboxsep}{1pt}" + " ".join(boxes) + "}"
