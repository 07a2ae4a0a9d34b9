"""The harness itself, tried on a minimal real widget: render, click, read back, set, and catch errors."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.browser import Notebook
from support.servers import write_notebook

pytestmark = pytest.mark.e2e

COUNTER = '''
import anywidget
import traitlets


class Counter(anywidget.AnyWidget):
    _esm = """
    function render({ model, el, signal }) {
        const button = document.createElement("button");
        button.dataset.testid = "counter";
        const show = () => { button.textContent = model.get("count"); };
        show();
        model.on("change:count", show);
        button.addEventListener("click", () => {
            model.set("count", model.get("count") + 1);
            model.save_changes();
        });
        el.append(button);
    }
    export default { render };
    """
    count = traitlets.Int(0).tag(sync=True)


counter = Counter()
counter
'''


@pytest.fixture
def counter(open_notebook: Callable[[Path], Notebook], tmp_path: Path) -> Notebook:
    notebook = open_notebook(write_notebook(tmp_path / "counter.ipynb", COUNTER))
    notebook.run_all()
    notebook.wait_for("[data-testid=counter]")
    return notebook


def test_click_reaches_python_and_python_reaches_the_page(counter: Notebook) -> None:
    button = counter.page.get_by_test_id("counter")
    button.click()
    button.click()
    expect(button).to_have_text("2")
    counter.wait_for_value("counter.count", 2)
    counter.execute("counter.count = 40")
    expect(button).to_have_text("40")


def test_theme_size_and_kernel(counter: Notebook, tmp_path: Path) -> None:
    for theme, light in (("dark", "false"), ("light", "true")):
        counter.set_theme(theme)
        expect(counter.page.locator("body")).to_have_attribute("data-jp-theme-light", light)
    counter.set_size(700, 500)
    counter.close_side_bar()
    counter.screenshot(tmp_path / "counter.png")
    assert (tmp_path / "counter.png").stat().st_size > 5_000
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        counter.execute("1 / 0")


def test_errors_are_caught(open_notebook: Callable[[Path], Notebook], tmp_path: Path) -> None:
    notebook = open_notebook(write_notebook(tmp_path / "failing.ipynb", "raise ValueError('on purpose')"))
    notebook.run_all()
    with pytest.raises(AssertionError, match="on purpose"):
        notebook.wait_for("[data-testid=never]")
    notebook.check_console()
    notebook.page.evaluate(
        """() => {
            console.error("one");
            setTimeout(() => { throw new Error("two"); });
            setTimeout(() => { window.threw = true; }, 10);  // after it
        }"""
    )
    notebook.page.wait_for_function("() => window.threw")
    with pytest.raises(AssertionError, match=r"(?s)one.*two"):
        notebook.check_console()
    notebook.errors.clear()
