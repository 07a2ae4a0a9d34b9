"""What can go wrong around a widget in JupyterLab: no kernel, a new one, none in reach, a cancel, a close."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support.browser import CURRENT, Notebook, Wire, wait_for_frame
from support.servers import write_notebook

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

OpenNotebook = Callable[..., Notebook]


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
        wait_for_frame(self.notebook.page)  # the heat follows there
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
        # Not the 100 of the computation before, which is there until this one has begun.
        expect(self.root.get_by_test_id("exclip-progress")).to_have_attribute(
            "aria-valuenow", re.compile(r"^\d\d?$"), timeout=DONE_MS
        )
        expect(self.root).not_to_have_class(re.compile("exclip-stale"))

    def ask_for_caption(self, caption: str) -> None:
        """Writes one, and leaves the field to be closed by the answer."""
        field = self.root.get_by_test_id("exclip-field-caption")
        if not field.is_visible():
            self.words.first.focus()
            self.notebook.page.keyboard.press("F2")
        field.fill(caption)
        field.press("Enter")

    def expect_result(self, caption: str) -> None:
        """What is on the screen is this caption's finished result, and nothing else is said."""
        # First of all on the page: what is asked of the kernel here helps a widget that it does not reach.
        expect(self.words).to_have_text(caption.split(), timeout=DONE_MS)
        self.wait_for_phase("done")
        expect(self.root.get_by_test_id("exclip-field-caption")).to_be_hidden()
        expect(self.root).not_to_have_class(re.compile("exclip-stale"))
        expect(self.notice).to_be_hidden()
        self.notebook.page.mouse.move(0, 0)
        told = self.notebook.value("[widget.caption, widget.interactions.caption, widget._request['phase']]")
        assert told == [caption, caption, "done"]
        sums = self.notebook.value("widget.interactions.values.sum((1, 2), float).tolist()")
        rows = [word.get_attribute("data-tokens") or "" for word in self.words.all()]
        expected = [sum(sums[int(row)] for row in some.split(",")) for some in rows]
        assert numbers(self.look()[1]) == pytest.approx(expected, abs=2e-6)

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
def start(open_notebook: OpenNotebook, tmp_path: Path) -> Callable[..., Shown]:
    def started(prepare: Callable[[Page], object] | None = None) -> Shown:
        notebook = open_notebook(write_notebook(tmp_path / "faults.ipynb", MAKE), prepare)
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
            const future = kernel.requestExecute({{ code: "print('here', flush=True); widget.wait()" }});
            future.onIOPub = message => {{ window.waits ||= message.header.msg_type === "stream"; }};
            window.waiting = future.done.then(reply => reply.content.ename ?? reply.content.status);
        }}"""
    )
    notebook.page.wait_for_function("() => window.waits")
    kernel(notebook, "interrupt()")
    assert notebook.page.evaluate("() => window.waiting") == "KeyboardInterrupt"
    kernel(notebook, "interrupt()")  # and one while nothing runs
    assert notebook.value("widget._request['phase']") == "computing"
    shown.wait_for_estimate()
    shown.words.nth(1).click()
    expect(shown.words.nth(1)).to_have_attribute("aria-pressed", "true")
    notebook.wait_for_value("len(widget.tokens) > 0", True)
    shown.expect_asking(True)

    # Cancel is seen at once, and heard soon.
    took, phase = shown.root.get_by_test_id("exclip-cancel").evaluate(
        """async button => {
            const root = button.closest("[data-testid=exclip]");
            const start = performance.now();
            button.click();
            const took = performance.now() - start;
            // In the next frame, which is the machine's to make.
            await new Promise(requestAnimationFrame);
            return [took, root.dataset.phase];
        }"""
    )
    assert phase == "cancelled"
    assert took <= 200, f"cancelling took {took:.0f} ms"
    expect(shown.notice).to_contain_text("Cancelled")
    notebook.wait_for_value("widget._request['phase']", "cancelled")
    notebook.wait_for_value(THREADS, 0)
    assert notebook.value("widget.interactions.nodes < widget.interactions.steps")
    shown.wait_for_phase("cancelled")
    shown.layer.focus()
    notebook.page.keyboard.press("End")
    shown.wait_for_phase("done")
    assert shown.look()[1] != good  # of another layer

    # A widget that is closed in mid-stream leaves nothing behind.
    notebook.execute("kept = [weakref.ref(widget), weakref.ref(widget.session.request)]")
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


def test_kernel_restarted_in_mid_stream(start: Callable[..., Shown], tmp_path: Path) -> None:
    shown = start()
    notebook = shown.notebook
    good = shown.look()
    Held(notebook, tmp_path).hold(0)  # nothing of it is shown, however long a restart takes
    shown.ask_for_the_first_layer()
    kernel(notebook, "restart()")
    notebook.wait_until_idle()
    expect(shown.notice).to_contain_text("run the cell again", timeout=60_000)
    assert shown.look() == good
    shown.brush()
    shown.root.get_by_test_id("exclip-cancel").click()
    shown.wait_for_phase("cancelled")
    expect(shown.notice).to_contain_text("Showing the previous result")

    # What it says helps.
    notebook.run_all()
    notebook.wait_until_run()
    again = Shown(notebook)
    again.wait_for_phase("done")
    assert numbers(again.look()[1]) == pytest.approx(numbers(good[1]), abs=2e-6)  # of another kernel
    again.brush()
    again.expect_asking(True)


class Held:
    """A widget that stops on its way to a result until it may go on, and tells how far it is.

    Through files, which reach the kernel when messages do not.
    """

    def __init__(self, notebook: Notebook, folder: Path) -> None:
        self._phase, self._bars = folder / "phase", [folder / f"bar-{number}" for number in (0, 1)]
        notebook.execute(
            f"""
