"""The picture book, loaded once."""

from __future__ import annotations

import pytest
from support.widgets import book as load

from exclip_widget import demo


@pytest.fixture(scope="session")
def book() -> demo.PictureBook:
    return load()
