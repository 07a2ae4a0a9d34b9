"""A standalone page, opened as a file, without a kernel and without a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from support.browser import wait_for_frame
from support.instrument import CAPTION, MARKUP
from support.results import result_of, tokens_of
from support.widgets import book, explained, line, make, until

from exclip_widget import write_page

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RESULTS = Path(__file__).parents[2] / "test-results"
IMAGE = book().pages[0].image

Opener = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Open a file without a network; the test fails if it requests anything or logs an error."""
    asked: list[str] = []
    errors: list[str] = []
    pages: list[Page] = []

    def open_file(path: Path, theme: str = "light", width: int = 1180) -> Page:
        context = browser.new_context(
            offline=True,
            color_scheme="dark" if theme == "dark" else "light",
            viewport={"width": width, "height": 900},
        )
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        expect(page.locator('[data-testid=exclip][data-phase="done"]').first).to_be_visible()
        pages.append(page)
        return page

    yield open_file
    for number, page in enumerate(pages):
        name = re.sub(r"\W+", "-", request.node.name)
        page.screenshot(path=RESULTS / f"{name}-{number}.png", full_page=True)
        page.context.close()
    assert not errors
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)


def word(root: Page | Locator, text: str) -> Locator:
    return root.get_by_test_id("exclip-word").filter(has_text=re.compile(f"^{re.escape(text)}$")).first


def tints(root: Page | Locator) -> list[float]:
    words = root.locator("button[data-testid=exclip-word]").all()
    return [float(one.get_attribute("data-value") or "nan") for one in words]


def selection(root: Page | Locator) -> float:
    value = root.locator("[data-figure=selection]").get_attribute("data-value")
    return float(value or "nan")


PIXELS_OF = """image => {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, 60, 60).data.join();
}"""


def painted(page: Page) -> str:
    wait_for_frame(page)
    return str(page.get_by_test_id("exclip-heat").first.evaluate("canvas => canvas.toDataURL()"))


def brush(page: Page, *points: tuple[float, float]) -> None:
    box = page.get_by_test_id("exclip-heat").first.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


@pytest.mark.parametrize(("theme", "width"), [("light", 1180), ("dark", 420)])
def test_words_and_regions_are_selected_in_a_file(
    open_page: Opener, tmp_path: Path, theme: str, width: int
) -> None:
    result = explained()
    result.to_html(tmp_path / "boat.html", IMAGE)
    page = open_page(tmp_path / "boat.html", theme, width)
    content = [row for row, number in enumerate(result.words) if number >= 0]
    np.testing.assert_allclose(tints(page), result.tint()[content], atol=1e-6)
    assert selection(page) == pytest.approx(result.between(), abs=1e-6)

    # A word: the heat map is that of the word.
    before = painted(page)
    word(page, "boat").click()
    expect(word(page, "boat")).to_have_attribute("aria-pressed", "true")
    page.mouse.move(0, 0)
    assert painted(page) != before
    assert selection(page) == pytest.approx(result.between("boat"), abs=1e-6)

    # A brushed region, in the upper left of the image: the tints are those of the region alone.
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Brush", exact=True).click()
    brush(page, (0.15, 0.45), (0.4, 0.6))
    page.mouse.move(0, 0)
    shown = np.array(tints(page))
    assert not np.allclose(shown, result.tint()[content])
    assert selection(page) == pytest.approx(shown.sum(), abs=1e-5)

    # Pairs, palettes and tables.
    page.keyboard.press("Escape")
    assert selection(page) == pytest.approx(result.between(), abs=1e-6)
    page.locator(".exclip-pair").first.click()
    assert selection(page) == pytest.approx(result.strongest(1).positive[0].value, abs=1e-6)
    before = painted(page)
    page.get_by_role("button", name="Appearance", exact=True).click()
    page.locator(".exclip-palette").nth(1).click()
    page.mouse.move(0, 0)
    assert painted(page) != before
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_needs_a_kernel_is_absent(open_page: Opener, tmp_path: Path) -> None:
    explained().to_html(tmp_path / "boat.html", IMAGE)
    page = open_page(tmp_path / "boat.html")
    page.clock.install()
    page.reload()
    expect(page.get_by_test_id("exclip")).to_have_attribute("data-phase", "done")
    page.clock.fast_forward("10:00")
    for name in ("exclip-controls", "exclip-choose", "exclip-test", "exclip-cancel", "exclip-notice"):
        expect(page.get_by_test_id(name)).to_be_hidden()
    assert page.get_by_role("button", name=re.compile("^(Edit|Compare|Remove)")).count() == 0
    assert "kernel" not in page.locator("body").inner_text()
    # Neither a double click nor a key opens the field.
    word(page, "boat").dblclick()
    page.keyboard.press("F2")
    expect(page.locator("textarea:visible")).to_have_count(0)
    expect(page.get_by_test_id("exclip")).to_have_attribute("data-phase", "done")


