"""What all methods have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.explaining import IMAGE, found
from support.oracle import assert_close
from support.zoo.models import build, inputs_of

from exclip_widget import explain
from exclip_widget.methods import METHODS


def test_methods_without_completeness_say_so() -> None:
    for method in ("similarity", "gradient", "banzhaf"):
        result = found(method=method)
        assert np.isnan(result.total)
        assert np.isnan(result.residual)
        assert "residual" not in repr(result)


@settings(max_examples=8, deadline=None, database=None)
@given(
    memory=st.integers(1, 2**22),
    method=st.sampled_from(list(METHODS)),
    layers=st.sampled_from([(-1, -1), (0, 0), (0, -1), (-1, 0)]),
)
def test_memory_changes_nothing_but_time(memory: int, method: str, layers: Any) -> None:
    options = {"method": method, "text_layer": layers[0], "image_layer": layers[1]}
    model = build("openai")
    inputs = inputs_of(model)
    small = explain(model, IMAGE, "a boat", memory=memory, **options, **inputs)
    assert_close(small.values, explain(model, IMAGE, "a boat", **options, **inputs).values, 1e-4)
