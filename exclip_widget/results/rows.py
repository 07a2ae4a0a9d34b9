"""What the rows and columns of a result are: the tokens of a caption, the patches of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""Start and end of a piece of text, as indices of characters."""


@dataclass(frozen=True)
class Tokens:
    """A caption as the rows of an explanation: its tokens, and what the tower adds to them.

    Attributes
    ----------
    caption : str
        The caption.
    tokens : tuple of str
        The tokenizer's own pieces, special tokens among them; `<cls>` and `<pad>` last, where the tower
        has a class token of its own, and where it reads padding.
    spans : tuple of (int, int) or None
        Which characters of the caption each came from; None for special tokens.
    words : tuple of int
        Which word each is a piece of; -1 for special tokens.
    """

    caption: str
    tokens: tuple[str, ...]
    spans: tuple[Span | None, ...]
    words: tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """A picture as the columns of an explanation: `rows` x `columns` patches from the `first` token on."""

    rows: int
    columns: int
    first: int

    @property
    def patches(self) -> slice:
        """Where the patches are among all tokens."""
        return slice(self.first, self.first + self.rows * self.columns)


Labels: TypeAlias = Tokens | Grid
