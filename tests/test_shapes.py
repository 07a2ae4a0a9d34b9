"""Shapes in signatures are checked, and cost nothing if there are none."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from support.shapes import unchecked_arrays

from exclip_widget.evaluate.metrics import energy
from exclip_widget.results import Interactions, Tokens
from exclip_widget.results.latex import escape

HEAT = np.ones((2, 3))


def test_arrays_of_shapes_that_differ_are_refused() -> None:
    assert energy(HEAT, HEAT) == 1
    with pytest.raises(TypeCheckError, match="rows columns"):
        energy(HEAT, HEAT[:, :1])
    with unchecked_arrays():
        assert energy(HEAT, HEAT[:, :1]) == 1


def test_what_has_no_arrays_stays_as_it_is() -> None:
    assert hasattr(energy, "__wrapped__")
    assert hasattr(Interactions.__init__, "__wrapped__")
    assert not hasattr(escape, "__wrapped__")
    assert not hasattr(Tokens.__init__, "__wrapped__")
