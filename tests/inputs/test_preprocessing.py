"""Preprocessing: which outputs are accepted, and which are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.explaining import MODEL, values_of, values_or_refusal
from support.oracle import assert_close
from support.zoo.inputs import picture
from support.zoo.models import preprocess_for

from exclip_widget import ExclipError


@pytest.mark.parametrize(
    "result",
    [
        None,
        "tensor",
        torch.zeros(3, 32),
        torch.zeros(3, 16, 16),
        torch.zeros(1, 32, 32),
        torch.zeros(2, 3, 32, 32),
        torch.full((3, 32, 32), float("nan")),
        torch.zeros(0),
    ],
    ids=["None", "str", "flat", "small", "grey", "two", "nan", "empty"],
)
def test_preprocessing_that_gives_nonsense(result: Any) -> None:
    with pytest.raises(ExclipError) as refusal:
        values_of(picture(), preprocess=lambda _: result)
    assert "preprocess" in str(refusal.value)


def test_preprocessing_that_gives_other_precision() -> None:
    preprocess = preprocess_for(MODEL)
    values = values_of(picture(), preprocess=lambda image: preprocess(image).double())
    assert_close(values, values_of(picture()), 1e-5)


def test_preprocessing_that_gives_a_batch_of_one() -> None:
    preprocess = preprocess_for(MODEL)
    outcome = values_or_refusal(ExclipError, picture(), preprocess=lambda image: preprocess(image)[None])
    if isinstance(outcome, str):
        assert "(1, 3, 32, 32)" in outcome.replace("[", "(").replace("]", ")")
        return
    np.testing.assert_array_equal(outcome, values_of(picture()))
