"""The examples run offline from start to end. `tests/e2e` runs the quickstart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted({path.name for path in EXAMPLES.glob("*.ipynb")} - {"quickstart.ipynb"})
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks(name: str, tmp_path: Path) -> None:
    import nbformat  # these two take longer to import than the whole package
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "clear the outputs of example notebooks"
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    # Readers would see every warning of a cell. Only the one about random weights is allowed.
    printed = [out for cell in code for out in cell.outputs if out.output_type == "stream"]
    warned = "".join(out.text for out in printed if out.name == "stderr")
    assert all("No pretrained weights loaded" in line for line in warned.splitlines())
    assert any(cell.outputs for cell in code)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(name: str, tmp_path: Path) -> None:
    if "openai" in name:
        pytest.importorskip("clip", reason="pip install --no-deps clip-anytorch")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "(14, 14, 14)\n"
