"""Options: bad ones are refused by name, before anything is computed."""

from __future__ import annotations

from inspect import signature
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from support.explaining import IMAGE, MODEL, found, refusal_of, values_of
from support.zoo.inputs import picture
from support.zoo.models import inputs_of

from exclip_widget import (
    Banzhaf,
    CaptionError,
    ExclipError,
    Explainer,
    ParameterError,
    explain_layers,
)
from exclip_widget.checks import LARGEST_SEED
from exclip_widget.explainer import ExplainerOptions, MethodOptions
from exclip_widget.methods import METHODS, options_of

CAPTION = "a red boat"


@pytest.mark.parametrize("keyword", ["preprocess", "tokenizer"])
@pytest.mark.parametrize("value", [3, "ViT-B-32", object()])
def test_what_cannot_be_called_is_refused(keyword: str, value: object) -> None:
    with pytest.raises(ExclipError, match=keyword):
        values_of(picture(), **{keyword: value})


@pytest.mark.parametrize("steps", [0, -1, 1.5, 2.0, True, "10"])
def test_steps(steps: object) -> None:
    message = refusal_of(ParameterError, picture(), steps=steps)
    assert "steps" in message
    assert repr(steps) in message


def test_steps_may_be_numpys_integers() -> None:
    np.testing.assert_array_equal(values_of(picture(), steps=np.int64(3)), values_of(picture(), steps=3))


@pytest.mark.parametrize("rule", ["simpson", "", 1])
def test_rule(rule: object) -> None:
    message = refusal_of(ParameterError, picture(), rule=rule)
    assert repr(rule) in message
    assert "gauss-legendre" in message


@pytest.mark.parametrize("keyword", ["step", "layer", "device"])
def test_a_keyword_that_is_not_there(keyword: str) -> None:
    """An unknown keyword raises Python's own TypeError, which names it."""
    with pytest.raises(TypeError, match=keyword):
        values_of(picture(), **{keyword: 3})


def test_parameters_are_checked_before_anything_is_computed() -> None:
    """A misspelt option costs no forward pass."""

    def preprocess(_: Image.Image) -> torch.Tensor:
        raise AssertionError("called")

    refusal_of(ParameterError, picture(), rule="simpson", preprocess=preprocess)
    refusal_of(CaptionError, picture(), None, preprocess=preprocess)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "lime"},
            "method='lime' is not one of 'frozen', 'exclip', 'similarity', 'gradient', 'banzhaf'",
        ),
        ({"method": None}, "method=None"),
        ({"method": "banzhaf", "steps": 10}, "steps=10 is an option of method 'exclip', not of 'banzhaf'"),
        ({"samples": 10}, "samples=10 is an option of method 'banzhaf', not of"),
        ({"method": "frozen", "steps": 10}, "steps=10 is an option of method 'exclip', not of 'frozen'"),
        ({"method": "banzhaf", "rank": 3}, "rank=3 is an option of method 'frozen' and 'exclip', not"),
        ({"rank": 0}, "rank=0 is not a whole number of at least 1"),
        (
            {"method": "similarity", "tolerance": 0.1},
            "tolerance=0.1 is an option of method 'frozen' and 'exclip', not",
        ),
        ({"tolerance": 0}, "tolerance=0 is not a positive number"),
        ({"tolerance": "1%"}, "tolerance='1%' is not a positive number"),
        ({"tolerance": float("nan")}, "tolerance=nan is not a positive number"),
        ({"tolerance": 0.1, "steps": 5}, "steps=5 and tolerance=0.1 were both given"),
        ({"method": "banzhaf", "samples": 1}, "samples=1 is not a whole number of at least 2"),
        ({"method": "banzhaf", "samples": 2.5}, "samples=2.5"),
        ({"seed": -1}, "seed=-1 is not a whole number of at least 0"),
        ({"seed": 2**63}, r"seed=9223372036854775808 is not a whole number from 0 to 2\*\*63 - 1"),
        ({"memory": 0}, "memory=0 is not a whole number of at least 1"),
        (
            {"image_layer": [0, 1]},
            r"image_layer=\[0, 1\] is several layers; give one",
        ),
        ({"image_layer": "visual.ln_post"}, "image_layer='visual.ln_post' is not a layer of the image tower"),
        (
            {"method": Banzhaf(), "steps": 3},
            r"steps=3 was given together with method=Banzhaf",
        ),
        ({"processor": 3}, "processor is an int"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        found(**options)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"image_layers": []}, r"image_layers=\[\] names no layer"),
        ({"text_layers": -1}, "text_layers=-1 is not a list of layers; give one layer as a list of one"),
        ({"text_layers": np.int64(0)}, r"text_layers=.*0.* is not a list of layers"),
        ({"image_layers": 3.5}, "image_layers=3.5 is not a list of layers"),
        ({"image_layers": "output"}, "image_layers='output' is not a list of layers"),
        ({"image_layers": [np.array([0, 1])]}, r"image_layer=array\(\[0, 1\]\) is not a layer"),
        ({"image_layers": [0, "visual.ln_post"]}, "image_layer='visual.ln_post' is not a layer"),
    ],
)
def test_layers_that_are_refused(layers: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        explain_layers(MODEL, IMAGE, CAPTION, **layers, **inputs_of(MODEL))


def test_layers_may_be_numbers_of_any_library() -> None:
    layers = [np.array(0), torch.tensor(-1), np.int32(1)]
    found = explain_layers(MODEL, IMAGE, CAPTION, text_layers=[0], image_layers=layers, **inputs_of(MODEL))
    assert list(found) == [(0, 0), (0, -1), (0, 1)]


@pytest.mark.parametrize("options", [{"method": "banzhaf", "samples": 4}, {"image_reference": "noise"}])
def test_the_largest_seed_is_taken(options: dict[str, Any]) -> None:
    assert np.isfinite(found(seed=LARGEST_SEED, **options).values).all()


def test_options_seen_by_editors_are_those_of_the_explainer() -> None:
    """The TypedDicts that type checkers read list what the constructor takes."""
    own = signature(Explainer).parameters
    named = {name for name in own if name not in ("model", "method_options")}
    assert set(get_type_hints(ExplainerOptions)) == named | set(get_type_hints(MethodOptions))
    assert set(get_type_hints(MethodOptions)) == set().union(*map(options_of, METHODS.values())) - {"seed"}
