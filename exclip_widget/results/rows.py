"""What the rows and columns of a result are: the tokens of a caption, the patches of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""Start and end of a piece of text, as indices of characters."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of a caption, special ones included: the rows of a result.

    Attributes
    ----------
    caption : str
        The caption as it was given.
    texts : tuple of str
        The tokenizer's own pieces in readable form. Those of CLIP are between `<sot>` and `<eot>`. `<cls>`
        follows if the tower adds a class token of its own, `<prompt>` if it adds other tokens before or
        between those of the caption, and `<pad>`, which stands for all padding, if the tower reads its
        padding.
    spans : tuple of (int, int) or None
        Which characters ``caption[start:end]`` each token came from. None for special tokens, for pieces
        of white space alone, for words that the tokenizer adds to the caption, and if it changed the text
        beyond recognition.
    words : tuple of int
        Number of the word that each token is a piece of, from 0; -1 for special tokens. White space
        belongs to the word that follows it.
    """

    caption: str
    texts: tuple[str, ...]
    spans: tuple[Span | None, ...]
    words: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int) -> Tokens:
        """Return the first `count` of the tokens."""
        return Tokens(self.caption, self.texts[:count], self.spans[:count], self.words[:count])


@dataclass(frozen=True)
class Grid:
    """The patches of an image: `rows` x `columns` of its tower's tokens, from the `first` token on."""

    rows: int
    columns: int
    first: int

    def __len__(self) -> int:
        return self.rows * self.columns

    @property
    def patches(self) -> slice:
        """Slice of the patches among all tokens of the tower."""
        return slice(self.first, self.first + len(self))


Rows: TypeAlias = Tokens | Grid
"""What the rows of one side's factors are."""
