"""Sanity: an explanation changes with the weights, but hardly with noise that the model barely sees."""

from __future__ import annotations

import pytest
from support.snapshots import unchanged
from support.widgets import book

from exclip_widget import Explainer
from exclip_widget.demo.labelled import held_out_pairs
from exclip_widget.evaluate import randomisation, stability

PAIR = held_out_pairs(1)[0]


def explain(model: object) -> Explainer:
    return Explainer(model, tokenizer=book().tokenizer, method="exclip")


def test_randomised_weights_give_another_explanation() -> None:
    with unchanged(book().model):
        found = randomisation(book().model, explain, PAIR)
    assert found[0] == pytest.approx(1)
    assert len(found) == 1 + 6  # the image tower has six blocks
    assert all(abs(one) < 0.5 for one in found[1:])


class Blind(Explainer):
    """An explainer that ignores its model and explains another one instead."""

    def explain(self, image, caption):  # type: ignore[no-untyped-def]
        return explain(book().model).explain(image, caption)


def test_an_explanation_that_ignores_the_weights_is_found_out() -> None:
    found = randomisation(book().model, lambda model: Blind(model, tokenizer=book().tokenizer), PAIR)
    assert found == pytest.approx([1] * 7)


def test_stability() -> None:
    explainer = explain(book().model)
    calm, rough = (stability(explainer, PAIR, noise=noise, repeats=2) for noise in (1, 120))
    assert 0.9 < calm <= 1
    assert rough < calm
