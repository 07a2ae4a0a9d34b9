"""The picture book: its tokenizer, weights and pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import torch

from exclip_widget import demo, explain
from exclip_widget.demo.captions import vocabulary
from exclip_widget.demo.picture_book import WEIGHTS, PictureBookTokenizer
from exclip_widget.demo.things import plural


def test_tokenizer_splits_as_clip_does() -> None:
    ours, clip = PictureBookTokenizer(), open_clip.SimpleTokenizer()
    rows = [row for word in vocabulary() for row in ours.encode(word)]
    assert len(rows) == sum(len(clip.encode(word)) for word in vocabulary())
    assert set(range(2, ours.vocab_size - 2)) == set(rows), "some rows are never used by the book"
    assert ours.encode("antidisestablishmentarianism") == [1] * len(
        clip.encode("antidisestablishmentarianism")
    )
    ids = ours(["a red boat"])[0]
    assert ids.argmax() == 4
    assert ids[0] == ours.sot_token_id
    assert not ids[5:].any()


def test_weights_are_small_and_whole(book: demo.PictureBook) -> None:
    assert Path(str(WEIGHTS)).stat().st_size < 8e6
    assert all(torch.isfinite(weight).all() for weight in book.model.parameters())
    assert book.model.token_embedding.num_embeddings == book.tokenizer.vocab_size
    assert not book.model.training


def test_pages_are_what_they_say(book: demo.PictureBook) -> None:
    """Each page's caption names its groups, and the model prefers it to every other page's."""
    for page in book.pages:
        for group in page.scene.groups:
            noun = group.kind if group.count == 1 else plural(group.kind)
            assert f"{group.colour} {noun}" in page.caption
        assert page.image.size == (480, 480)
    for page in book.pages:
        scores = [
            explain(
                book.model, page.image, other.caption, tokenizer=book.tokenizer, method="exclip"
            ).similarity
            for other in book.pages
        ]
        assert book.pages[int(np.argmax(scores))].caption == page.caption
