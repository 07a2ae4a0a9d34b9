"""The whole instrument in JupyterLab: selecting, reading, asking, and Python's side, each as one visit.

What the page shows is held against the arrays that Python has at every station (`Instrument.check`).
"""

import re
import struct
import zlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect
from support.browser import Notebook, wait_for_frame
from support.servers import write_notebook

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
DONE_MS = 300_000

MAKE = """
import numpy as np
from exclip_widget import ExplainWidget, demo, explain

book = demo.load()
page = book.pages[0]
options = {"tokenizer": book.tokenizer}
widget = ExplainWidget(book.model, page.image, page.caption, **options)
"""

CAPTION = "a red boat left of two yellow fish"
# Would run if any of it were taken for HTML.
MARKUP = "<img src=x onerror=window.ran=1>"
DONE = '[data-testid=exclip][data-phase="done"]'


class Instrument:
    """One view of a widget that is called `name` in Python."""

    def __init__(self, notebook: Notebook, root: Locator, name: str = "widget") -> None:
        self.notebook, self.root, self.name = notebook, root, name
        self.words = root.get_by_test_id("exclip-word")
        self.heat = root.get_by_test_id("exclip-heat")
        self.lines = root.get_by_test_id("exclip-lines")
        self.field = root.get_by_test_id("exclip-field-caption")

    def python(self, expression: str) -> Any:
        """Value of an expression, in which `w` is the widget."""
        return self.notebook.value(re.sub(r"\bw\b", self.name, expression))

    def wait_for(self, expression: str, expected: Any) -> None:
        self.notebook.wait_for_value(re.sub(r"\bw\b", self.name, expression), expected)

    def word(self, text: str) -> Locator:
        return self.words.filter(has_text=re.compile(f"^{re.escape(text)}$")).first

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def leave(self) -> None:
        """Takes the pointer away: hovering shows something too."""
        self.notebook.page.mouse.move(0, 0)

    def text(self) -> str:
        """The words that are shown."""
        return " ".join(self.words.all_text_contents())

    def pixels(self) -> str:
        """What is painted over the picture, when it is."""
        wait_for_frame(self.notebook.page)  # the canvas follows there
        return str(self.heat.evaluate("canvas => canvas.toDataURL()"))

    def pixel(self, patch: int) -> list[int]:
        """What is painted in the middle of a patch: RGBA."""
        wait_for_frame(self.notebook.page)
        grid = self.python("w._grid")
        x, y = self.place(grid, patch % grid["columns"] + 0.5, patch // grid["columns"] + 0.5)
        found: list[int] = self.heat.evaluate(
            """(canvas, [x, y]) => [...canvas.getContext("2d")
                .getImageData(Math.round(x * canvas.width), Math.round(y * canvas.height), 1, 1).data]""",
            [x, y],
        )
        return found

    @staticmethod
    def place(grid: dict[str, float], column: float, row: float) -> tuple[float, float]:
        """Fractions of the picture's width and height at a place on the patch grid."""
        return (
            grid["left"] + grid["width"] * column / grid["columns"],
            grid["top"] + grid["height"] * row / grid["rows"],
        )

    def draw(self, *points: tuple[float, float], keys: tuple[str, ...] = ()) -> None:
        """Drags over the picture, through points as (column, row) of the patch grid."""
        grid = self.python("w._grid")
        self.heat.scroll_into_view_if_needed()
        box = self.heat.bounding_box()
        assert box is not None
        places = [self.place(grid, *point) for point in points]
        self.drag([(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places], keys)

    def drag_words(self, first: str, last: str, keys: tuple[str, ...] = ()) -> None:
        self.word(first).scroll_into_view_if_needed()
        boxes = [self.word(text).bounding_box() for text in (first, last)]
        self.drag([(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes if b], keys)

    def drag(self, points: list[tuple[float, float]], keys: tuple[str, ...] = ()) -> None:
        page = self.notebook.page
        for key in keys:
            page.keyboard.down(key)
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=8)
        page.mouse.up()
        for key in keys:
            page.keyboard.up(key)

    def receipt(self) -> dict[str, tuple[Decimal, float, str]]:
        """Printed number, exact number and label of each part that is shown."""
        parts: list[list[str]] = self.root.get_by_test_id("exclip-readout").evaluate(
            """node => [...node.querySelectorAll("[data-figure]:not([hidden])")].map((part) => [
                part.dataset.figure, part.querySelector(".exclip-number").textContent,
                part.dataset.value, part.querySelector(".exclip-label").textContent])"""
        )
        return {
            name: (Decimal(printed.replace("−", "-")), float(value), label)
            for name, printed, value, label in parts
        }

    def wait_until_done(self) -> None:
        """Waits until Python and the page have both come to rest."""
        self.notebook.execute(f"{self.name}.wait({DONE_MS / 1000})")
        expect(self.root).to_have_attribute("data-phase", "done")
        expect(self.root).not_to_have_class(re.compile("exclip-stale"))

    def check(self) -> None:
        """Every word and the receipt say what Python's arrays say, for Python's selection."""
        self.wait_until_done()
        python = self.python(
            """{
                "words": (lambda a: a[:, np.isin(np.arange(a.shape[1]), w.region or range(a.shape[1]))]
                    .sum(1).tolist())(w.interactions.values.reshape(len(w._tokens), -1).astype(float)),
                "all": float(w.interactions.values.sum(dtype=float) + w.interactions.cls.sum(dtype=float)),
                "similarity": w.interactions.similarity,
                "tokens": w.tokens or [i for i, t in enumerate(w._tokens) if not t["special"]],
                "texts": [w.caption[t["start"]:t["end"]] for t in w._tokens if not t["special"]],
                "total": w._summary["total"],
            }"""
        )
        letters = re.sub(r"\s", "", self.text())
        assert letters == re.sub(r"\s", "", self.python("w.caption"))
        self.leave()
        for word in self.words.all():
            rows = [int(row) for row in re.findall(r"\d+", word.get_attribute("data-tokens") or "")]
            assert rows
            value = float(word.get_attribute("data-value") or "nan")
            assert value == pytest.approx(sum(python["words"][row] for row in rows), abs=2e-6)
        receipt = self.receipt()
        printed, similarity, label = receipt.pop("similarity")
        assert label == "similarity"
        assert similarity == pytest.approx(python["similarity"], abs=1e-9)
        assert abs(printed - Decimal(python["similarity"])) < Decimal("0.0002")
        assert sum(part for part, _, _ in receipt.values()) == printed
        assert sum(value for _, value, _ in receipt.values()) == pytest.approx(similarity, abs=1e-6)
        chosen = sum(python["words"][row] for row in python["tokens"])
        assert receipt["selection"][1] == pytest.approx(chosen, abs=2e-6)
        if python["total"] is None:
            assert receipt["unexplained"][1] == pytest.approx(similarity - python["all"], abs=2e-6)
        else:
            assert receipt["reference"][1] == pytest.approx(similarity - python["total"], abs=2e-6)
            assert receipt["residual"][1] == pytest.approx(python["total"] - python["all"], abs=2e-6)

    def edit(self, text: str, part: str = "caption") -> None:
        """Asks for a text, in the field that is open."""
        field = self.root.get_by_test_id(f"exclip-field-{part}")
        field.fill(text)
        field.press("Enter")


@pytest.fixture
def opened(
    open_notebook: Callable[[Path], Notebook], tmp_path: Path
) -> Callable[[str], tuple[Notebook, list[Instrument]]]:
    """Runs a notebook that ends in a cell; all views on the page, when they are done."""

    def run(cell: str, views: int = 1) -> tuple[Notebook, list[Instrument]]:
        notebook = open_notebook(write_notebook(tmp_path / "instrument.ipynb", MAKE + cell))
        notebook.run_all()
        notebook.wait_for(DONE, DONE_MS)
        notebook.wait_until_run()
        notebook.close_side_bar()
        roots = notebook.page.locator(DONE)
        expect(roots).to_have_count(views)
        return notebook, [Instrument(notebook, roots.nth(i)) for i in range(views)]

    return run


@pytest.fixture
def view(opened: Callable[..., tuple[Notebook, list[Instrument]]]) -> Instrument:
    _, [view] = opened("widget")
    # A locator that holds whatever the phase is.
    return Instrument(view.notebook, view.notebook.page.get_by_test_id("exclip"))


def huge_png(width: int, height: int) -> bytes:
    """A picture of very many black pixels in a few bytes."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


def box(top: int, left: int, bottom: int, right: int, columns: int = 12) -> list[int]:
    return [r * columns + c for r in range(top, bottom + 1) for c in range(left, right + 1)]


def test_selecting(view: Instrument) -> None:
    keyboard = view.notebook.page.keyboard
    view.check()

    # Words: a phrase by dragging, another span with Shift, taken from with Alt.
    view.drag_words("red", "boat")
    view.wait_for("w.tokens", [2, 3])
    view.drag_words("two", "fish", ("Shift",))
    view.wait_for("w.tokens", [2, 3, 6, 7, 8])
    view.drag_words("yellow", "yellow", ("Alt",))
    view.wait_for("w.tokens", [2, 3, 6, 8])
    pressed = view.words.and_(view.root.locator('[aria-pressed="true"]'))
    expect(pressed).to_have_text(["red", "boat", "two", "fish"])
    view.check()

    # Patches: box, lasso and brush; more regions with Shift.
    view.draw((1.3, 1.3), (3.7, 2.7))
    view.wait_for("w.region", box(1, 1, 2, 3))
    view.draw((8.3, 8.3), (9.7, 9.7), keys=("Shift",))
    view.wait_for("w.region", sorted(box(1, 1, 2, 3) + box(8, 8, 9, 9)))
    view.check()
    view.draw((1.3, 1.3), (1.7, 2.7), keys=("Alt",))
    view.wait_for("w.region", sorted(box(1, 2, 2, 3) + box(8, 8, 9, 9)))
    view.button("Lasso").click()
    view.draw((2.1, 2.1), (6.9, 2.1), (6.9, 6.9), (2.1, 6.9), (2.1, 2.3))
    view.wait_for("w.region", box(2, 2, 6, 6))
    view.button("Brush").click()
    view.draw((2.5, 5.5), (9.5, 5.5))
    view.wait_for("w.region", box(5, 2, 5, 9))
    for _ in range(2):
        keyboard.press("]")  # a broader brush; the picture has the focus
    view.draw((2.5, 5.5), (9.5, 5.5))
    view.wait_for("set(w.region) > set(range(61, 71))", True)
    assert set(view.python("w.region")) <= set(box(3, 0, 7, 11))
    for _ in range(12):
        keyboard.press("[")
    view.draw((2.5, 5.5), (9.5, 5.5))
    view.wait_for("w.region", box(5, 2, 5, 9))
    view.check()
    label = view.receipt()["selection"][2]
    assert label == "red boat two fish × 8 patches"
    view.button("Box").click()
    view.button("Invert selected patches").click()
    view.wait_for("w.region", sorted(set(range(144)) - set(box(5, 2, 5, 9))))

    # Special tokens and pieces are words of their own when asked for.
    view.button("Pieces").click()
    expect(view.words).to_have_count(10)
    view.words.last.click()
    view.wait_for("w.tokens", [9])
    assert view.receipt()["selection"][2] == "<eot> × 136 patches"
    view.button("Pieces").click()

    # Nothing, and the strongest pairs.
    keyboard.press("Escape")
    view.wait_for("[w.tokens, w.region]", [[], []])
    expect(pressed).to_have_count(0)
    pairs = view.root.get_by_test_id("exclip-pairs").get_by_role("button")
    expect(pairs.first).to_be_visible()
    for index in (0, 1):
        value = float(pairs.nth(index).get_attribute("data-value") or "nan")
        pairs.nth(index).click()
        expect(pairs.nth(index)).to_have_attribute("aria-pressed", "true")
        chosen = "float(w.interactions.values.reshape(len(w._tokens), -1)[np.ix_(w.tokens, w.region)].sum())"
        # Both sides of the selection arrive one after the other, and on the pair before.
        view.wait_for(f"abs({chosen} - {value}) < 2e-6", True)
        assert view.receipt()["selection"][1] == pytest.approx(value, abs=2e-6)
    keyboard.press("Escape")
    view.wait_for("[w.tokens, w.region]", [[], []])

    # What is pointed at is shown, on the other side, and not selected.
    view.leave()
    plain, values = view.pixels(), [word.get_attribute("data-value") for word in view.words.all()]
    view.word("boat").hover()
    assert view.pixels() != plain
    view.heat.hover()
    expect(view.words.first).not_to_have_attribute("data-value", values[0] or "")
    view.leave()
    assert view.pixels() == plain
    assert [word.get_attribute("data-value") for word in view.words.all()] == values
    assert view.python("[w.tokens, w.region]") == [[], []]

    # The same by keyboard alone: Lab takes none of these keys for its own.
    cells = view.notebook.page.locator(".jp-Cell").count()
    view.words.first.focus()
    for key in ("ArrowRight", "Enter", "ArrowRight", "ArrowRight", "Shift+Enter"):
        keyboard.press(key)
    view.wait_for("w.tokens", [2, 4])
    keyboard.press("i")
    view.wait_for("w.tokens", [1, 3, 5, 6, 7, 8])
    view.heat.focus()
    for key in ("b", "ArrowDown", "ArrowDown", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown"):
        keyboard.press(key)
    view.wait_for("w.region", box(1, 1, 2, 2))
    view.check()
    for key in ("Home", "Alt+Enter", "ArrowUp", "ArrowRight", "Alt+Enter"):
        keyboard.press(key)
    view.wait_for("w.region", [14, 25, 26])
    keyboard.press("Escape")
    view.wait_for("[w.tokens, w.region]", [[], []])
    keyboard.press("Control+a")
    view.wait_for("len(w.region)", 144)
    # Lab's commands to insert, copy, cut, paste, delete and change cells, and to restart the kernel.
    for target in (view.heat, view.button("Lasso"), view.words.first, view.root.get_by_role("slider").last):
        target.focus()
        for key in "abcmxvddzyr00":
            keyboard.press(key)
    view.notebook.page.wait_for_timeout(200)
    assert view.notebook.page.locator(".jp-Cell").count() == cells
    assert view.notebook.page.locator(".jp-Dialog").count() == 0
    view.wait_for("len(w.region)", 144)
    # But Lab saves.
    model = "window.jupyterapp.shell.currentWidget.context.model"
    for target in (view.words.first, view.heat):
        view.notebook.page.evaluate(f"() => {{ {model}.dirty = true; }}")
        target.focus()
        keyboard.press("Control+s")
        view.notebook.page.wait_for_function(f"() => !{model}.dirty")
        assert view.notebook.page.locator(".jp-Dialog").count() == 0


def test_reading(view: Instrument) -> None:
    root = view.root
    view.check()
    plain = view.pixels()

    # The scale follows what is shown, until it is locked.
    scale = float(view.heat.get_attribute("data-scale") or "nan")
    view.word("of").click()
    expect(view.heat).not_to_have_attribute("data-scale", str(scale))
    faint = view.heat.get_attribute("data-scale") or ""
    view.leave()
    unlocked = view.pixels()
    view.word("of").click()
    view.leave()
    assert view.pixels() == plain
    lock = root.get_by_test_id("exclip-legend").get_by_role("button", name="Lock this scale")
    lock.click()
    expect(lock).to_have_attribute("aria-pressed", "true")
    view.word("of").click()
    view.leave()
    view.wait_for("w.tokens", [5])
    locked = float(view.heat.get_attribute("data-scale") or "nan")
    assert locked == scale
    assert view.pixels() not in (unlocked, plain)
    lock.click()
    expect(view.heat).to_have_attribute("data-scale", faint)
    view.leave()
    assert view.pixels() == unlocked
    view.notebook.page.keyboard.press("Escape")
    view.wait_for("w.tokens", [])

    # Signs: what is of the other one is not painted.
    most, least = view.python(
        "(lambda heat: [int(heat.argmax()), int(heat.argmin())])(w.interactions.values[1:-1].sum(0).ravel())"
    )
    view.leave()
    both = [view.pixel(most), view.pixel(least)]
    appearance = view.button("Appearance")
    appearance.click()
    panel = root.get_by_test_id("exclip-appearance")
    expect(panel).to_be_visible()
    view.button("Only what speaks for the match").click()
    view.leave()
    positive = [view.pixel(most), view.pixel(least)]
    assert positive[0] == both[0]
    assert positive[1] != both[1]
    view.button("Only what speaks against it").click()
    view.leave()
    negative = [view.pixel(most), view.pixel(least)]
    assert negative[0] != both[0]
    assert negative[1] == both[1]
    assert negative[0][3] < both[0][3]
    view.check()  # how it is painted changes no number
    view.button("Both signs").click()
    view.leave()
    assert [view.pixel(most), view.pixel(least)] == both

    # Colours, strength and smoothness are seen and change no number either.
    seen = [plain]
    smooth = view.button("Smooth between patches")
    smooth.click()
    expect(smooth).to_have_attribute("aria-pressed", "true")
    view.leave()
    seen.append(view.pixels())
    palette = panel.get_by_role("group", name="Colours").get_by_role("button").nth(1)
    palette.click()
    view.leave()
    seen.append(view.pixels())
    strength = panel.get_by_role("slider")
    strength.focus()
    for _ in range(30):
        strength.press("ArrowLeft")
    seen.append(view.pixels())
    assert len(set(seen)) == 4, [seen.index(pixels) for pixels in seen]
    view.check()

    # The value under the pointer is Python's.
    patch = 5 * 12 + 3
    view.heat.scroll_into_view_if_needed()
    bounds = view.heat.bounding_box()
    assert bounds is not None
    x, y = view.place(view.python("w._grid"), 3.5, 5.5)
    view.notebook.page.mouse.move(bounds["x"] + x * bounds["width"], bounds["y"] + y * bounds["height"])
    pointed = root.get_by_test_id("exclip-legend").locator(".exclip-pointed")
    expect(pointed).not_to_have_text("")
    under = view.python(f"float(w.interactions.values[1:-1].sum(0).ravel()[{patch}])")
    assert float(pointed.inner_text().replace("−", "-")) == pytest.approx(under, rel=0.006, abs=1e-6)

    # All numbers as tables.
    view.leave()
    view.button("Table of the numbers").click()
    rows = root.get_by_role("row").filter(has_text="boat")
    expect(rows.first).to_be_visible()


def test_asking(view: Instrument) -> None:
    notebook, root = view.notebook, view.root
    page = notebook.page
    refused = root.get_by_test_id("exclip-refused-caption")

    # The caption, where it stands: the selected word is what is written over.
    view.word("red").click()
    view.word("red").dblclick()
    expect(view.field).to_be_focused()
    expect(view.field).to_have_value(CAPTION)
    view.edit(CAPTION.replace("red", "blue"))
    expect(view.field).to_be_hidden()
    view.wait_for("w.caption", CAPTION.replace("red", "blue"))
    view.wait_until_done()
    assert view.python("w.interactions.caption") == CAPTION.replace("red", "blue")
    expect(view.word("blue")).to_be_visible()
    expect(view.word("red")).to_have_count(0)
    view.check()

    # One that is refused says why where it was written; all else stays.
    view.leave()
    page.keyboard.press("Escape")
    view.wait_for("w.tokens", [])
    heat, receipt = view.pixels(), view.receipt()
    view.words.first.focus()
    page.keyboard.press("F2")
    view.edit("x" * 10_000)
    expect(refused).to_contain_text("context is 32")
    expect(view.field).to_have_attribute("aria-invalid", "true")
    view.edit((MARKUP + " ") * 10)
    expect(refused).to_contain_text(MARKUP)
    view.edit("")
    expect(refused).to_contain_text("no words")
    assert (view.pixels(), view.receipt()) == (heat, receipt)
    expect(root).to_have_attribute("data-phase", "done")
    page.keyboard.press("Escape")
    expect(refused).to_be_hidden()
    view.check()
    assert view.python("w.caption") == CAPTION.replace("red", "blue")

    # Markup is text.
    images = root.locator("img").count()
    view.words.first.focus()
    page.keyboard.press("F2")
    view.edit(f"{MARKUP} boat")
    view.wait_for("w.caption", f"{MARKUP} boat")
    view.check()
    assert root.locator("img").count() == images
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None

    # Any script, and what is written from the right is read from there.
    for caption in ("סירה אדומה", "e\u0301te\u0301 👩\u200d🚀 小船"):
        view.words.first.focus()
        page.keyboard.press("F2")
        view.edit(caption)
        view.wait_for("w.caption", caption)
        view.check()
        direction = view.words.first.evaluate("word => getComputedStyle(word.parentElement).direction")
        assert direction == ("rtl" if caption.startswith("ס") else "ltr")
    for index in range(view.words.count()):
        view.words.nth(index).click()
        expect(view.words.nth(index)).to_have_attribute("aria-pressed", "true")
    view.check()

    # Ten quick edits: the last one's result, and no other ever again.
    view.words.first.focus()
    page.keyboard.press("F2")
    colours = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "green")
    view.field.evaluate(
        """(field, texts) => {
            for (const text of texts) {
                field.value = text;
                field.dispatchEvent(new InputEvent("input", { bubbles: true }));
                field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
            }
        }""",
        [f"a {colour} boat above {index} fish" for index, colour in enumerate(colours)],
    )
    view.wait_for("w.caption", "a green boat above 9 fish")
    view.check()
    page.wait_for_timeout(1000)
    view.check()
    assert view.python("w.interactions.caption") == "a green boat above 9 fish"
    expected = "explain(book.model, page.image, w.caption, **options)"
    assert view.python(f"float(abs({expected}.values - w.interactions.values).max())") < 1e-5

    # Layers by keyboard, each key a question.
    slider = root.get_by_role("slider", name="image layer")
    at = view.python("w.image_layer")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    view.wait_for("w.image_layer", at - 3)
    expect(slider).to_have_attribute("aria-valuenow", str(at - 3))
    expect(slider).to_have_attribute("aria-valuetext", f"visual.transformer.resblocks.{at - 3}")
    view.check()
    page.keyboard.press("Home")
    view.wait_for("w.image_layer", 0)
    for _ in range(at):
        page.keyboard.press("ArrowRight")
    view.wait_for("w.image_layer", at)
    view.check()
    assert view.python(f"float(abs({expected}.values - w.interactions.values).max())") < 1e-5

    # By dragging too: many questions, and the last one's result.
    slider.scroll_into_view_if_needed()
    notebook.drag(slider, (at / 6, 0.5), (1 / 6, 0.5))
    view.wait_for("w.image_layer", 1)
    expect(slider).to_have_attribute("aria-valuenow", "1")
    view.check()
    assert view.python("w.interactions.image_layer") == "visual.transformer.resblocks.1"
    slider.focus()
    for _ in range(1, at):
        page.keyboard.press("ArrowRight")
    view.wait_for("w.image_layer", at)
    view.check()

    # A layer that fails is said to, and the last good result stays.
    view.leave()
    heat, receipt = view.pixels(), view.receipt()
    notebook.execute(
        f"""
def fail(*_):
    raise RuntimeError("layer two is out of order: {MARKUP}")
hook = book.model.visual.transformer.resblocks[2].register_forward_pre_hook(fail)
"""
    )
    slider.focus()
    page.keyboard.press("Home")
    told = root.get_by_text("layer two is out of order")
    expect(told).to_be_visible()
    expect(told).to_contain_text(MARKUP)
    expect(slider).to_have_attribute("aria-valuenow", str(at))
    view.wait_for("w.image_layer", at)
    assert (view.pixels(), view.receipt()) == (heat, receipt)
    notebook.execute("hook.remove()")
    for key in ("ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    view.wait_for("[w.image_layer, w._request['phase']]", [at, "done"])
    view.check()
    expect(told).to_have_count(0)
    assert page.evaluate("window.ran") is None

    # Methods.
    heat = view.pixels()
    for method in ("similarity", "gradient", "exclip"):
        button = view.button(method)
        button.click()
        view.wait_for("w.method", method)
        expect(button).to_have_attribute("aria-pressed", "true")
        view.check()
        assert view.python("w.interactions.method") == method
        view.leave()
        assert (view.pixels() == heat) == (method == "exclip")


def test_foil_and_tests(view: Instrument) -> None:
    notebook, root = view.notebook, view.root
    foil = CAPTION.replace("red", "blue")

    # A test: predicted beside actual, as Python has them.
    test = root.get_by_test_id("exclip-test")
    expect(test).to_have_attribute("aria-disabled", "true")
    view.drag_words("red", "boat")
    test.click()
    view.wait_for("len(w._tests)", 1)
    view.draw((1.3, 2.3), (5.7, 7.7))
    test.click()
    view.wait_for("len(w._tests)", 2)
    tests = view.python("w._tests")
    rows = root.get_by_test_id("exclip-trials").get_by_role("button", name=re.compile("predicted"))
    expect(rows).to_have_count(2)
    for row, kept in zip(rows.all(), reversed(tests), strict=True):
        name = (row.get_attribute("aria-label") or "").replace("−", "-")
        said = re.search(r"predicted (\S+), actual (\S+)\.", name)
        assert said, name
        assert float(said[1]) == pytest.approx(kept["predicted"], rel=0.006)
        assert float(said[2]) == pytest.approx(kept["actual"], rel=0.006)
        assert kept["label"] in name
    assert tests[0]["tokens"] == tests[1]["tokens"] == [2, 3]
    assert tests[1]["region"] == box(2, 1, 7, 5)
    assert tests[0]["actual"] < 0  # without its words the caption fits less
    expect(root.get_by_test_id("exclip-trials").locator("circle")).to_have_count(2)
    rows.last.click()
    view.wait_for("[w.tokens, w.region]", [[2, 3], []])
    root.get_by_test_id("exclip-untest").click()
    view.wait_for("w._tests", [])
    expect(rows).to_have_count(0)

    # A foil: the caption with something changed, and their difference on one scale.
    view.button("Compare with a foil").click()
    field = root.get_by_test_id("exclip-field-foil")
    expect(field).to_have_value(CAPTION)
    view.edit("", "foil")
    expect(field).to_be_hidden()
    assert view.python("w.foil") is None
    view.button("Compare with a foil").click()
    view.edit("x " * 5_000, "foil")
    expect(root.get_by_test_id("exclip-refused-foil")).to_contain_text("foil: ")
    view.edit(foil, "foil")
    view.wait_for("w.foil", foil)
    view.check()
    assert view.python("w.foil_interactions.caption") == foil
    expect(root.get_by_test_id("exclip-line-foil").locator(".exclip-word")).to_have_text(foil.split())
    root.get_by_role("button", name="difference", exact=True).click()
    expect(root.get_by_test_id("exclip-line-difference").get_by_test_id("exclip-word")).to_have_text(
        [word.replace("red", "red − blue") for word in CAPTION.split()]
    )
    notebook.page.keyboard.press("Escape")
    view.wait_for("w.tokens", [])
    view.leave()
    receipt = view.receipt()
    printed, similarity, label = receipt.pop("similarity")
    assert label == "difference of similarities"
    difference = view.python("w.interactions.similarity - w.foil_interactions.similarity")
    assert similarity == pytest.approx(difference, abs=1e-9)
    assert sum(part for part, _, _ in receipt.values()) == printed
    assert sum(value for _, value, _ in receipt.values()) == pytest.approx(difference, abs=1e-6)
    sums = view.python(
        "(w.interactions.values - w.foil_interactions.values).sum((1, 2), float).tolist()[1:-1]"
    )
    values = [float(word.get_attribute("data-value") or "nan") for word in view.words.all()]
    assert values == pytest.approx(sums, abs=2e-6)
    heat = view.pixels()
    view.words.nth(1).click()
    view.wait_for("w.tokens", [2])
    view.leave()
    assert view.pixels() != heat
    view.button("Remove the foil").click()
    view.wait_for("w.foil", None)
    expect(root.get_by_test_id("exclip-line-difference")).to_be_hidden()
    view.check()


def test_pictures(view: Instrument, tmp_path: Path) -> None:
    notebook, root = view.notebook, view.root
    page = notebook.page
    file = root.get_by_test_id("exclip-file")
    refused = root.get_by_test_id("exclip-refused-picture")
    picture = root.locator(".exclip-picture img")

    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        notebook.execute(f"book.pages[{number}].image.save({str(path)!r})")
    before = picture.get_attribute("src") or ""
    heat = view.pixels()
    file.set_input_files(paths[1])
    view.wait_for("w.image.tobytes() == book.pages[1].image.tobytes()", True)
    expect(picture).not_to_have_attribute("src", before)
    view.check()
    assert view.pixels() != heat
    shown = "explain(book.model, book.pages[1].image, w.caption, **options).values"
    assert view.python(f"float(abs({shown} - w.interactions.values).max())") < 1e-5

    # What is no picture is refused in words, and the old one stays.
    before, heat = picture.get_attribute("src") or "", view.pixels()
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><script>window.ran = 1</script>{MARKUP}</svg>'
    whole = paths[2].read_bytes()
    for name, data, words in (
        ("broken.png", whole[: len(whole) // 2], "broken.png"),
        ("drawing.svg", svg.encode(), "an SVG"),
        ("drawing.png", svg.encode(), "an SVG"),
        (f"{MARKUP}.png", b"no picture at all", MARKUP),
        ("huge.png", huge_png(20_000, 10_000), "too large to open"),
        ("nothing.png", b"", "empty"),
    ):
        file.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
        expect(refused).to_contain_text(words)
    drop = """(root, [name, size, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([bytes ? Uint8Array.from(bytes) : new Uint8Array(size)], name));
        for (const type of ["dragover", "drop"]) {
            root.dispatchEvent(new DragEvent(type, {
                dataTransfer: data, bubbles: true, cancelable: true,
            }));
        }
    }"""
    root.evaluate(drop, ["large.png", 50 * 2**20, None])
    expect(refused).to_contain_text("50 MiB")
    assert picture.get_attribute("src") == before
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 480
    assert view.pixels() == heat
    assert page.evaluate("window.ran") is None
    assert view.python("w.image.tobytes() == book.pages[1].image.tobytes()")
    view.check()

    # The crop: only what the model sees has patches.
    notebook.execute("wide = book.pages[2].image.resize((900, 450))")
    notebook.execute("widget.image = wide")
    view.check()
    grid = view.python("w._grid")
    assert grid["left"] > 0.1
    expect(picture).to_have_js_property("naturalWidth", 900)
    view.draw((0.3, 0.3), (2.7, 1.7))
    view.wait_for("w.region", box(0, 0, 1, 2))
    view.check()
    page.keyboard.press("Escape")
    view.wait_for("w.region", [])

    # Dropped, and pasted.
    root.evaluate(drop, ["dropped.png", 0, list(whole)])
    view.wait_for("w.image.tobytes() == book.pages[2].image.tobytes()", True)
    expect(refused).to_be_hidden()
    view.check()
    root.evaluate(
        """(root, bytes) => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([Uint8Array.from(bytes)], "pasted.png"));
            root.dispatchEvent(new ClipboardEvent("paste", {
                clipboardData, bubbles: true, cancelable: true,
            }));
        }""",
        list(paths[0].read_bytes()),
    )
    view.wait_for("w.image.tobytes() == book.pages[0].image.tobytes()", True)
    view.check()


TWO = """
import ipywidgets
from IPython.display import display

