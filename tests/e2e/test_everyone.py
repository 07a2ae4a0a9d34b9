"""The widget for everyone, in the real JupyterLab: contrast, roles, motion, width, density, scripts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from support.browser import Notebook, wait_for_frame
from support.servers import write_notebook

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
DONE_MS = 300_000

MAKE = """
from exclip_widget import ExplainWidget, demo

book = demo.load()
page = book.pages[0]
widget = ExplainWidget(book.model, page.image, page.caption, tokenizer=book.tokenizer, text_layer=0)
widget
"""


@pytest.fixture
def shown(open_notebook: Callable[[Path], Notebook], tmp_path: Path) -> tuple[Notebook, Locator]:
    notebook = open_notebook(write_notebook(tmp_path / "everyone.ipynb", MAKE))
    notebook.close_side_bar()
    notebook.run_all()
    return notebook, notebook.wait_for("[data-testid=exclip][data-phase=done]", DONE_MS)


def test_for_everyone(shown: tuple[Notebook, Locator]) -> None:
    notebook, root = shown
    page = notebook.page
    notebook.execute(
        "widget.foil = 'a blue boat'; widget.wait(300); widget.tokens = [2, 3]; widget.region = [40, 41]"
    )
    expect(root).to_have_attribute("data-phase", "done")

    # Contrast, names and roles, in both themes, wide and narrow.
    page.add_script_tag(path=AXE)
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        for width in (1280, 420):
            notebook.set_size(width, 900)
            page.mouse.move(0, 0)
            come_to_rest(root)
            assert too_wide(root) == [], f"{theme}, {width} px"
            assert violations(root) == [], f"{theme}, {width} px"
    notebook.set_size(1280, 900)

    # Nothing moves for those who asked for that.
    page.emulate_media(reduced_motion="reduce")
    moving = root.evaluate(
        """root => [...root.querySelectorAll("*")].filter(node => {
            const style = getComputedStyle(node);
            const times = `${style.transitionDuration},${style.animationDuration}`.split(",");
            return Math.max(...times.map(parseFloat)) > 0.02;
        }).map(node => node.className)"""
    )
    assert moving == []

    # The canvas has a pixel for each of the screen's.
    heat = root.get_by_test_id("exclip-heat")
    density = heat.evaluate("node => node.width / node.getBoundingClientRect().width / devicePixelRatio")
    assert density == pytest.approx(1, abs=0.02)

    # Scripts that run from right to left, and letters of several characters.
    notebook.execute(
        "widget.foil = None; widget.caption = 'سفينة حمراء e\\u0301 👩\\u200d🚀'; _ = widget.wait(300)"
    )
    expect(root).to_have_attribute("data-phase", "done")
    words = root.get_by_test_id("exclip-word")
    expect(words.first).to_have_text("سفينة")
    right, left = (words.nth(number).bounding_box() for number in (0, 1))
    assert right is not None
    assert left is not None
    assert right["x"] > left["x"], "the first word stands to the right of the second"
    words.first.click()
    notebook.wait_for_value("len(widget.tokens) > 0", True)


TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


def violations(root: Locator) -> list[str]:
    """What axe finds within the widget."""
    return root.evaluate(
        """async (root, tags) => {
            const { violations } = await axe.run(root, { runOnly: tags });
            return violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(" ")}`);
        }""",
        TAGS,
    )


def come_to_rest(root: Locator) -> None:
    """Waits until nothing moves: colours change gradually with the theme, and Lab lays out late."""
    root.page.wait_for_timeout(300)  # as long as Lab waits for more changes of a size
    wait_for_frame(root.page)
    root.evaluate(
        """root => Promise.allSettled(root.getAnimations({ subtree: true })
            .filter(one => Number.isFinite(one.effect.getComputedTiming().endTime))
            .map(one => one.finished))"""
    )


def too_wide(root: Locator) -> list[str]:
    """What stands out of the widget to the right."""
    return root.evaluate(
        """root => {
            const edge = root.getBoundingClientRect().right + 1;
            const shown = node => node.checkVisibility() && node.getBoundingClientRect().width > 1;
            return [...root.querySelectorAll("*")]
                .filter(node => shown(node) && node.getBoundingClientRect().right > edge)
                .map(node => `${node.className} ${node.textContent.slice(0, 20)}`);
        }"""
    )
