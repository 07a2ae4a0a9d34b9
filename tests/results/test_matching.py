"""Factors that do not belong together are refused in words, wherever they meet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.explaining import IMAGE
from support.zoo.models import build, inputs_of

from exclip_widget import Explainer, Factors, ModelError, ParameterError
from exclip_widget.methods import METHODS

CAPTION = "a red boat"


def explainer_of(method: str = "frozen", **options: Any) -> Explainer:
    model = build("plain")
    options |= {"samples": 16} if method == "banzhaf" else {}
    return Explainer(model, method=method, **options, **inputs_of(model))


@functools.cache
def text_of(method: str) -> Factors:
    return explainer_of(method).text_factors(CAPTION)


def refine(explainer: Explainer, texts: Any) -> object:
    return list(explainer.refine(texts, IMAGE))[-1]


def refine_layers(explainer: Explainer, texts: Any) -> object:
    return list(explainer.refine_layers(texts, IMAGE, [1]))[-1]


Refine = Callable[[Explainer, Any], object]
both = pytest.mark.parametrize("refined", [refine, refine_layers])


@both
@pytest.mark.parametrize("method", METHODS)
def test_factors_of_another_method_are_not_refined(refined: Refine, method: str) -> None:
    explainer = explainer_of(method)
    for other in METHODS:
        texts = [text_of(method), text_of(other)]
        if other == method:
            refined(explainer, texts)
            continue
        message = rf"texts\[1\] has method '{other}', and the explainer '{method}'; expected"
        with pytest.raises(ParameterError, match=message):
            refined(explainer, texts)


@both
def test_factors_of_another_layer_are_not_refined(refined: Refine) -> None:
    texts = [explainer_of(text_layer=1).text_factors(CAPTION)]
    message = "has text layer 'transformer.resblocks.1', and the explainer 'transformer.resblocks.0'"
    with pytest.raises(ParameterError, match=message):
        refined(explainer_of(), texts)


@both
@pytest.mark.parametrize("method", METHODS)
def test_factors_of_another_width_are_not_refined(refined: Refine, method: str) -> None:
    """Nothing else shows it if the factors do not say which model made them."""
    text = text_of(method)
    narrow = replace(
        text,
        values=text.values[:, :-1],
        embedding=text.embedding[:-1],
        change=None if text.change is None else text.change[:-1],
        reference=None if text.reference is None else text.reference[:-1],
        origin=None,
    )
    with pytest.raises(ModelError, match="captions are embedded in 11 numbers and images in 12"):
        refined(explainer_of(method), [narrow])


@both
def test_what_is_no_list_of_factors_of_captions_is_not_refined(refined: Refine) -> None:
    explainer, text = explainer_of(), text_of("frozen")
    cases: list[tuple[object, str]] = [
        ([], "texts is empty; expected factors of at least one caption"),
        (text, "texts is a Factors; expected a list of what Explainer.text_factors returns"),
        (None, "texts is a NoneType; expected a list"),
        ([explainer.image_factors(IMAGE)], "texts has image factors; expected text factors"),
        ([text, CAPTION], "texts has a str; expected text factors"),
        (CAPTION, "texts has a str; expected text factors"),
    ]
    for texts, message in cases:
        with pytest.raises(ParameterError, match=message):
            refined(explainer, texts)
    refined(explainer, (one for one in (text, text)))
