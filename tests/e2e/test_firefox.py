"""A written page in a stock Firefox, opened as a file, without a kernel and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.firefox import Firefox, find_firefox
from support.widgets import book, explained

from exclip_widget import write_page
from exclip_widget.results import Interactions

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

IMAGE = book().pages[0].image

ESCAPE = "\ue00c"


@pytest.fixture(scope="module")
def result() -> Interactions:
    found: Interactions = explained()
    return found


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    path = find_firefox()
    if path is None:
        pytest.skip("no Firefox is installed: apt-get install firefox-esr, or set EXCLIP_FIREFOX to one")
    with Firefox(path, tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


@pytest.fixture
def page(firefox: Firefox, result: Interactions, tmp_path: Path) -> Iterator["Page"]:
    """Open a page of two results, the second with a foil; the test fails if it logs or requests anything."""
    foil = explained(caption=result.caption.replace("red", "blue"))
    write_page(tmp_path / "boats.html", [(result, IMAGE), (result, IMAGE, foil)])
    firefox.errors.clear()
    firefox.asked.clear()
    firefox.open((tmp_path / "boats.html").as_uri())
    firefox.wait_for("document.querySelectorAll('[data-testid=exclip][data-phase=done]').length === 2")
    yield Page(firefox)
    assert not firefox.errors
    assert not firefox.asked


class Page:
    """The first figure of a page in Firefox."""

    FIGURE = "document.querySelector('figure')"
    WORDS = f"[...{FIGURE}.querySelectorAll('button[data-testid=exclip-word]')]"
    HEAT = f"{FIGURE}.querySelector('[data-testid=exclip-heat]')"

    def __init__(self, firefox: Firefox) -> None:
        self.firefox = firefox

    def tints(self) -> list[float]:
        values = self.firefox.evaluate(f"{self.WORDS}.map((word) => Number(word.dataset.value))")
        return [float(value) for value in values]

    def selection(self) -> float:
        value = f"{self.FIGURE}.querySelector('[data-figure=selection]').dataset.value"
        return float(self.firefox.evaluate(f"Number({value})"))

    def heat(self) -> str:
        """Return the painted heat map, in the frame after the next."""
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        return str(self.firefox.evaluate(f"{frames}.then(() => {self.HEAT}.toDataURL())"))

    def box_of(self, element: str) -> tuple[float, float, float, float]:
        """Scroll an element into view, and return its left, top, width and height in the window."""
        self.firefox.evaluate(f"{element}.scrollIntoView({{ block: 'center' }})")
        box = self.firefox.evaluate(
            f"(({{ x, y, width, height }}) => [x, y, width, height])({element}.getBoundingClientRect())"
        )
        left, top, width, height = map(float, box)
        return left, top, width, height

    def click(self, element: str) -> None:
        left, top, width, height = self.box_of(element)
        self.firefox.drag((left + width / 2, top + height / 2))

    def click_word(self, text: str) -> None:
        word = f"{self.WORDS}.find((word) => word.textContent === '{text}')"
        self.click(word)
        self.firefox.wait_for(f"{word}.getAttribute('aria-pressed') === 'true'")
        self.rest()

    def drag(self, *points: tuple[float, float]) -> None:
        """Drag over the image, through points given as fractions of its width and height."""
        left, top, width, height = self.box_of(self.HEAT)
        self.firefox.drag(*((left + x * width, top + y * height) for x, y in points))
        self.rest()

    def rest(self) -> None:
        """Move the pointer away, so that nothing is previewed."""
        self.firefox._act("pointer", [{"type": "pointerMove", "x": 1, "y": 1}])


def test_a_word_and_a_region_are_selected(page: Page, result: Interactions) -> None:
    content = [row for row, number in enumerate(result.words) if number >= 0]
    np.testing.assert_allclose(page.tints(), result.tint()[content], atol=1e-6)
    assert page.selection() == pytest.approx(result.between(), abs=1e-6)
    whole = page.heat()

    # A word: the heat map is that of the word.
    page.click_word("boat")
    boat = page.heat()
    assert boat != whole
    assert page.selection() == pytest.approx(result.between("boat"), abs=1e-6)

    # A region in addition: the words' tints are those of the region alone, the number is that of both.
    region = (40, 120, 200, 360)
    page.drag((0.1, 0.26), (0.3, 0.5), (0.4, 0.74))
    np.testing.assert_allclose(page.tints(), result.tint(region)[content], atol=1e-6)
    assert page.selection() == pytest.approx(result.between("boat", region), abs=1e-6)

    # Escape clears both; brushing a region changes the words, too.
    page.firefox.press(ESCAPE)
    assert page.selection() == pytest.approx(result.between(), abs=1e-6)
    assert page.heat() == whole
    page.click(f"{Page.FIGURE}.querySelector('button[aria-label=Brush]')")
    page.drag((0.15, 0.45), (0.28, 0.5), (0.4, 0.6))
    brushed = page.tints()
    assert not np.allclose(brushed, result.tint()[content])
    assert page.selection() == pytest.approx(sum(brushed), abs=1e-5)


def test_a_foil_is_compared_in_the_figure_that_has_one(page: Page) -> None:
    firefox = page.firefox
    second = "document.querySelectorAll('figure')[1]"
    page.click(f"{second}.querySelector('[data-look=difference]')")
    firefox.wait_for(f"{second}.querySelector('[data-look=difference]').ariaPressed === 'true'")
    assert "red − blue" in firefox.evaluate(f"{second}.textContent")
    # Both figures show the image, though the file contains it only once.
    widths = "[...document.querySelectorAll('.exclip-image')].map((image) => image.naturalWidth)"
    firefox.wait_for(f"{widths}.every((width) => width > 0)")
    assert firefox.evaluate(widths) == [IMAGE.width] * 2


def test_what_a_page_asks_for_and_logs_would_be_seen(firefox: Firefox, tmp_path: Path) -> None:
    """Check the checks: the other tests fail if a page requests or logs anything."""
    firefox.errors.clear()
    (tmp_path / "asking.html").write_text(
        "<img src='https://pictures.invalid/image.png'><script>console.error('oh'); nothing()</script>"
    )
    firefox.open((tmp_path / "asking.html").as_uri())
    assert firefox.asked == ["https://pictures.invalid/image.png"]
    assert len(firefox.errors) == 2