pair = [book.pages[1].caption, "a big red house below a small orange sun"]
other = ExplainWidget(book.model, book.pages[1].image, pair, method="exclip", **options)
seen = []
widget.observe(lambda change: seen.append(change.new), "tokens")
display(widget, ipywidgets.VBox([widget]), other)
widget.wait(), other.wait()
"""


def test_python(opened: Callable[..., tuple[Notebook, list[Instrument]]]) -> None:
    notebook, _ = opened(TWO, 3)
    roots = notebook.page.get_by_test_id("exclip")
    first, second = Instrument(notebook, roots.nth(0)), Instrument(notebook, roots.nth(1))
    other = Instrument(notebook, roots.nth(2), "other")
    views = (first, second, other)
    for view in views:
        view.check()
    caption = other.python("w.caption")
    foil = other.root.get_by_test_id("exclip-line-foil").locator(".exclip-word")
    expect(foil.nth(2)).to_have_text("red")

    # Python's selection is that of both views, and of no other widget.
    notebook.execute("widget.tokens = [2, 3]; widget.region = np.eye(12, dtype=bool)")
    for view in (first, second):
        expect(view.word("boat")).to_have_attribute("aria-pressed", "true")
        expect(view.root.get_by_test_id("exclip-readout")).to_contain_text("red boat × 12 patches")
        view.check()
    assert notebook.value("[other.tokens, other.region]") == [[], []]

    # One view's gesture is the other's, and an observer's.
    second.drag_words("yellow", "fish")
    expect(first.word("fish")).to_have_attribute("aria-pressed", "true")
    expect(first.word("boat")).to_have_attribute("aria-pressed", "false")
    first.wait_for("seen", [[2, 3], [7, 8]])
    first.draw((1.3, 1.3), (3.7, 2.7))
    expect(second.root.get_by_test_id("exclip-readout")).to_contain_text("yellow fish × 6 patches")
    other.word("house").click()
    other.wait_for("w.tokens", [4])
    assert notebook.value("[widget.tokens, widget.region]") == [[7, 8], box(1, 1, 2, 3)]
    for view in views:
        view.check()
    assert first.receipt() == second.receipt()

    # Inputs set in Python show in both.
    notebook.execute("widget.caption = 'three purple butterflies'; widget.method = 'similarity'")
    for view in (first, second):
        expect(view.words).to_have_text(["three", "purple", "butterflies"])
        expect(view.button("similarity")).to_have_attribute("aria-pressed", "true")
        view.check()
    notebook.execute("widget.method = 'exclip'; widget.image_layer = 3; widget.image = book.pages[3].image")
    notebook.execute("widget.foil = 'three pink butterflies'")
    for view in (first, second):
        slider = view.root.get_by_role("slider", name="image layer")
        expect(slider).to_have_attribute("aria-valuenow", "3")
        line = view.root.get_by_test_id("exclip-line-foil").locator(".exclip-word")
        expect(line).to_have_text(["three", "pink", "butterflies"])
        view.check()
    assert first.receipt() == second.receipt()
    refused = notebook.execute(
        """
