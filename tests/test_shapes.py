"""Shapes in signatures are checked; code without shapes pays nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintParamViolation
from support.shapes import unchecked_arrays

from exclip_widget.evaluate.metrics import energy

HEAT = np.ones((2, 3))


def test_arrays_of_shapes_that_differ_are_refused() -> None:
    assert energy(HEAT, HEAT) == 1
    with pytest.raises(BeartypeCallHintParamViolation, match="rows columns"):
        energy(HEAT, HEAT[:, :1])
    with unchecked_arrays():
        assert energy(HEAT, HEAT[:, :1]) == 1


IN_A_NEW_PROCESS = """
from support.shapes import install_checks

install_checks("exclip_widget")

from exclip_widget.evaluate.metrics import energy
from exclip_widget.results import Interactions, Tokens
from exclip_widget.results.latex import escape

for function in (energy, Interactions.__init__, escape, Tokens.__init__):
    print(hasattr(function, "__wrapped__"))
"""


def test_what_has_no_arrays_stays_as_it_is() -> None:
    """Run in a new process, because the checks are added on import."""
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])},
    )
    assert done.stdout.split() == ["True", "True", "False", "False"]
