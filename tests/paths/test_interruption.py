"""A computation that is no longer wanted stops before its next pass and leaves nothing half-changed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.snapshots import unchanged
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of

from exclip_widget import explain
from exclip_widget.paths.interruption import NoLongerWantedError, end_if_unwanted, interruptible

IMAGE = Image.fromarray(scene(0))
METHODS = {"frozen": 5, "exclip": 10, "banzhaf": 2}
"""The minimum number of places at which each method can be stopped."""


@pytest.mark.parametrize("method", METHODS)
def test_it_ends_wherever_it_is(method: str) -> None:
    model = build("plain")
    options: dict[str, Any] = inputs_of(model) | {"method": method, "text_layer": 0, "image_layer": 0}
    if method == "banzhaf":
        del options["text_layer"], options["image_layer"]
    whole = explain(build("plain"), IMAGE, "a red boat", **options)
    for most in itertools.count():
        left = most

        def is_wanted() -> bool:
            nonlocal left
            left -= 1
            return left >= 0

        with unchanged(model):
            try:
                with interruptible(is_wanted):
                    found = explain(model, IMAGE, "a red boat", **options)
            except NoLongerWantedError:
                assert left == -1  # nothing was started after the stop
                continue
        break
    assert most >= METHODS[method]
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)


def test_nobody_asks_outside() -> None:
    with interruptible(lambda: False), pytest.raises(NoLongerWantedError):
        end_if_unwanted()
    end_if_unwanted()
    with interruptible(lambda: False), interruptible(lambda: True):
        end_if_unwanted()