for name, value in (("caption", ""), ("method", "guess"), ("image_layer", 99), ("region", [144])):
    try:
        setattr(widget, name, value)
    except Exception as error:
        print(f"{name}: {error}")
"""
    )
    assert [line.partition(":")[0] for line in refused.splitlines()] == [
        *("caption", "method", "image_layer", "region")
    ]

    # An edit on the page is both views'.
    second.word("purple").dblclick()
    second.edit("three black butterflies")
    for view in (first, second):
        expect(view.words.nth(1)).to_have_text("black")
        view.check()
    assert notebook.execute("print((await widget.ready()).caption)").strip() == "three black butterflies"

    # Beside other widgets: `interactive` drives its inputs, `jslink` its selections.
    notebook.execute(
        """
knob = ipywidgets.interactive(lambda layer: setattr(widget, "image_layer", layer), layer=(0, 5))
knob.children[0].value = 4
"""
    )
    for view in (first, second):
        slider = view.root.get_by_role("slider", name="image layer")
        expect(slider).to_have_attribute("aria-valuenow", "4")
        view.check()
    notebook.execute("link = ipywidgets.jslink((widget, 'region'), (other, 'region'))")
    first.draw((4.3, 4.3), (6.7, 5.7))
    first.wait_for("w.region", box(4, 4, 5, 6))
    other.wait_for("w.region", box(4, 4, 5, 6))
    other.check()
    assert other.python("w.caption") == caption

    # Closed, its views go; the other lives on.
    notebook.execute("link.unlink(); widget.close()")
    expect(notebook.page.get_by_test_id("exclip")).to_have_count(1)
    left = Instrument(notebook, notebook.page.get_by_test_id("exclip"), "other")
    left.word("sun").click()
    left.wait_for("len(w.tokens)", 1)
    left.check()
