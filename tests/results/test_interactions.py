"""The fields of a result."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image
from support.results import result_of
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import build, inputs_of

from exclip_widget import explain


def test_fields() -> None:
    model, image = build("plain"), Image.fromarray(scene(1))
    found = explain(model, image, CAPTIONS[1], steps=3, rule="midpoint", **inputs_of(model), method="exclip")
    words = CAPTIONS[1].split()
    assert found.caption == CAPTIONS[1]
    assert (found.steps, found.rule) == (3, "midpoint")
    assert found.tokens == ("<sot>", *words, "<eot>")
    assert found.values.shape == (len(found.tokens), 4, 4)
    assert found.cls.shape == (len(found.tokens),)
    assert (found.spans[0], found.spans[-1]) == (None, None)
    assert [found.caption[start:end] for start, end in found.spans[1:-1]] == words
    assert found.words == (-1, *range(len(words)), -1)
    assert all(type(getattr(found, name)) is float for name in ("similarity", "total", "residual"))


def test_a_result_never_changes() -> None:
    """It cannot be changed through its own arrays, nor through those that it was made from."""
    given = result_of()
    values = given.values.copy()
    found = replace(given, values=values)
    values[:] = 7
    assert found == given
    for array in (found.values, found.cls):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