import pathlib, time
phase, bars = pathlib.Path({str(self._phase)!r}), [pathlib.Path(bar) for bar in {[*map(str, self._bars)]!r}]
estimates = widget.session._cache.estimates
def held(*given):
    for number, result in enumerate(estimates(*given)):
        while any(bar.exists() for bar in bars[number : number + 1]):
            time.sleep(0.02)
        yield result
widget.session._cache.estimates = held
widget.observe(lambda change: phase.write_text(change.new["phase"]), "_request")
"""
        )

    def hold(self, estimates: int = 1) -> None:
        """Lets so many estimates pass of what is asked from now on: none, or one."""
        self._bars[estimates].touch()

    def release(self) -> None:
        for bar in self._bars:
            bar.unlink(missing_ok=True)

    def wait_until_done(self) -> None:
        end = time.monotonic() + DONE_MS / 1000
        while self._phase.read_text() != "done":
            assert time.monotonic() < end, f"the kernel is {self._phase.read_text()}"
            time.sleep(0.05)


def test_connection_lost_in_mid_stream(start: Callable[..., Shown], tmp_path: Path) -> None:
    wires: list[Wire] = []
    shown = start(lambda page: wires.append(Wire(page)))
    notebook, [wire] = shown.notebook, wires
    held = Held(notebook, tmp_path)

    # A short one: Lab comes back by itself, and the stream goes on.
    held.hold()
    shown.ask_for_caption("a red boat")
    shown.wait_for_estimate()
    wire.drop()
    notebook.wait_until_idle()
    shown.wait_for_phase("computing")
    held.release()
    shown.expect_result("a red boat")
    shown.brush()

    # A longer one, in which the result is finished, and told to nobody.
    held.hold()
    shown.ask_for_caption("two yellow fish")
    shown.wait_for_estimate()
    wire.cut()
    shown.brush()
    held.release()
    held.wait_until_done()
    shown.wait_for_phase("computing")
    shown.brush()
    wire.mend()
    shown.expect_result("two yellow fish")
    shown.brush()
    shown.expect_asking(True)

    # What is asked meanwhile is asked later, and the newest of it counts.
    held.hold()
    shown.ask_for_caption("a green snail")
    shown.wait_for_estimate()
    wire.cut()
    shown.ask_for_caption("a blue boat")
    shown.ask_for_caption("a blue boat left of two fish")
    held.release()
    wire.mend()
    shown.expect_result("a blue boat left of two fish")
    shown.brush()

    # And all is as it was before.
    before = shown.look()[1][1] or ""
    shown.root.locator("[data-method=similarity]").click()
    notebook.wait_for_value("[widget.method, widget._request['phase']]", ["similarity", "done"])
    expect(shown.words.nth(1)).not_to_have_attribute("data-value", before)
    shown.expect_result("a blue boat left of two fish")
    assert notebook.value("widget.interactions.method") == "similarity"
    shown.words.nth(1).click()
    notebook.wait_for_value("len(widget.tokens)", 1)
    shown.expect_asking(True)


def numbers(values: list[str | None]) -> list[float]:
    return [float(value or "nan") for value in values]


THREADS = "sum(thread.name == 'exclip-widget' for thread in threading.enumerate())"


def kernel(notebook: Notebook, member: str) -> Any:
    """A member of the kernel's connection in the page, or None where there is no kernel."""
    return notebook.page.evaluate(
        f"async () => {{ {CURRENT} return await panel.context.sessionContext.session?.kernel?.{member}; }}"
    )
