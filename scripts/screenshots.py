"""Take screenshots of the widget in use: the picture book in a real JupyterLab, in Chromium.

python scripts/screenshots.py            # the README's images and animation, into docs/images
python scripts/screenshots.py FOLDER     # every state in both themes, wide and narrow
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import Notebook, launch_chromium  # noqa: E402
from support.servers import LabServer, write_notebook  # noqa: E402

SETUP = """
from exclip_widget import ExplainWidget, demo

book = demo.load()
"""
SHOW = """
page = book.pages[0]
widget = ExplainWidget(
    book.model, page.image, page.caption, tokenizer=book.tokenizer,
)
widget
"""

WIDE, NARROW = (1180, 1500), (420, 2400)
FOIL = "a blue boat left of two yellow fish"

PACE_MS = 500
"""Milliseconds that each frame of the animation is shown."""


class Stage:
    """The widget on the page, with methods for what a user does to it."""

    def __init__(self, notebook: Notebook, widget: Locator) -> None:
        self.notebook = notebook
        self.widget = widget
        self.heat = widget.get_by_test_id("exclip-heat")

    def words(self, *texts: str) -> None:
        """Select these words, one click after another."""
        for number, text in enumerate(texts):
            word = self.widget.get_by_test_id("exclip-word").filter(has_text=text).first
            word.click(modifiers=["Shift"] if number else [])

    def clear(self) -> None:
        self.python("widget.tokens, widget.region = [], []")

    def python(self, code: str) -> None:
        """Run code in the kernel, and wait until the request it makes is done."""
        self.notebook.execute(f"{code}\n_ = widget.wait(120)")
        expect(self.widget).to_have_attribute("data-phase", "done")

    def test(self) -> None:
        """Test the selection by masking, and wait for the row."""
        self.widget.get_by_role("button", name="Test this selection").click()
        expect(self.widget.get_by_role("button", name="Test this selection")).to_be_enabled(timeout=60_000)

    def refused(self) -> None:
        """Enter a caption that is too long, and wait for the error."""
        self.widget.get_by_role("button", name="Edit the caption").first.click()
        field = self.widget.get_by_test_id("exclip-field-caption")
        field.fill("a boat and " * 20)
        field.press("Enter")
        expect(self.widget.get_by_role("alert").filter(has_text="tokens").first).to_be_visible()

    def shot(self) -> Image.Image:
        """Take a screenshot of the widget, once hover has faded and the theme has settled."""
        self.notebook.page.mouse.move(2, 2)
        self.notebook.page.wait_for_timeout(500)
        return Image.open(io.BytesIO(self.widget.screenshot()))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.shot().save(path, optimize=True)


def gallery(stage: Stage, folder: Path) -> None:
    """Take screenshots of every state in both themes, wide and narrow: to inspect, not to commit."""
    notebook = stage.notebook
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        for size, shape in ((WIDE, "wide"), (NARROW, "narrow")):
            notebook.set_size(*size)
            states(stage, folder / f"{theme}-{shape}")
        notebook.set_size(*WIDE)
        notebook.screenshot(folder / f"{theme}-notebook.png")


def states(stage: Stage, prefix: Path) -> None:
    def save(name: str) -> None:
        stage.save(prefix.with_name(f"{prefix.name}-{name}.png"))

    stage.clear()
    save("nothing-selected")
    stage.words("red", "boat")
    save("words")
    stage.test()
    stage.words("yellow", "fish")
    stage.test()
    save("test")
    stage.clear()
    stage.notebook.drag(stage.heat, (0.56, 0.2), (0.92, 0.92))
    save("region")
    stage.words("yellow", "fish")
    save("both")
    stage.clear()
    stage.python(f"widget.foil = {FOIL!r}")
    stage.widget.get_by_role("button", name="difference").click()
    save("foil")
    stage.python("widget.foil = None")
    stage.refused()
    save("error")
    stage.widget.get_by_test_id("exclip-field-caption").press("Escape")
    stage.python("widget.method = 'similarity'")
    save("similarity")
    stage.python("widget.method = 'exclip'; widget.text_layer = 0; widget.image_layer = 2")


def readme(stage: Stage) -> None:
    """Make the README's image in both themes, and its animation."""
    stage.words("red", "boat")
    stage.test()
    for theme in ("dark", "light"):
        stage.notebook.set_theme(theme)
        stage.save(IMAGES / f"widget-{theme}.png")
    animation(stage, IMAGES / "widget.webp")


def animation(stage: Stage, path: Path) -> None:
    """Show a minute's work in a few frames: words, a region, both, a test, a foil, a layer."""
    frames: list[Image.Image] = []

    def hold(pictures: int = 1) -> None:
        frames.extend([stage.shot()] * pictures)

    stage.notebook.execute("widget._tests = []")
    stage.clear()
    hold(2)
    for number in range(1, 3):
        stage.clear()
        stage.words(*("red", "boat")[:number])
        hold(2)
    stage.clear()
    stage.words("yellow", "fish")
    hold(2)
    stage.clear()
    stage.notebook.drag(stage.heat, (0.05, 0.15), (0.45, 0.6))
    hold(2)
    stage.words("red", "boat")
    hold()
    stage.test()
    hold(3)
    stage.clear()
    stage.python(f"widget.foil = {FOIL!r}")
    stage.widget.get_by_role("button", name="difference").click()
    hold(3)
    stage.python("widget.foil = None")
    stage.words("boat")
    for layer in range(2, 6):
        stage.python(f"widget.image_layer = {layer}")
        hold()
    height = max(frame.height for frame in frames)
    width = frames[0].width
    shown = []
    for frame in frames:
        page = Image.new("RGB", (width, height), "white")
        page.paste(frame.convert("RGB"))
        shown.append(page.resize((width * 2 // 5, height * 2 // 5), Image.Resampling.LANCZOS))
    shown[0].save(
        path, save_all=True, append_images=shown[1:], duration=PACE_MS, loop=0, quality=80, method=6
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="write screenshots of every state into this folder"
    )
    folder: Path | None = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        width, height = WIDE
        context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=2)
        with LabServer(Path(temporary)) as lab:
            write_notebook(lab.notebooks / "pictures.ipynb", SETUP, SHOW)
            notebook = Notebook(context.new_page(), lab.url("pictures.ipynb"))
            notebook.close_side_bar()
            notebook.run_all()
            stage = Stage(notebook, notebook.wait_for("[data-testid=exclip][data-phase=done]"))
            if folder:
                gallery(stage, folder)
            else:
                readme(stage)
            notebook.check_console()
            notebook.shut_down()
        browser.close()


if __name__ == "__main__":
    main()
