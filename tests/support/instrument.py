"""Views of a widget on a page, and checks of what they show against Python's arrays."""

import re
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from support.browser import Notebook, wait_for_frame

# Includes importing torch and loading the model in a new kernel, on a busy machine.
DONE_MS = 300_000
DONE = '[data-testid=exclip][data-phase="done"]'

# Code that a cell with a widget begins with.
MAKE = """
import numpy as np
from exclip_widget import ExplainWidget, demo, explain

book = demo.load()
page = book.pages[0]
options = {"tokenizer": book.tokenizer}
widget = ExplainWidget(book.model, page.image, page.caption, **options)
"""
CAPTION = "a red boat left of two yellow fish"
# A script that would run if any of this were treated as HTML.
MARKUP = "<img src=x onerror=window.ran=1>"


class Instrument:
    """One view of the widget that is called `name` in Python."""

    def __init__(self, notebook: Notebook, root: Locator, name: str = "widget") -> None:
        self.notebook, self.root, self.name = notebook, root, name
        self.words = root.get_by_test_id("exclip-word")
        self.heat = root.get_by_test_id("exclip-heat")
        self.lines = root.get_by_test_id("exclip-lines")
        self.field = root.get_by_test_id("exclip-field-caption")

    def python(self, expression: str) -> Any:
        """Return the value of a Python expression in which `w` is the widget."""
        return self.notebook.value(re.sub(r"\bw\b", self.name, expression))

    def wait_for(self, expression: str, expected: Any) -> None:
        self.notebook.wait_for_value(re.sub(r"\bw\b", self.name, expression), expected)

    def word(self, text: str) -> Locator:
        return self.words.filter(has_text=re.compile(f"^{re.escape(text)}$")).first

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def leave(self) -> None:
        """Move the pointer away, because hovering changes what is shown."""
        self.notebook.page.mouse.move(0, 0)

    def text(self) -> str:
        """Return the displayed words, separated by spaces."""
        return " ".join(self.words.all_text_contents())

    def pixels(self) -> str:
        """Return what is painted over the image, as a data URL, after the next frame."""
        wait_for_frame(self.notebook.page)  # the canvas is painted then
        return str(self.heat.evaluate("canvas => canvas.toDataURL()"))

    def pixel(self, patch: int) -> list[int]:
        """Return the colour painted in the middle of a patch, as RGBA."""
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
        """Return a position on the patch grid as fractions of the image's width and height."""
        return (
            grid["left"] + grid["width"] * column / grid["columns"],
            grid["top"] + grid["height"] * row / grid["rows"],
        )

    def draw(self, *points: tuple[float, float], keys: tuple[str, ...] = ()) -> None:
        """Drag over the image, through points given as (column, row) of the patch grid."""
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
        """Return the printed number, exact number and label of each part of the receipt that is shown."""
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
        """Wait until Python and the page are both done."""
        self.notebook.execute(f"{self.name}.wait({DONE_MS / 1000})")
        expect(self.root).to_have_attribute("data-phase", "done")
        expect(self.root).not_to_have_class(re.compile("exclip-stale"))

    def check(self) -> None:
        """Compare every word and the receipt with Python's arrays, for the selection in Python."""
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
                "own": w.interactions.own_sums,
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
        alone = python["own"] or [0, 0]
        if python["own"]:
            assert [receipt[side][1] for side in ("words", "patches")] == pytest.approx(alone, abs=2e-6)
        left = similarity - sum(alone)
        if python["total"] is None:
            assert receipt["unexplained"][1] == pytest.approx(left - python["all"], abs=2e-6)
        else:
            assert receipt["reference"][1] == pytest.approx(left - python["total"], abs=2e-6)
            assert receipt["residual"][1] == pytest.approx(python["total"] - python["all"], abs=2e-6)

    def edit(self, text: str, part: str = "caption") -> None:
        """Enter a text in the open field, and request it."""
        field = self.root.get_by_test_id(f"exclip-field-{part}")
        field.fill(text)
        field.press("Enter")


def box(top: int, left: int, bottom: int, right: int, columns: int = 12) -> list[int]:
    return [r * columns + c for r in range(top, bottom + 1) for c in range(left, right + 1)]


