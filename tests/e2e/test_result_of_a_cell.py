"""A result as the value of a cell: it is shown as the widget, without anything that needs a model."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.browser import Notebook
from support.instrument import DONE_MS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CELL = """
from exclip_widget import demo, explain

book = demo.load()
result = explain(book.model, book.pages[0].image, "a red boat", tokenizer=book.tokenizer)
result
"""


def test_it_is_the_widget_and_can_be_selected_in(run_cell: Callable[[str], Notebook]) -> None:
    notebook = run_cell(CELL)
    root = notebook.wait_for("[data-testid=exclip]", DONE_MS)
    words = root.get_by_test_id("exclip-word")
    expect(words).to_have_text(["a", "red", "boat"])
    words.nth(2).click()
    expect(words.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(root.get_by_test_id("exclip-readout")).to_contain_text("boat × image")
    shown = float(str(root.locator("[data-figure=selection]").get_attribute("data-value")))
    assert shown == pytest.approx(notebook.value("float(result.between('boat'))"), abs=1e-6)
