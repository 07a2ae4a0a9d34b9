"""The errors of the package."""

from __future__ import annotations

import exclip_widget
from exclip_widget import ExclipError


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
