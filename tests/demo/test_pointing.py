"""The pointing game."""

from __future__ import annotations

from exclip_widget import demo
from exclip_widget.demo.pointing import pointing_game


def test_explanations_point_at_what_words_speak_of(book: demo.PictureBook) -> None:
    """Far above the share of the picture that the things cover: what guessing would reach."""
    last = pointing_game(book.model, book.tokenizer, layers=(-1, -1), scenes=30)
    assert last.hit > 2 * last.chance
    assert last.energy > 2 * last.chance
    first = pointing_game(book.model, book.tokenizer, layers=(0, 0), scenes=6)
    assert first.hit > 2 * first.chance
