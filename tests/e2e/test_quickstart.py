"""The quickstart as a user goes through it: run it, click a word, draw a box, and read both in Python."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from support.browser import REACT_S, Notebook, wait_for_frame

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
# Includes importing torch and loading the model in a new kernel, on a busy machine.
DONE_MS = 300_000


class Explained:
    """The finished widget on the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.root = notebook.wait_for("[data-testid=exclip][data-phase=done]", DONE_MS)
        self.words = self.root.get_by_test_id("exclip-word")
        self.heat = self.root.get_by_test_id("exclip-heat")

    def clear(self) -> None:
        """Clear the selection from Python, and wait until the page shows that."""
        self.notebook.page.mouse.move(0, 0)  # hovering changes what is shown
        self.notebook.execute("widget.tokens = []; widget.region = []")
        expect(self.root.locator("[data-testid=exclip-word][aria-pressed=true]")).to_have_count(0)
        wait_for_frame(self.notebook.page)  # the canvas is painted then

    def pixels(self) -> str:
        """Return what is painted on the heat map's canvas."""
        return str(self.heat.evaluate("canvas => canvas.toDataURL()"))

    def values(self) -> list[str | None]:
        """Return the value that determines each word's tint."""
        return [word.get_attribute("data-value") for word in self.words.all()]

    def wait_for_change(self, read: Callable[[], object], before: object, what: str) -> None:
        end = time.monotonic() + REACT_S
        while read() == before:
            assert time.monotonic() < end, f"{what} did not change"
            self.notebook.page.wait_for_timeout(50)


def tokens_of(word: Locator) -> list[int]:
    """Return the rows of the interaction matrix that belong to a word."""
    return [int(row) for row in re.findall(r"\d+", word.get_attribute("data-tokens") or "")]


@pytest.fixture(scope="module")
def explained(open_module_notebook: Callable[[Path], Notebook]) -> Explained:
    notebook = open_module_notebook(QUICKSTART)
    notebook.run_all()
    explained = Explained(notebook)
    notebook.wait_until_run()
    return explained


def test_words_and_region_are_linked(explained: Explained) -> None:
    notebook, words = explained.notebook, explained.words
    first, last = words.nth(1), words.last  # the first word may be an article

    # A word colours the image ...
    explained.clear()
    plain = explained.pixels()
    first.click()
    expect(first).to_have_attribute("aria-pressed", "true")
    explained.wait_for_change(explained.pixels, plain, "the heat map")
    assert tokens_of(first)
    notebook.wait_for_value("widget.tokens", tokens_of(first))

    # ... a box on the image tints the words ...
    grid = notebook.value("widget._grid")
    rows, columns = int(grid["rows"]), int(grid["columns"])
    (top, left), (bottom, right) = (1, 1), (rows // 2, columns // 2)
    untinted = explained.values()
    # From well inside one patch to well inside another, which selects both and all patches between them.
    notebook.drag(
        explained.heat,
        on_picture(grid, left + 0.3, top + 0.3),
        on_picture(grid, right + 0.7, bottom + 0.7),
    )
    explained.wait_for_change(explained.values, untinted, "the words' values")
    covered = [row * columns + column for row in range(top, bottom + 1) for column in range(left, right + 1)]
    notebook.wait_for_value("widget.region", covered)

    # ... and a selection in Python is shown on the page.
    both = explained.pixels()
    notebook.execute(f"widget.tokens = {tokens_of(last)}")
    expect(last).to_have_attribute("aria-pressed", "true")
    expect(first).to_have_attribute("aria-pressed", "false")
    explained.wait_for_change(explained.pixels, both, "the heat map")

    # The words may be cleared some time before the region.
    explained.clear()
    explained.wait_for_change(lambda: explained.pixels() == plain, False, "the heat map")


def test_theme_and_width(explained: Explained) -> None:
    notebook = explained.notebook
    notebook.close_side_bar()
    for theme in ("dark", "light"):
        notebook.set_theme(theme)
        for width, height in ((1280, 900), (600, 800)):
            notebook.set_size(width, height)
            expect(explained.heat).to_be_visible()
            inside = explained.root.evaluate("root => root.scrollWidth <= root.clientWidth + 1")
            assert inside, f"wider than its cell at {width} px ({theme})"


def on_picture(grid: dict[str, float], column: float, row: float) -> tuple[float, float]:
    """Return a position on the patch grid as fractions of the image's width and height."""
    return (
        grid["left"] + grid["width"] * column / grid["columns"],
        grid["top"] + grid["height"] * row / grid["rows"],
    )
