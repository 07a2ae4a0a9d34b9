"""Several captions in a notebook: the list agrees with Python, and selects the caption to explain."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect
from support.browser import Notebook
from support.instrument import CAPTION, DONE, DONE_MS, MAKE, MARKUP, Instrument
from support.widgets import make

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BLUE = CAPTION.replace("red", "blue")
CAPTIONS = ["a photo of a green car", CAPTION, BLUE, MARKUP, "two yellow fish"]
LIST = f"{MAKE}widget = ExplainWidget(book.model, page.image, {CAPTIONS!r}, **options)\nwidget"


def said(root: Locator) -> list[str]:
    """Return the text of each row of the list, from the first rank on."""
    return [text.replace("−", "-") for text in root.get_by_role("option").all_text_contents()]


def expected(view: Instrument) -> list[str]:
    """Return the same, from Python."""
    ranked = view.python(
        "[(w.captions[i], float(w.classification.similarities[i]), float(w.classification.probabilities[i]))"
        " for i in w.classification.order]"
    )
    return [
        f"{rank + 1}{caption}, similarity {similarity:.3f}, softmax probability "
        + ("< 0.1 %" if 0 < probability < 0.001 else f"{100 * probability:.1f} %")
        for rank, (caption, similarity, probability) in enumerate(ranked)
    ]


def test_captions_are_ranked_chosen_and_compared(run_cell: Callable[[str], Notebook]) -> None:
    notebook = run_cell(LIST)
    notebook.wait_for(DONE, DONE_MS)
    notebook.wait_until_run()
    view = Instrument(notebook, notebook.page.get_by_test_id("exclip"))
    option = view.root.get_by_role("option")
    expect(option).to_have_count(len(CAPTIONS))
    assert said(view.root) == expected(view)
    assert notebook.page.evaluate("window.ran") is None
    expect(view.root.get_by_role("option", selected=True)).to_contain_text([CAPTIONS[0]])

    option.filter(has_text=CAPTION).click()
    view.wait_for("w.caption", CAPTION)
    view.check()
    option.filter(has_text=BLUE).click(modifiers=["Shift"])
    view.wait_for("w.foil", BLUE)
    expect(view.root.get_by_test_id("exclip-line-difference").get_by_test_id("exclip-word")).to_have_text(
        [word.replace("red", "red − blue") for word in CAPTION.split()]
    )
    expect(view.root.get_by_role("option", selected=True)).to_have_count(2)

    # With the keyboard alone: from the focused caption to the last one, selected without a foil.
    option.filter(has_text=CAPTION).focus()
    notebook.page.keyboard.press("End")
    notebook.page.keyboard.press("Enter")
    last = view.python("w.captions[w.classification.order[-1]]")
    view.wait_for("[w.caption, w.foil]", [last, None])

    # An edited caption replaces the old one and is ranked; a new image ranks all of them again.
    view.button("Edit the caption").click()
    view.edit("a small red boat")
    view.wait_for("w.classification and 'a small red boat' in w.classification.captions", True)
    expect(option.filter(has_text="a small red boat")).to_have_attribute("aria-selected", "true")
    notebook.execute("widget.image = book.pages[4].image\n_ = widget.wait(60)")
    expect(option.first).to_contain_text(view.python("w.classification.best"))
    assert said(view.root) == expected(view)
    notebook.execute("widget.captions = ['a tree', *widget.captions[:2]]\n_ = widget.wait(60)")
    expect(option).to_have_count(3)
    assert said(view.root) == expected(view)


def test_a_written_page_shows_the_list(browser: Browser, tmp_path: Path) -> None:
    widget = make(caption=CAPTIONS)
    widget.to_html(tmp_path / "boat.html")
    page = browser.new_context(offline=True).new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "boat.html").as_uri())
    option = page.get_by_role("option")
    assert widget.classification is not None
    expect(option.first).to_contain_text(widget.classification.best)
    expect(option).to_have_count(len(CAPTIONS))
    option.last.click(force=True)
    expect(page.get_by_role("option", selected=True)).to_contain_text(CAPTIONS[0])
    expect(page.get_by_test_id("exclip-compare")).to_be_hidden()
    assert errors == []
    page.context.close()
