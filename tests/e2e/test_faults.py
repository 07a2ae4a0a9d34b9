"""Faults around a widget in JupyterLab: no kernel, a new or unreachable one, a cancel, and a close."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from support.browser import CURRENT, Notebook, Wire
from support.instrument import DONE_MS, Shown, numbers
from support.servers import write_notebook

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Takes a second at the default layers, and minutes at the first layer.
MAKE = """
import gc, threading, weakref
from IPython.display import display
from exclip_widget import ExplainWidget, demo

book = demo.load()
page = book.pages[0]
widget = ExplainWidget(
    book.model, page.image, page.caption, tokenizer=book.tokenizer, method="exclip", steps=500
)
display(widget)  # not as the cell's value, which IPython would keep
"""

OpenNotebook = Callable[..., Notebook]
RunCell = Callable[[str], Notebook]


@pytest.fixture
def start(open_notebook: OpenNotebook, tmp_path: Path) -> Callable[[], Shown]:
    """Return a function that starts a kernel just for this test, which the test may kill."""

    def started() -> Shown:
        notebook = open_notebook(write_notebook(tmp_path / "faults.ipynb", MAKE))
        notebook.run_all()
        return finished(notebook)

    return started


@pytest.fixture
def shown(run_cell: RunCell) -> Shown:
    """Return a new widget in the shared kernel."""
    return finished(run_cell(MAKE))


@pytest.fixture
def wired(run_wired_cell: Callable[[str], tuple[Notebook, Wire]]) -> tuple[Shown, Wire]:
    """Return a new widget on a page whose connection can be cut."""
    notebook, wire = run_wired_cell(MAKE)
    return finished(notebook), wire


def finished(notebook: Notebook) -> Shown:
    shown = Shown(notebook)
    shown.wait_for_phase("done")
    notebook.wait_until_run()
    return shown


def test_saved_notebook_opened_again(start: Callable[[], Shown]) -> None:
    shown = start()
    notebook = shown.notebook
    before = shown.look()[1]
    notebook.save_and_reopen()
    shown = Shown(notebook)
    shown.wait_for_phase("done")
    assert notebook.value("'widget' in globals()") is False  # the new kernel has not run the cell
    assert shown.look()[1] == before
    shown.brush()
    shown.expect_asking(False)
    shown.brush()
    expect(shown.notice).to_be_hidden()
    # Keys have no effect on disabled controls.
    shown.layer.focus()
    notebook.page.keyboard.press("Home")
    shown.words.first.focus()
    notebook.page.keyboard.press("F2")
    expect(shown.root.locator("textarea, [contenteditable=true]")).to_have_count(0)
    shown.wait_for_phase("done")
    # Now without any kernel at all.
    notebook.shut_down()
    shown.brush()
    assert shown.look()[1] == before


def test_an_interrupted_cell_does_not_take_the_widget_with_it(shown: Shown) -> None:
    notebook = shown.notebook
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
    kernel(notebook, "interrupt()")  # and again while nothing is running
    assert notebook.value("widget._request['phase']") == "computing"
    shown.wait_for_estimate()
    shown.words.nth(1).click()
    expect(shown.words.nth(1)).to_have_attribute("aria-pressed", "true")
    notebook.wait_for_value("len(widget.tokens) > 0", True)
    shown.expect_asking(True)


def test_cancel_is_seen_at_once_and_heard_soon(shown: Shown) -> None:
    notebook = shown.notebook
    good = shown.look()[1]
    shown.ask_for_the_first_layer()
    shown.wait_for_estimate()
    took, phase = shown.root.get_by_test_id("exclip-cancel").evaluate(
        """async button => {
            const root = button.closest("[data-testid=exclip]");
            const start = performance.now();
            button.click();
            const took = performance.now() - start;
            // In the next frame, whose timing is up to the machine.
            await new Promise(requestAnimationFrame);
            return [took, root.dataset.phase];
        }"""
    )
    assert phase == "cancelled"
    assert took <= 200, f"cancelling took {took:.0f} ms"
    expect(shown.notice).to_contain_text("Cancelled")
    notebook.wait_for_value("widget._request['phase']", "cancelled")
    # The computation stops before its next pass.
    notebook.wait_for_value(THREADS, 0)
    assert notebook.value("widget.interactions.nodes < widget.interactions.steps")
    shown.wait_for_phase("cancelled")
    shown.layer.focus()
    notebook.page.keyboard.press("End")
    shown.wait_for_phase("done")
    assert shown.look()[1] != good  # the last layer instead of the default


def test_a_widget_that_is_closed_in_mid_stream_leaves_nothing_behind(shown: Shown) -> None:
    notebook = shown.notebook
    notebook.execute("kept = [weakref.ref(widget), weakref.ref(widget.session.request)]")
    shown.ask_for_the_first_layer()
    notebook.wait_for_value(THREADS, 1)
    notebook.execute("widget.close(); del widget")
    expect(shown.root).to_have_count(0)
    notebook.wait_for_value(THREADS, 0)
    notebook.execute("gc.collect()")
    assert notebook.value("[one() is None for one in kept]") == [True, True]


def test_kernel_restarted_in_mid_stream(start: Callable[[], Shown], tmp_path: Path) -> None:
    shown = start()
    notebook = shown.notebook
    good = shown.look()
    Held(notebook, tmp_path).hold(0)  # no estimate is shown, however long a restart takes
    shown.ask_for_the_first_layer()
    kernel(notebook, "restart()")
    notebook.wait_until_idle()
    expect(shown.notice).to_contain_text("run the cell again", timeout=60_000)
    assert shown.look() == good
    shown.brush()
    shown.root.get_by_test_id("exclip-cancel").click()
    shown.wait_for_phase("cancelled")
    expect(shown.notice).to_contain_text("Showing the previous result")

    # The advice in the notice works.
    notebook.run_all()
    notebook.wait_until_run()
    again = Shown(notebook)
    again.wait_for_phase("done")
    assert numbers(again.look()[1]) == pytest.approx(numbers(good[1]), abs=2e-6)  # now from another kernel
    again.brush()
    again.expect_asking(True)


class Held:
    """Makes a widget pause on the way to a result until it is released, and reports its phase.

    Both work through files, which reach the kernel even if messages do not.
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
        """Hold back later requests after this many estimates: none, or one."""
        self._bars[estimates].touch()

    def release(self) -> None:
        for bar in self._bars:
            bar.unlink(missing_ok=True)

    def wait_until_done(self) -> None:
        end = time.monotonic() + DONE_MS / 1000
        while self._phase.read_text() != "done":
            assert time.monotonic() < end, f"the kernel is {self._phase.read_text()}"
            time.sleep(0.05)


