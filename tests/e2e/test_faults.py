"""What can go wrong around a widget in JupyterLab: no kernel, a new one, an interrupt, a cancel, a close."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import CURRENT, Notebook, write_notebook
from playwright.sync_api import expect

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DONE_MS = 300_000

# A second at the layers that a method chooses by itself, minutes from the first layer on.
MAKE = """
import threading, weakref
from IPython.display import display
from exclip_widget import ExplainWidget, demo

book = demo.load()
page = book.pages[0]
widget = ExplainWidget(book.model, page.image, page.caption, tokenizer=book.tokenizer, steps=500)
display(widget)  # not as the cell's value, which IPython would keep
"""

OpenNotebook = Callable[[Path], Notebook]


class Shown:
    """The widget on the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.root = notebook.wait_for("[data-testid=exclip]", DONE_MS)
        self.words = self.root.get_by_test_id("exclip-word")
        self.heat = self.root.get_by_test_id("exclip-heat")
        self.notice = self.root.get_by_test_id("exclip-notice")
        self.layer = self.root.get_by_test_id("exclip-image_layer")

    def wait_for_phase(self, phase: str) -> None:
        expect(self.root).to_have_attribute("data-phase", phase, timeout=DONE_MS)

    def look(self) -> tuple[str, list[str | None]]:
        """What is painted, and the scores that the words are tinted by."""
        self.notebook.page.wait_for_timeout(300)  # both follow in the next frame
        values = [word.get_attribute("data-value") for word in self.words.all()]
        return str(self.heat.evaluate("canvas => canvas.toDataURL()")), values

    def brush(self) -> None:
        """A word changes the heat, a patch changes the words' tints; nothing is selected afterwards."""
        page = self.notebook.page
        page.mouse.move(0, 0)
        plain = self.look()
        assert all(value is not None for value in plain[1]), "no result is shown"
        self.words.nth(1).click()
        expect(self.words.nth(1)).to_have_attribute("aria-pressed", "true")
        page.mouse.move(0, 0)
        by_word = self.look()
        assert by_word[0] != plain[0], "the heat did not follow the word"
        self.words.nth(1).click()
        self.heat.scroll_into_view_if_needed()
        self.heat.click()
        page.mouse.move(0, 0)
        by_patch = self.look()
        assert by_patch[1] != plain[1], "the words did not follow the patch"
        self.words.nth(1).focus()
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
        assert self.look()[1] == plain[1]

    def ask_for_the_first_layer(self) -> None:
        """Something that takes minutes."""
        self.layer.focus()
        self.notebook.page.keyboard.press("Home")
        self.wait_for_phase("computing")

    def wait_for_estimate(self) -> None:
        """Until something of what is computed is there."""
        expect(self.root.get_by_test_id("exclip-progress")).to_have_attribute(
            "aria-valuenow", re.compile(r"\d+"), timeout=DONE_MS
        )

    def expect_asking(self, able: bool) -> None:
        """Whether everything that asks the kernel can be used."""
        controls = [
            self.layer,
            self.root.get_by_test_id("exclip-text_layer"),
            self.root.get_by_test_id("exclip-line-caption").get_by_label("Edit the caption"),
            self.root.get_by_test_id("exclip-choose"),
            self.root.locator("[data-method]").first,
        ]
        for control in controls:
            expect(control).to_have_attribute("aria-disabled", str(not able).lower(), timeout=60_000)
        offline = self.root.get_by_test_id("exclip-offline")
        if able:
            expect(offline).to_be_hidden()
        else:
            expect(offline).to_contain_text("needs a running kernel")


@pytest.fixture
def start(open_notebook: OpenNotebook, tmp_path: Path) -> Callable[[], Shown]:
    def started() -> Shown:
        notebook = open_notebook(write_notebook(tmp_path / "faults.ipynb", MAKE))
        notebook.run_all()
        shown = Shown(notebook)
        shown.wait_for_phase("done")
        notebook.wait_until_run()
        return shown

    return started


def test_saved_notebook_opened_again(start: Callable[[], Shown]) -> None:
    shown = start()
    notebook = shown.notebook
    before = shown.look()[1]
    notebook.save_and_reopen()
    shown = Shown(notebook)
    shown.wait_for_phase("done")
    assert notebook.value("'widget' in globals()") is False  # nobody there knows of it
    assert shown.look()[1] == before
    shown.brush()
    shown.expect_asking(False)
    shown.brush()
    expect(shown.notice).to_be_hidden()
    # Neither keys nor clicks do what is disabled.
    shown.layer.focus()
    notebook.page.keyboard.press("Home")
    shown.words.first.focus()
    notebook.page.keyboard.press("F2")
    expect(shown.root.locator("textarea, [contenteditable=true]")).to_have_count(0)
    shown.wait_for_phase("done")
    # Without any kernel at all.
    notebook.shut_down()
    shown.brush()
    assert shown.look()[1] == before


