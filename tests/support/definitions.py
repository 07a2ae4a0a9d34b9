"""The oracle's values for the zoo's CLIP models, and checks that an explanation agrees with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from exclip_widget import Interactions
from support.oracle import Truth, assert_close, explain_slowly
from support.zoo.inputs import CAPTIONS, SMALL_CAPTIONS
from support.zoo.models import preprocess_for, tokenizer_for


def captions_of(name: str) -> tuple[str, ...]:
    return SMALL_CAPTIONS if name == "small vocabulary" else CAPTIONS


def definition(
    model: nn.Module, image: Image.Image, caption: str, *, rule: str, steps: int, **options: Any
) -> Truth:
    picture, ids = preprocess_for(model)(image), tokenizer_for(model)(caption)
    return explain_slowly(model, picture, ids, rule=rule, steps=steps, **options)


def assert_agree(found: Interactions, truth: Truth, tolerance: float) -> None:
    """Compare every number of an explanation, for patches and the class token."""
    assert found.values.dtype == np.float32
    assert found.cls.dtype == np.float32
    # The oracle's rows end with the caption. A tower that reads padding has more: see tests/test_families.py.
    rows = len(truth.values)
    assert set(found.tokens[rows:]) <= {"<cls>", "<pad>"}
    assert_close(found.values[:rows], truth.values, tolerance)
    scale = np.abs(truth.values).max()
    assert found.cls.shape == found.values.shape[:1]
    assert np.abs(found.cls[:rows] - truth.cls).max() <= tolerance * max(np.abs(truth.cls).max(), scale)
    assert found.total == pytest.approx(truth.total, rel=tolerance, abs=tolerance * scale)
    assert found.similarity == pytest.approx(truth.similarity, abs=tolerance)