def test_a_short_loss_of_connection(wired: tuple[Shown, Wire], tmp_path: Path) -> None:
    """Lab reconnects by itself, and the stream continues."""
    shown, wire = wired
    notebook, held = shown.notebook, Held(shown.notebook, tmp_path)
    held.hold()
    shown.ask_for_caption("a red boat")
    shown.wait_for_estimate()
    wire.drop()
    notebook.wait_until_idle()
    shown.wait_for_phase("computing")
    held.release()
    shown.expect_result("a red boat")
    shown.brush()


def test_a_result_that_was_finished_while_the_connection_was_lost(
    wired: tuple[Shown, Wire], tmp_path: Path
) -> None:
    """The result was sent while nobody could receive it."""
    shown, wire = wired
    held = Held(shown.notebook, tmp_path)
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


def test_what_is_asked_while_the_connection_is_lost_is_asked_later(
    wired: tuple[Shown, Wire], tmp_path: Path
) -> None:
    """Only the newest request counts, and everything works as before."""
    shown, wire = wired
    notebook, held = shown.notebook, Held(shown.notebook, tmp_path)
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
    before = shown.look()[1][1] or ""
    shown.root.get_by_role("button", name="similarity", exact=True).click()
    notebook.wait_for_value("[widget.method, widget._request['phase']]", ["similarity", "done"])
    expect(shown.words.nth(1)).not_to_have_attribute("data-value", before)
    shown.expect_result("a blue boat left of two fish")
    assert notebook.value("widget.interactions.method") == "similarity"
    shown.words.nth(1).click()
    notebook.wait_for_value("len(widget.tokens)", 1)
    shown.expect_asking(True)


THREADS = "sum(thread.name == 'exclip-widget' for thread in threading.enumerate())"


def kernel(notebook: Notebook, member: str) -> Any:
    """Return a member of the kernel's connection in the page, or None if there is no kernel."""
    return notebook.page.evaluate(
        f"async () => {{ {CURRENT} return await panel.context.sessionContext.session?.kernel?.{member}; }}"
    )
