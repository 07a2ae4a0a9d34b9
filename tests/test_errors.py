"""The errors of the package."""

from __future__ import annotations

import io
import re
from collections import UserDict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import exclip_widget
from exclip_widget import ExclipError, errors


def test_errors_are_also_pythons_own() -> None:
    """Code that catches ValueError or TypeError need not know about this package."""
    assert issubclass(exclip_widget.errors.ExclipError, Exception)
    for name, base in [
        ("CaptionError", ValueError),
        ("ImageError", ValueError),
        ("ModelError", TypeError),
        ("ParameterError", ValueError),
    ]:
        kind = getattr(exclip_widget.errors, name)
        assert getattr(exclip_widget, name) is kind
        assert issubclass(kind, ExclipError)
        assert issubclass(kind, base)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (3, "an int"),
        (np.zeros(2), "an ndarray"),
        (io.BytesIO(), "a BytesIO"),
        (np.uint8(3), "a uint8"),
        ("a boat", "a str"),
        (None, "a NoneType"),
        (UserDict(), "a UserDict"),
        (Image.new("RGB", (1, 1)), "an Image"),
    ],
)
def test_types_have_the_right_article(value: object, named: str) -> None:
    assert errors.named_type(value) == named


def test_messages_leave_the_article_to_it() -> None:
    written = re.compile(r"\ban? \{type\(")
    files = Path(errors.__file__).parent.rglob("*.py")
    assert [file for file in files if written.search(file.read_text("utf-8"))] == []
