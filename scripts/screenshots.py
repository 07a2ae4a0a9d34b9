"""Pictures of the widget in use: the quickstart notebook in a real JupyterLab, in Chromium.

python scripts/screenshots.py            # the README's, into docs/images
python scripts/screenshots.py FOLDER     # every state in both themes, wide and narrow
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Locator, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness import LabServer, Notebook, launch_chromium, write_notebook  # noqa: E402

SETUP = """
from exclip_widget import ExplainWidget, demo

book = demo.load()
"""
SHOW = """
page = book.pages[0]
widget = ExplainWidget(
    book.model, page.image, page.caption, tokenizer=book.tokenizer,
    text_layer=0, image_layer=2, steps=20,
)
widget
"""

WIDE, NARROW = (1180, 860), (460, 980)


def words(widget: Locator, *texts: str) -> None:
    """Select these words, one click after another."""
    for number, text in enumerate(texts):
        word = widget.get_by_test_id("exclip-word").filter(has_text=text).first
        word.click(modifiers=["Shift"] if number else [])


def gallery(notebook: Notebook, widget: Locator, folder: Path) -> None:
    """Every state in both themes, wide and narrow: to look at, not to keep."""
    heat = widget.get_by_test_id("exclip-heat")
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        for size, shape in ((WIDE, "wide"), (NARROW, "narrow")):
            notebook.set_size(*size)
            notebook.execute("widget.tokens, widget.region = [], []")
            save(notebook, widget, folder / f"{theme}-{shape}-nothing-selected.png")
            words(widget, "red", "boat")
            save(notebook, widget, folder / f"{theme}-{shape}-words.png")
            notebook.execute("widget.tokens = []")
            notebook.drag(heat, (0.56, 0.2), (0.92, 0.92))
            save(notebook, widget, folder / f"{theme}-{shape}-region.png")
            words(widget, "yellow", "fish")
            save(notebook, widget, folder / f"{theme}-{shape}-both.png")
        notebook.set_size(*WIDE)
        notebook.screenshot(folder / f"{theme}-notebook.png")


def readme(notebook: Notebook, widget: Locator) -> None:
    """The README's picture, in both themes."""
    words(widget, "red", "boat")
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        save(notebook, widget, ROOT / "docs" / "images" / f"widget-{theme}.png")


def save(notebook: Notebook, widget: Locator, path: Path) -> None:
    """Wait for hover to fade and the theme to settle, then take the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook.page.mouse.move(2, 2)
    notebook.page.wait_for_timeout(500)
    widget.screenshot(path=path)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        width, height = WIDE
        context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=2)
        with LabServer(Path(temporary)) as lab:
            write_notebook(lab.notebooks / "pictures.ipynb", SETUP, SHOW)
            notebook = Notebook(context.new_page(), lab.url("pictures.ipynb"))
            notebook.close_side_bar()
            notebook.run_all()
            widget = notebook.wait_for("[data-testid=exclip][data-phase=done]")
            if len(sys.argv) > 1:
                gallery(notebook, widget, Path(sys.argv[1]))
            else:
                readme(notebook, widget)
            notebook.check_console()
            notebook.shut_down()
        browser.close()


if __name__ == "__main__":
    main()