def test_a_foil_is_compared_in_a_file(open_page: Opener, tmp_path: Path) -> None:
    result, foil = explained(), explained(caption=CAPTION.replace("red", "blue"))
    result.to_html(tmp_path / "boat.html", IMAGE, foil=foil)
    page = open_page(tmp_path / "boat.html")
    page.get_by_role("button", name="difference", exact=True).click()
    difference = result - foil
    word(page, "red − blue").click()
    assert selection(page) == pytest.approx(difference.between("red − blue"), abs=1e-6)
    page.get_by_role("button", name="foil", exact=True).click()
    expect(word(page, "blue")).to_have_attribute("aria-pressed", "true")
    assert selection(page) == pytest.approx(foil.between("blue"), abs=1e-6)


def test_each_figure_has_a_selection_of_its_own(open_page: Opener, tmp_path: Path) -> None:
    pages = book().pages[:3]
    shown = [(explained(number), page.image) for number, page in enumerate(pages)]
    write_page(tmp_path / "all.html", shown)
    page = open_page(tmp_path / "all.html")
    figures = page.locator("figure")
    expect(figures).to_have_count(3)
    figures.nth(1).get_by_test_id("exclip-word").nth(2).click()
    pressed = [one.locator('[data-testid=exclip-word][aria-pressed="true"]').count() for one in figures.all()]
    assert pressed == [0, 1, 0]


@pytest.mark.parametrize(
    "box",
    [
        (40, 80, 160, 240),  # whole patches
        (0, 0, 480, 480),
        (41, 79, 159, 241),
        (120, 120, 121, 121),
        (119, 119, 121, 121),
        (439, 439, 480, 480),
    ],
)
def test_a_drag_over_pixels_is_the_box_of_these_pixels(
    open_page: Opener, tmp_path: Path, box: tuple[int, int, int, int]
) -> None:
    """Drag from inside the first pixel to inside the last: a box excludes its right and bottom."""
    result = explained()
    result.to_html(tmp_path / "boat.html", IMAGE)
    page = open_page(tmp_path / "boat.html")
    left, top, right, bottom = box
    corners = ((left + 0.5) / 480, (top + 0.5) / 480), ((right - 0.5) / 480, (bottom - 0.5) / 480)
    brush(page, *corners)
    page.mouse.move(0, 0)
    tint = result.tint(box)
    content = [row for row, number in enumerate(result.words) if number >= 0]
    np.testing.assert_allclose(tints(page), tint[content], atol=1e-6)
    assert selection(page) == pytest.approx(result.between(region=box), abs=1e-6)


