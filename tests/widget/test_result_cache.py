"""Recent results and factors are cached and not computed again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from PIL import Image
from support.widgets import book, line, make

from exclip_widget import Explainer
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
    """A new caption doesn't preprocess the image again, and a new image doesn't run the caption again."""
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
    assert len(preprocessed) == count
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
