"""Make a test behave as if a library were not installed."""

from __future__ import annotations

import sys

import pytest


class _Missing:
    """A finder that fails to find any module of a library."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self.library)


def hide_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make importing a library fail until the test ends."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Missing(library), *sys.meta_path])