def test_an_image_of_several_results_is_in_a_file_once(open_page: Opener, tmp_path: Path) -> None:
    foil = explained(caption="a blue boat")
    other = book().pages[1].image
    write_page(tmp_path / "all.html", [(explained(), IMAGE), (foil, IMAGE), (explained(1), other)])
    page = open_page(tmp_path / "all.html")
    expect(page.locator("figure")).to_have_count(3)
    drawn = page.locator(".exclip-image")
    expect(drawn).to_have_count(3)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.exclip-image')].every((one) => one.naturalWidth > 0)"
    )
    pictures = [one.evaluate(PIXELS_OF) for one in drawn.all()]
    assert pictures[0] == pictures[1] != pictures[2]
    second = page.locator("figure").nth(1)
    word(second, "blue").click()
    assert selection(second) == pytest.approx(foil.between("blue"), abs=1e-6)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_there_are_words_and_heat_and_no_controls(
    open_page: Opener, tmp_path: Path, theme: str
) -> None:
    explained().to_html(tmp_path / "boat.html", IMAGE)
    page = open_page(tmp_path / "boat.html", theme)
    word(page, "boat").click()
    page.mouse.move(0, 0)
    shown = painted(page)
    page.evaluate(
        """() => addEventListener("beforeprint", () => {
          const root = document.querySelector("[data-testid=exclip]");
          const heat = document.querySelector("[data-testid=exclip-heat]").toDataURL();
          window.printed = { theme: root.dataset.exclipTheme, heat };
        })"""
    )
    assert page.pdf().startswith(b"%PDF")
    printed = page.evaluate("window.printed")
    # Paper is white, so the light theme's colours must have been painted before printing.
    assert printed["theme"] == "light"
    assert (printed["heat"] == shown) == (theme == "light")
    expect(page.get_by_test_id("exclip")).to_have_attribute("data-exclip-theme", theme)
    wait_for_frame(page)
    assert painted(page) == shown

    page.emulate_media(media="print")
    for name in ("exclip-tools", "exclip-pairs", "exclip-tables", "exclip-trials", "exclip-controls"):
        expect(page.get_by_test_id(name)).to_be_hidden()
    controls = page.locator("figure :is(button, input, textarea):visible")
    expect(controls).to_have_count(page.locator("button[data-testid=exclip-word]").count())
    for name in ("exclip-heat", "exclip-legend", "exclip-legend-words", "exclip-readout"):
        expect(page.get_by_test_id(name)).to_be_visible()
    for visible in (page.get_by_role("heading"), page.locator("figcaption"), page.locator(".exclip-image")):
        expect(visible).to_be_visible()
    tint = word(page, "boat").locator(".exclip-tint")
    assert tint.evaluate("node => getComputedStyle(node).printColorAdjust") == "exact"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_on_paper_nothing_is_left_out_that_scrolls_on_the_screen(open_page: Opener, tmp_path: Path) -> None:
    captions = [CAPTION, *(f"a boat and {number} fish" for number in range(2, 32))]
    widget = make(caption=captions)
    widget.foil = "a blue boat"
    widget.wait(60)
    widget.to_html(tmp_path / "list.html")
    page = open_page(tmp_path / "list.html", width=700)
    rows = page.get_by_test_id("exclip-listed")
    assert rows.evaluate("node => node.scrollHeight > node.clientHeight")
    page.emulate_media(media="print")
    cut = """() => [...document.querySelectorAll(".exclip *")].filter((node) => {
      const { overflowY, contentVisibility } = getComputedStyle(node);
      if (!node.checkVisibility() || node.matches(".exclip-heard, .exclip-live")) return false;
      return contentVisibility !== "visible"
        || (overflowY !== "visible" && node.scrollHeight > node.clientHeight);
    }).map((node) => node.className)"""
    assert page.evaluate(cut) == []
    last = page.get_by_role("option").last.bounding_box()
    figure = page.locator("figure").bounding_box()
    assert last
    assert figure
    assert last["y"] + last["height"] <= figure["y"] + figure["height"]


def test_markup_stays_text_in_a_file(open_page: Opener, tmp_path: Path) -> None:
    caption = f"a </script>{MARKUP} <!-- boat"
    result = result_of(tokens=tokens_of(caption), method=MARKUP)
    result.to_html(tmp_path / "boat.html", IMAGE.resize((80, 60)), title=caption)
    page = open_page(tmp_path / "boat.html")
    shown = "".join(page.locator(".exclip-caption").first.all_text_contents())
    assert shown == caption
    expect(page.get_by_role("heading")).to_have_text(caption)
    assert page.evaluate("window.ran") is None


def test_a_script_that_got_in_could_do_nothing(browser: Browser, tmp_path: Path) -> None:
    """The network would answer here, so any refusal comes from the page itself."""
    explained().to_html(tmp_path / "boat.html", IMAGE)
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    context.route("https://**", lambda route: (asked.append(route.request.url), route.fulfill(body="")))
    page.goto((tmp_path / "boat.html").as_uri())
    page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.textContent = "window.ran = 1";
          const image = document.createElement("img");
          image.src = "https://example.org/image.png";
          document.body.append(script, image);
          document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.ran = 1'>");
          await fetch("https://example.org").catch(() => {});
          await new Promise((done) => setTimeout(done, 200));
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert not asked
    context.close()


def test_an_instrument_with_tests_of_its_own_keeps_them(open_page: Opener, tmp_path: Path) -> None:
    widget = make()
    widget.wait(60)
    line(widget).says({"kind": "test", "question": 1, "tokens": [2, 3], "region": []})
    until(lambda: widget._tests)
    widget.tokens = [3]
    widget.to_html(tmp_path / "boat.html")
    page = open_page(tmp_path / "boat.html")
    expect(word(page, "boat")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_test_id("exclip-test")).to_be_hidden()
    page.locator("button.exclip-trial").click()
    expect(word(page, "red")).to_have_attribute("aria-pressed", "true")
