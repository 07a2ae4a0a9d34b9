"""Libraries that are not installed, as far as a test can see."""

from __future__ import annotations

import sys

import pytest


class _Missing:
    """Finds no module of a library, as if there were none."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self.library)


def hide_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a library be missing until the test ends."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Missing(library), *sys.meta_path])
