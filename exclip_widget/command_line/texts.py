"""Texts from shells and files: valid captions, and file names made from them."""

from __future__ import annotations

import unicodedata

import regex

from ..errors import CaptionError

LONGEST = 80
"""Largest number of bytes of a text in a file name; few systems allow names of more than 255."""


def require_text(text: str | None, name: str) -> None:
    """Raise an error for a caption that is not valid Unicode, such as a shell argument in another encoding.

    Raises
    ------
    CaptionError
        If it is not valid.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise CaptionError(f"{name} {text!r:.200} is not valid text; expected UTF-8") from None


def slug(text: str, longest: int = LONGEST) -> str:
    """Return a text as part of a file name: letters and digits of any script, and hyphens.

    The text is truncated to `longest` bytes.

    Examples
    --------
    >>> slug("../a Red  boat, 50%!"), slug("/")
    ('a-Red-boat-50', '')
    """
    plain = unicodedata.normalize("NFC", text)
    parts: str = regex.sub(r"[^\p{L}\p{M}\p{N}]+", "-", plain).strip("-")
    return parts.encode()[:longest].decode(errors="ignore").rstrip("-")


def word_file(number: int, count: int, word: str) -> str:
    """Return the file name of a word's picture, chosen so that names sort in the order of the words.

    Examples
    --------
    >>> word_file(3, 12, "boat"), word_file(1, 2, "?!")
    ('03-boat.png', '1.png')
    """
    return "-".join(part for part in (f"{number:0{len(str(count))}}", slug(word)) if part) + ".png"
