"""The same widget in other hosts: Jupyter Notebook 7, and marimo, which puts it in a shadow root."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect
from support.browser import REACT_S, Notebook, wait_for_frame
from support.servers import ClassicServer, MarimoServer, write_notebook

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
RESULTS = Path(__file__).parents[2] / "test-results"
DONE_MS = 300_000

MAKE = """
from exclip_widget import ExplainWidget, demo

book = demo.load()
page = book.pages[0]
widget = ExplainWidget(book.model, page.image, page.caption, tokenizer=book.tokenizer)
"""

APP = f"""
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
{re.sub("^(?=.)", "    ", MAKE, flags=re.MULTILINE)}
    view = mo.ui.anywidget(widget)
    view
    return mo, view


@app.cell
def _(mo, view):
    mo.md(f"selected {{view.value['tokens']}} and {{len(view.value['region'])}} patches")
    return


if __name__ == "__main__":
    app.run()
"""


def ask(root: Locator, folder: Path) -> None:
    """Edit the caption, test a selection and upload an image, in any host."""
    page = root.page
    root.get_by_role("button", name="Edit the caption").first.click()
    field = root.get_by_test_id("exclip-field-caption")
    field.fill("a green snail")
    field.press("Enter")
    words = root.get_by_test_id("exclip-word")
    expect(words).to_have_text(["a", "green", "snail"])
    expect(root).to_have_attribute("data-phase", "done")
    words.last.click()
    test = root.get_by_role("button", name="Test this selection")
    test.click()
    row = root.get_by_test_id("exclip-trials").get_by_role("button").filter(has_text="snail")
    expect(row).to_be_visible()
    heat = root.get_by_test_id("exclip-heat")
    page.mouse.move(0, 0)
    wait_for_frame(page)
    before = heat.evaluate("canvas => canvas.toDataURL()")
    picture = folder / "grey.png"
    Image.new("RGB", (1400, 700), (120, 130, 125)).save(picture)
    root.get_by_test_id("exclip-file").set_input_files(picture)
    expect(row).to_be_hidden()  # it belonged to another image
    expect(root).to_have_attribute("data-phase", "done")
    # A host may deliver the result after the message that the computation is done.
    page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before", arg=[heat.element_handle(), before]
    )


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open a new page; the test fails if it logs an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(REACT_S * 1000)
    page = context.new_page()
    errors: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # Errors of the host itself don't count; those of the widget's module or its messages do.
        if message.type == "error" and re.search(r"exclip|widget", message.text):
            errors.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error.stack or error}"))
    yield page
    RESULTS.mkdir(exist_ok=True)
    page.screenshot(path=RESULTS / f"{request.node.name}.png")
    context.close()
    assert not errors


def test_notebook_7(browser: Browser, tmp_path: Path) -> None:
    with ClassicServer(tmp_path / "server") as server:
        path = write_notebook(tmp_path / "widget.ipynb", MAKE + "widget")
        shutil.copyfile(path, server.notebooks / "widget.ipynb")
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        notebook = Notebook(context.new_page(), server.url("widget.ipynb"))
        notebook.run_all()
        root = notebook.wait_for("[data-testid=exclip][data-phase=done]", DONE_MS)
        word = root.get_by_test_id("exclip-word").nth(1)
        word.click()
        expect(word).to_have_attribute("aria-pressed", "true")
        rows = [int(row) for row in re.findall(r"\d+", word.get_attribute("data-tokens") or "")]
        notebook.wait_for_value("widget.tokens", rows)
        ask(root, tmp_path)
        assert notebook.value("[widget.caption, *widget.image.size]") == ["a green snail", 1400, 700]
        notebook.screenshot(RESULTS / "test_notebook_7.png")
        notebook.shut_down()
        context.close()
        # Notebook 7.6 throws while loading its own settings, even without a widget.
        notebook.errors = [error for error in notebook.errors if "reading 'schema'" not in error]
        notebook.check_console()


def test_marimo(page: Page, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    home = tmp_path / "home"
    home.mkdir()
    with MarimoServer(home, app) as server:
        page.goto(server.url)
        # Playwright looks into open shadow roots.
        root = page.locator("[data-testid=exclip][data-phase=done]")
        root.wait_for(timeout=DONE_MS)
        word = root.get_by_test_id("exclip-word").nth(1)
        word.click()
        expect(word).to_have_attribute("aria-pressed", "true")
        rows = [int(row) for row in re.findall(r"\d+", word.get_attribute("data-tokens") or "")]
        expect(page.get_by_text(f"selected {rows} and 0 patches")).to_be_visible()
        ask(root, tmp_path)
        heat = root.get_by_test_id("exclip-heat")
        assert heat.evaluate("canvas => canvas.width * canvas.height") > 0
