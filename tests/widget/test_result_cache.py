"""Recent results and factors are cached and not computed again."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.widgets import book, line, make

from exclip_widget import Explainer, ExplainWidget, Interactions, classify, explain
from exclip_widget.inputs.caption import Caption

PAGES = book().pages


def test_caption_and_foil_share_one_pass_of_the_picture() -> None:
    """The image tower runs as often for a caption with a foil as for the caption alone."""
    counts = []
    for caption in (["a red boat"], ["a red boat", "a blue boat"]):
        model, runs = copy.deepcopy(book().model), []
        model.visual.transformer.resblocks[0].register_forward_hook(lambda *_, runs=runs: runs.append(1))
        make(model=model, caption=caption).wait(60)
        counts.append(len(runs))
    assert counts[0] == counts[1]


def test_setting_what_is_set_computes_nothing() -> None:
    widget = make()
    result = widget.wait(60)
    widget.caption = PAGES[0].caption
    widget.method = "exclip"
    assert widget.wait(60) is result
    assert line(widget).requests() == [1]


def test_a_change_of_one_side_leaves_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new caption preprocesses the image once, to notice changes; a new image doesn't run the caption."""
    preprocessed: list[Image.Image] = []
    captions: list[str] = []

    def preprocess(image: Image.Image) -> torch.Tensor:
        preprocessed.append(image)
        return book().preprocess(image)

    factors = Explainer.text_factors

    def text_factors(self: Explainer, caption: Caption) -> Any:
        captions.append(caption.rows.caption)
        return factors(self, caption)

    monkeypatch.setattr(Explainer, "text_factors", text_factors)
    widget = make(preprocess=preprocess)
    widget.wait(60)
    count = len(preprocessed)
    widget.caption = "a blue boat"
    widget.wait(60)
    assert len(preprocessed) == count + 1
    widget.image = PAGES[1].image
    widget.wait(60)
    assert captions == [PAGES[0].caption, "a blue boat"]


def test_going_back_costs_nothing_until_the_model_changes() -> None:
    model = copy.deepcopy(book().model)
    widget = make(model=model)
    first = widget.wait(60)
    widget.caption = "a blue boat"
    second = widget.wait(60)
    widget.caption = PAGES[0].caption
    assert widget.wait(60) is first
    widget.caption = "a blue boat"
    assert widget.wait(60) is second
    assert line(widget).requests("done") == [1, 2, 3, 4]
    with torch.no_grad():
        model.visual.proj.data.mul_(-1)
    widget.caption = PAGES[0].caption
    assert widget.wait(60).similarity == pytest.approx(-first.similarity, abs=1e-5)


class Rewording(type(book().tokenizer)):  # type: ignore[misc]
    """The picture book's tokenizer, which may start to read red as blue."""

    rewords = False

    def __call__(self, texts: Any, context_length: int | None = None) -> Any:
        return super().__call__(texts.replace("red", "blue") if self.rewords else texts, context_length)


def opened(caption: Any, **options: Any) -> ExplainWidget:
    """Return a widget with a tokenizer or a preprocessing of its own, which has its first result."""
    options = {"tokenizer": book().tokenizer, "method": "exclip"} | options
    widget = ExplainWidget(book().model, PAGES[0].image, caption, **options)
    widget.wait(60)
    return widget


def test_a_tokenizer_that_changes_in_place_is_noticed() -> None:
    """Captions that come back, stay, or are only listed are read with the tokenizer of now."""
    tokenizer, captions = Rewording(), ["a red boat", "a red car", "a red fish"]
    widget = opened(captions, tokenizer=tokenizer)
    widget.foil = "a red car"
    widget.wait(60)
    tokenizer.rewords = True
    widget.caption = "a red fish"
    widget.wait(60)
    widget.caption = "a red boat"
    result = widget.wait(60)
    model, image = book().model, PAGES[0].image
    expected = [
        explain(model, image, text, tokenizer=book().tokenizer, method="exclip").similarity
        for text in ("a blue boat", "a blue car")
    ]
    assert widget.foil_interactions is not None
    assert [result.similarity, widget.foil_interactions.similarity] == pytest.approx(expected, abs=1e-5)
    assert widget.captions == tuple(captions)
    blue = [text.replace("red", "blue") for text in captions]
    scores = classify(model, image, blue, tokenizer=book().tokenizer).similarities
    assert widget.classification is not None
    np.testing.assert_allclose(widget.classification.similarities, scores, atol=2e-6)


def expected_of(caption: str, **options: Any) -> Interactions:
    """Return what a caption and the first page give by themselves."""
    given = {"tokenizer": book().tokenizer, "method": "exclip", **options}
    return explain(book().model, PAGES[0].image, caption, **given)


def test_preprocessing_that_changes_in_place_is_noticed() -> None:
    state = {"darker": 1.0}

    def preprocess(image: Image.Image) -> torch.Tensor:
        return book().preprocess(image) * state["darker"]

    widget = opened("a red boat", preprocess=preprocess)
    state["darker"] = 0.5
    for _ in range(2):
        widget.caption = "a red boat"
        found = widget.wait(60)
    expected = expected_of("a red boat", preprocess=preprocess)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert widget.session.id == 2  # type: ignore[union-attr]  # the same inputs again compute nothing


def test_a_reference_image_that_changes_in_place_is_noticed() -> None:
    reference = np.zeros((96, 96, 3), np.uint8)
    widget = opened("a red boat", image_reference=reference)
    reference[:48] = 255
    widget.caption = "a blue boat"
    widget.wait(60)
    widget.caption = "a red boat"
    expected = expected_of("a red boat", image_reference=reference)
    np.testing.assert_allclose(widget.wait(60).values, expected.values, atol=1e-6)