class Shown:
    """A widget on a page under hard conditions: no result, a busy or lost kernel, or a new view."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.root = notebook.wait_for("[data-testid=exclip]", DONE_MS)
        self.words = self.root.get_by_test_id("exclip-word")
        self.heat = self.root.get_by_test_id("exclip-heat")
        self.notice = self.root.get_by_test_id("exclip-notice")
        self.layer = self.root.get_by_test_id("exclip-image_layer")

    def wait_for_phase(self, phase: str) -> None:
        expect(self.root).to_have_attribute("data-phase", phase, timeout=DONE_MS)

    def look(self) -> tuple[str, list[str | None]]:
        """Return what is painted, and the values that determine the words' tints."""
        wait_for_frame(self.notebook.page)  # the heat map is painted then
        values = [word.get_attribute("data-value") for word in self.words.all()]
        return str(self.heat.evaluate("canvas => canvas.toDataURL()")), values

    def brush(self) -> None:
        """Check that a word changes the heat map and a patch the words' tints. Leave nothing selected."""
        page = self.notebook.page
        page.mouse.move(0, 0)
        plain = self.look()
        assert all(value is not None for value in plain[1]), "no result is shown"
        self.words.nth(1).click()
        expect(self.words.nth(1)).to_have_attribute("aria-pressed", "true")
        page.mouse.move(0, 0)
        by_word = self.look()
        assert by_word[0] != plain[0], "the heat map did not change with the word"
        self.words.nth(1).click()
        self.heat.scroll_into_view_if_needed()
        self.heat.click()
        page.mouse.move(0, 0)
        by_patch = self.look()
        assert by_patch[1] != plain[1], "the words' tints did not change with the patch"
        self.words.nth(1).focus()
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
        assert self.look()[1] == plain[1]

    def ask_for_the_first_layer(self) -> None:
        """Request the first image layer, which takes minutes."""
        self.layer.focus()
        self.notebook.page.keyboard.press("Home")
        self.wait_for_phase("computing")

    def wait_for_estimate(self) -> None:
        """Wait until an estimate is shown."""
        # Don't match the previous computation's 100, which remains until this one has begun.
        expect(self.root.get_by_test_id("exclip-progress")).to_have_attribute(
            "aria-valuenow", re.compile(r"^\d\d?$"), timeout=DONE_MS
        )
        expect(self.root).not_to_have_class(re.compile("exclip-stale"))

    def ask_for_caption(self, caption: str) -> None:
        """Request a caption; the answer will close the field."""
        field = self.root.get_by_test_id("exclip-field-caption")
        if not field.is_visible():
            self.words.first.focus()
            self.notebook.page.keyboard.press("F2")
        field.fill(caption)
        field.press("Enter")

    def expect_result(self, caption: str) -> None:
        """Check that the screen shows this caption's finished result, and no notice."""
        # Check the page first: asking the kernel would help a widget that it cannot reach otherwise.
        expect(self.words).to_have_text(caption.split(), timeout=DONE_MS)
        self.wait_for_phase("done")
        expect(self.root.get_by_test_id("exclip-field-caption")).to_be_hidden()
        expect(self.root).not_to_have_class(re.compile("exclip-stale"))
        expect(self.notice).to_be_hidden()
        self.notebook.page.mouse.move(0, 0)
        # Selections made while offline are sent one after another, and Lab shows each again as it arrives.
        self.notebook.wait_for_value("[[*widget.tokens], [*widget.region]]", [[], []])
        told = self.notebook.value("[widget.caption, widget.interactions.caption, widget._request['phase']]")
        assert told == [caption, caption, "done"]
        sums = self.notebook.value("widget.interactions.values.sum((1, 2), float).tolist()")
        rows = [word.get_attribute("data-tokens") or "" for word in self.words.all()]
        expected = [sum(sums[int(row)] for row in some.split(",")) for some in rows]
        assert numbers(self.look()[1]) == pytest.approx(expected, abs=2e-6)

    def expect_asking(self, able: bool) -> None:
        """Check that every control that needs the kernel is enabled, or that every one is disabled."""
        controls = [
            self.layer,
            self.root.get_by_test_id("exclip-text_layer"),
            self.root.get_by_test_id("exclip-line-caption").get_by_label("Edit the caption"),
            self.root.get_by_test_id("exclip-choose"),
            self.root.get_by_test_id("exclip-controls").get_by_role("button").first,
        ]
        for control in controls:
            expect(control).to_have_attribute("aria-disabled", str(not able).lower(), timeout=60_000)
        offline = self.root.get_by_test_id("exclip-offline")
        if able:
            expect(offline).to_be_hidden()
        else:
            expect(offline).to_contain_text("needs a running kernel")


def numbers(values: list[str | None]) -> list[float]:
    return [float(value or "nan") for value in values]
