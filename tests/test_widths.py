"""Models whose towers end in spaces of different width, as without the image tower's projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cuts import picture
from support.zoo.models import build, inputs_of

from exclip_widget import Explainer, ExplainWidget, ModelError, classify, explain, explain_layers
from exclip_widget.datasets import Pair
from exclip_widget.filling import write_store

CAPTION = "a red boat"
WIDTHS = "captions are embedded in 12 numbers and images in 32; expected the same"


def unprojected() -> tuple[Any, dict[str, Any]]:
    model: Any = build("plain")
    model.visual.proj = None
    return model, inputs_of(model)


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize(
    "method",
    [
        {"method": "frozen"},
        {"method": "frozen", "length": True},
        {"method": "exclip"},
        {"method": "exclip", "rank": 2},
        {"method": "similarity"},
        {"method": "gradient"},
        {"method": "banzhaf", "samples": 8},
    ],
    ids=str,
)
def test_no_explanation(method: dict[str, Any], layer: int) -> None:
    model, options = unprojected()
    with pytest.raises(ModelError, match=WIDTHS):
        explain(model, picture(), CAPTION, image_layer=layer, **method, **options)


def test_no_explanation_of_several_layers() -> None:
    model, options = unprojected()
    with pytest.raises(ModelError, match=WIDTHS):
        explain_layers(model, picture(), CAPTION, **options)


def test_no_classification() -> None:
    model, options = unprojected()
    with pytest.raises(ModelError, match=WIDTHS):
        classify(model, picture(), [CAPTION, "a dog"], **options)


@pytest.mark.parametrize("captions", [CAPTION, [CAPTION, "a dog"]], ids=["one", "several"])
def test_no_widget(captions: Any) -> None:
    model, options = unprojected()
    widget = ExplainWidget(model, picture(), captions, **options)
    try:
        with pytest.raises(ModelError, match=WIDTHS):
            widget.wait(60)
    finally:
        widget.close()


def test_no_masked_embeddings() -> None:
    model, options = unprojected()
    with pytest.raises(ModelError, match=WIDTHS):
        Explainer(model, **options).masked_embeddings(
            picture(), CAPTION, np.ones((1, 5), bool), np.ones((1, 4, 4), bool)
        )


def test_no_store(tmp_path: Path) -> None:
    model, options = unprojected()
    pairs = [Pair(id="1", image_id="1", image=picture(), caption=CAPTION)]
    with pytest.raises(ModelError, match=WIDTHS):
        write_store(tmp_path / "store", Explainer(model, method="exclip", **options), pairs)
