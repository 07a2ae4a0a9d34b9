"""The examples in docstrings run and print what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import exclip_widget

MODULES = [
    module.name
    for module in pkgutil.walk_packages(exclip_widget.__path__, "exclip_widget.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_the_main_functions_have_examples() -> None:
    finder = doctest.DocTestFinder()
    for function in (exclip_widget.explain, exclip_widget.explain_layers, exclip_widget.Explainer):
        (found, *_) = [test for test in finder.find(function) if test.name == function.__name__]
        assert found.examples