def test_interrupt_cancel_and_close_in_mid_stream(start: Callable[[], Shown]) -> None:
    shown = start()
    notebook = shown.notebook
    good = shown.look()[1]

    # An interrupted cell does not take the widget with it.
    shown.ask_for_the_first_layer()
    notebook.page.evaluate(
        f"""() => {{
            {CURRENT}
            const kernel = panel.context.sessionContext.session.kernel;
            window.waiting = kernel.requestExecute({{ code: "widget.wait()" }}).done
                .then(reply => reply.content.ename ?? reply.content.status);
        }}"""
    )
    notebook.page.wait_for_timeout(500)
    kernel(notebook, "interrupt()")
    assert notebook.page.evaluate("() => window.waiting") == "KeyboardInterrupt"
    kernel(notebook, "interrupt()")  # and one while nothing runs
    assert notebook.value("widget._status['phase']") == "computing"
    shown.wait_for_estimate()
    shown.words.nth(1).click()
    expect(shown.words.nth(1)).to_have_attribute("aria-pressed", "true")
    notebook.wait_for_value("len(widget.tokens) > 0", True)
    shown.expect_asking(True)

    # Cancel is seen at once, and heard soon.
    took = shown.root.get_by_test_id("exclip-cancel").evaluate(
        """async button => {
            const root = button.closest("[data-testid=exclip]");
            const start = performance.now();
            button.click();
            while (root.dataset.phase !== "cancelled") await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            return performance.now() - start;
        }"""
    )
    assert took <= 200, f"cancelling took {took:.0f} ms"
    expect(shown.notice).to_contain_text("Cancelled")
    notebook.wait_for_value("widget._status['phase']", "cancelled")
    notebook.wait_for_value(THREADS, 0)
    assert notebook.value("widget.interactions.nodes < widget.interactions.steps")
    shown.wait_for_phase("cancelled")
    shown.layer.focus()
    notebook.page.keyboard.press("End")
    shown.wait_for_phase("done")
    assert shown.look()[1] != good  # of another layer

    # A widget that is closed in mid-stream leaves nothing behind.
    notebook.execute("kept = [weakref.ref(widget), weakref.ref(widget._inputs)]")
    shown.ask_for_the_first_layer()
    notebook.wait_for_value(THREADS, 1)
    notebook.execute("widget.close(); del widget")
    expect(shown.root).to_have_count(0)
    notebook.wait_for_value(THREADS, 0)
    # The traceback of the interrupt, which Python keeps, has it too.
    notebook.execute(
        "import gc, sys; sys.last_exc = sys.last_value = sys.last_traceback = None\n"
        "get_ipython().InteractiveTB.etype = get_ipython().InteractiveTB.evalue = None\n"
        "get_ipython().InteractiveTB.etb = get_ipython().InteractiveTB.tb = None\n"
        "gc.collect()"
    )
    assert notebook.value("[one() is None for one in kept]") == [True, True]


def test_kernel_restarted_in_mid_stream(start: Callable[[], Shown]) -> None:
    shown = start()
    notebook = shown.notebook
    good = shown.look()
    shown.ask_for_the_first_layer()
    kernel(notebook, "restart()")
    notebook.wait_until_idle()
    expect(shown.notice).to_contain_text("run the cell again", timeout=60_000)
    assert shown.look() == good
    shown.brush()
    shown.root.get_by_test_id("exclip-cancel").click()
    shown.wait_for_phase("cancelled")
    expect(shown.notice).to_contain_text("What is shown is the result before")

    # What it says helps.
    notebook.run_all()
    notebook.wait_until_run()
    again = Shown(notebook)
    again.wait_for_phase("done")
    assert again.look()[1] == good[1]
    again.brush()
    again.expect_asking(True)


THREADS = "sum(thread.name == 'exclip-widget' for thread in threading.enumerate())"


def kernel(notebook: Notebook, member: str) -> Any:
    """A member of the kernel's connection in the page, or None where there is no kernel."""
    return notebook.page.evaluate(
        f"async () => {{ {CURRENT} return await panel.context.sessionContext.session?.kernel?.{member}; }}"
    )
