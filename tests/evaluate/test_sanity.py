"""Sanity: an explanation changes with the weights, but hardly with noise that the model barely sees."""

from __future__ import annotations

from typing import Any

import pytest
from support.snapshots import unchanged
from support.widgets import book
from support.zoo.models import build, inputs_of
from torch.nn import DataParallel

from exclip_widget import DualEncoder, Explainer, ParameterError
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


def described() -> DualEncoder:
    """Return the picture book's model as a model of one's own, which can be cut at the last blocks."""
    model = book().model
    blocks = f"resblocks.{len(model.transformer.resblocks) - 1}", "resblocks.5"
    return DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=model.encode_image,
        text_layers=[f"transformer.{blocks[0]}"],
        image_layers=[f"visual.transformer.{blocks[1]}"],
        context_length=model.context_length,
        padded=True,
    )


def test_a_model_in_a_wrapper_is_randomised_as_without_it() -> None:
    model = build("plain")
    inputs = inputs_of(model)

    def explainer_of(copy: Any) -> Explainer:
        return Explainer(copy, **inputs)

    found, plain = (randomisation(one, explainer_of, PAIR) for one in (DataParallel(model), model))
    assert found == pytest.approx(plain)


def test_a_described_model_is_randomised() -> None:
    model = described()
    with unchanged(model.model):
        found = randomisation(
            model,
            lambda copy: Explainer(copy, preprocess=book().preprocess, tokenizer=book().tokenizer),
            PAIR,
        )
    assert found[0] == pytest.approx(1)
    assert abs(found[1]) < 0.5


def test_the_users_own_model_is_never_randomised() -> None:
    with (
        unchanged(book().model),
        pytest.raises(ParameterError, match="make_explainer explains the model itself; expected an expl"),
    ):
        randomisation(book().model, lambda _: explain(book().model), PAIR)


def test_stability() -> None:
    explainer = explain(book().model)
    calm, rough = (stability(explainer, PAIR, noise=noise, repeats=2) for noise in (1, 120))
    assert 0.9 < calm <= 1
    assert rough < calm
