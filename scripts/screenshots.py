"""Pictures of the widget in use: the quickstart notebook in a real JupyterLab, in Chromium.

    python scripts/screenshots.py [folder]

Writes `docs/images` unless told another folder; the README shows some of them.
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
widget = ExplainWidget(book.model, page.image, page.caption, tokenizer=book.tokenizer)
widget
"""

WIDE, NARROW = (1180, 860), (460, 980)


def words(widget: Locator, *texts: str) -> None:
    """Select these words, one click after another."""
    for number, text in enumerate(texts):
        word = widget.get_by_test_id("exclip-word").filter(has_text=text).first
        word.click(modifiers=["Shift"] if number else [])


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        context = browser.new_context(
            viewport=dict(zip(("width", "height"), WIDE, strict=True)), device_scale_factor=2
        )
        with LabServer(Path(temporary)) as lab:
            write_notebook(lab.notebooks / "pictures.ipynb", SETUP, SHOW)
            notebook = Notebook(context.new_page(), lab.url("pictures.ipynb"))
            notebook.close_side_bar()
            notebook.run_all()
            widget = notebook.wait_for("[data-testid=exclip][data-phase=done]")
            heat = widget.get_by_test_id("exclip-heat")

            def picture(name: str) -> None:
                notebook.page.mouse.move(2, 2)
                notebook.page.wait_for_timeout(400)  # for hover to fade and the theme to settle
                widget.screenshot(path=folder / f"{name}.png")

            for theme in ("light", "dark"):
                notebook.set_theme(theme)
                for size, shape in ((WIDE, "wide"), (NARROW, "narrow")):
                    notebook.set_size(*size)
                    notebook.execute("widget.tokens, widget.region = [], []")
                    notebook.page.wait_for_timeout(300)
                    picture(f"{theme}-{shape}-nothing-selected")
                    words(widget, "red", "boat")
                    picture(f"{theme}-{shape}-words")
                    notebook.execute("widget.tokens = []")
                    notebook.drag(heat, (0.56, 0.2), (0.92, 0.92))
                    picture(f"{theme}-{shape}-region")
                    words(widget, "yellow", "fish")
                    picture(f"{theme}-{shape}-both")
                notebook.set_size(*WIDE)
                notebook.screenshot(folder / f"{theme}-notebook.png")
            notebook.check_console()
            notebook.shut_down()
        browser.close()


if __name__ == "__main__":
    main()
