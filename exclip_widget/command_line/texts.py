"""Texts from shells and files: captions that can be used, and names of files made from them."""

from __future__ import annotations

import unicodedata

import regex

from ..errors import CaptionError

LONGEST = 80
"""Bytes of a text that the name of a file takes; few systems take names of more than 255."""


def require_text(text: str | None, name: str) -> None:
    """Refuse a caption that is not valid Unicode, as bytes of another encoding arrive from a shell.

    Raises
    ------
    CaptionError
        If it is such.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise CaptionError(f"{name} {text!r:.200} is no valid text; expected UTF-8") from None


def slug(text: str, longest: int = LONGEST) -> str:
    """Return a text as a part of a file's name: letters and digits of any script, and hyphens.

    It is cut to `longest` bytes.

    Examples
    --------
    >>> slug("../a Red  boat, 50%!"), slug("/")
    ('a-Red-boat-50', '')
    """
    plain = unicodedata.normalize("NFC", text)
    parts: str = regex.sub(r"[^\p{L}\p{M}\p{N}]+", "-", plain).strip("-")
    return parts.encode()[:longest].decode(errors="ignore").rstrip("-")


def word_file(number: int, count: int, word: str) -> str:
    """Return the name of the picture of a word, such that names sort as the words stand.

    Examples
    --------
    >>> word_file(3, 12, "boat"), word_file(1, 2, "?!")
    ('03-boat.png', '1.png')
    """
    return "-".join(part for part in (f"{number:0{len(str(count))}}", slug(word)) if part) + ".png"
