"""What an import loads: reading results needs no torch, and explaining needs no widget."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

import exclip_widget


@functools.cache
def loaded_by(code: str) -> set[str]:
    """Return the names of all modules that a new process has loaded after running `code`."""
    script = f"{code}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_results_are_read_without_torch() -> None:
    loaded = loaded_by("import exclip_widget.results")
    assert "exclip_widget.results.interactions" in loaded
    assert not loaded & {"torch", "open_clip", "anywidget", "exclip_widget.demo"}


def test_data_sets_are_read_without_torch() -> None:
    loaded = loaded_by("import exclip_widget.datasets")
    assert "exclip_widget.datasets.coco" in loaded
    assert not loaded & {"torch", "open_clip", "anywidget", "datasets", "pyarrow"}


def test_stores_are_asked_without_torch() -> None:
    loaded = loaded_by("import exclip_widget.store")
    assert "exclip_widget.store.asking" in loaded
    assert not loaded & {"torch", "open_clip", "anywidget", "pyarrow"}  # pyarrow loads when a store is opened


@pytest.mark.parametrize("name", ["torch", "open_clip", "anywidget", "exclip_widget.demo"])
def test_the_package_loads_nothing_until_it_is_used(name: str) -> None:
    assert name not in loaded_by("import exclip_widget")


def test_explaining_loads_no_widget() -> None:
    loaded = loaded_by("from exclip_widget import explain")
    assert not loaded & {"anywidget", "ipywidgets", "exclip_widget.demo"}


@pytest.mark.parametrize("name", exclip_widget.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(exclip_widget, name) is not None
    assert name in dir(exclip_widget)


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="no attribute 'explayn'"):
        _ = exclip_widget.explayn
