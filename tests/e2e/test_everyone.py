"""Accessibility in a real JupyterLab: contrast, roles, motion, width, pixel density and scripts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from support.browser import Notebook, wait_for_frame
from support.instrument import DONE, DONE_MS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"

MAKE = """
from exclip_widget import ExplainWidget, demo

book = demo.load()
page = book.pages[0]
widget = ExplainWidget(book.model, page.image, page.caption, tokenizer=book.tokenizer, text_layer=0)
widget
"""


@pytest.fixture
def shown(run_cell: Callable[[str], Notebook]) -> Iterator[tuple[Notebook, Locator]]:
    notebook = run_cell(MAKE)
    notebook.wait_for(DONE, DONE_MS)
    notebook.wait_until_run()
    yield notebook, notebook.page.get_by_test_id("exclip")
    notebook.page.emulate_media(reduced_motion="null")
    notebook.set_theme("light")


def test_contrast_names_and_roles_in_both_themes_wide_and_narrow(shown: tuple[Notebook, Locator]) -> None:
    notebook, root = shown
    notebook.execute(
        "widget.foil = 'a blue boat'; widget.wait(300); widget.tokens = [2, 3]; widget.region = [40, 41]"
    )
    expect(root).to_have_attribute("data-phase", "done")
    notebook.page.add_script_tag(path=AXE)
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        for width in (1280, 420):
            notebook.set_size(width, 900)
            notebook.page.mouse.move(0, 0)
            come_to_rest(root)
            assert too_wide(root) == [], f"{theme}, {width} px"
            assert violations(root) == [], f"{theme}, {width} px"


def test_nothing_moves_for_those_who_asked_for_that(shown: tuple[Notebook, Locator]) -> None:
    notebook, root = shown
    notebook.page.emulate_media(reduced_motion="reduce")
    moving = root.evaluate(
        """root => [...root.querySelectorAll("*")].filter(node => {
            const style = getComputedStyle(node);
            const times = `${style.transitionDuration},${style.animationDuration}`.split(",");
            return Math.max(...times.map(parseFloat)) > 0.02;
        }).map(node => node.className)"""
    )
    assert moving == []


def test_the_canvas_has_a_pixel_for_each_of_the_screen(shown: tuple[Notebook, Locator]) -> None:
    _, root = shown
    heat = root.get_by_test_id("exclip-heat")
    density = heat.evaluate("node => node.width / node.getBoundingClientRect().width / devicePixelRatio")
    assert density == pytest.approx(1, abs=0.02)


def test_scripts_from_right_to_left_and_letters_of_several_characters(
    shown: tuple[Notebook, Locator],
) -> None:
    notebook, root = shown
    notebook.execute("widget.caption = 'سفينة حمراء e\\u0301 👩\\u200d🚀'; _ = widget.wait(300)")
    expect(root).to_have_attribute("data-phase", "done")
    words = root.get_by_test_id("exclip-word")
    expect(words.first).to_have_text("سفينة")
    right, left = (words.nth(number).bounding_box() for number in (0, 1))
    assert right is not None
    assert left is not None
    assert right["x"] > left["x"], "the first word is to the right of the second"
    words.first.click()
    notebook.wait_for_value("len(widget.tokens) > 0", True)


TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


def violations(root: Locator) -> list[str]:
    """Return the violations that axe finds within the widget."""
    return root.evaluate(
        """async (root, tags) => {
            const { violations } = await axe.run(root, { runOnly: tags });
            return violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(" ")}`);
        }""",
        TAGS,
    )


def come_to_rest(root: Locator) -> None:
    """Wait until nothing moves: colours fade when the theme changes, and Lab delays its layout."""
    root.page.wait_for_timeout(300)  # as long as Lab waits for further changes of size
    wait_for_frame(root.page)
    root.evaluate(
        """root => Promise.allSettled(root.getAnimations({ subtree: true })
            .filter(one => Number.isFinite(one.effect.getComputedTiming().endTime))
            .map(one => one.finished))"""
    )


def too_wide(root: Locator) -> list[str]:
    """Return the elements that extend beyond the widget's right edge."""
    return root.evaluate(
        """root => {
            const edge = root.getBoundingClientRect().right + 1;
            const shown = node => node.checkVisibility() && node.getBoundingClientRect().width > 1;
            return [...root.querySelectorAll("*")]
                .filter(node => shown(node) && node.getBoundingClientRect().right > edge)
                .map(node => `${node.className} ${node.textContent.slice(0, 20)}`);
        }"""
    )
