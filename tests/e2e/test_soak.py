"""A short soak, with every kind of step and of fault; `scripts/soak` is the long one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.browser import Notebook, Wire
from support.servers import write_notebook
from support.soak import SETUP, Plan, Soak

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_nothing_is_lost_doubled_or_stale(open_notebook: Callable[..., Notebook], tmp_path: Path) -> None:
    wires: list[Wire] = []
    path = write_notebook(tmp_path / "soak.ipynb", SETUP)
    notebook = open_notebook(path, lambda page: wires.append(Wire(page)))
    soak = Soak(notebook, wires[0], tmp_path, seed=1)
    soak.run(Plan(captions=12, images=4, layers=4, cuts=0.1, reloads=0.05, kills=0.05))
    assert soak.done == {"caption": 12, "image": 4, "layer": 4, "cut": 2, "reload": 1, "kill": 1}
