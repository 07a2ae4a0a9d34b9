"""Retrieval: the model reaches the figures in the documentation."""

from __future__ import annotations

from exclip_widget import demo
from exclip_widget.demo.retrieval import colour_binding, held_out_scenes, recall_at_1


def test_the_model_retrieves_what_the_documentation_says(book: demo.PictureBook) -> None:
    assert min(recall_at_1(book.model, book.tokenizer, count=128)) >= 0.95


def test_the_model_binds_colours_as_the_documentation_says(book: demo.PictureBook) -> None:
    assert min(colour_binding(book.model, book.tokenizer, count=96)) >= 0.85


def test_held_out_scenes_have_one_answer_each() -> None:
    found = [{(g.colour, g.kind) for g in scene.groups} for scene in held_out_scenes(40)]
    assert len(found) == 40
    assert not any(a <= b for i, a in enumerate(found) for j, b in enumerate(found) if i != j)
