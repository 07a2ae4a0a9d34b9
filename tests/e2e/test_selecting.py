"""Words and patches are selected with the pointer and the keyboard, and Python agrees with the page."""

import pytest
from playwright.sync_api import expect
from support.instrument import Instrument, box

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_words_by_dragging(view: Instrument) -> None:
    """Dragging selects a phrase, Shift adds another span, and Alt removes from the selection."""
    view.drag_words("red", "boat")
    view.wait_for("w.tokens", [2, 3])
    view.drag_words("two", "fish", ("Shift",))
    view.wait_for("w.tokens", [2, 3, 6, 7, 8])
    view.drag_words("yellow", "yellow", ("Alt",))
    view.wait_for("w.tokens", [2, 3, 6, 8])
    pressed = view.words.and_(view.root.locator('[aria-pressed="true"]'))
    expect(pressed).to_have_text(["red", "boat", "two", "fish"])
    view.check()
    view.notebook.page.keyboard.press("Escape")
    view.wait_for("[w.tokens, w.region]", [[], []])
    expect(pressed).to_have_count(0)


def test_patches_by_box_lasso_and_brush(view: Instrument) -> None:
    """Shift adds a region, Alt removes one, and brackets change the size of the brush."""
    keyboard = view.notebook.page.keyboard
    view.drag_words("red", "boat")
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
        keyboard.press("]")  # a larger brush, since the image has the focus
    view.draw((2.5, 5.5), (9.5, 5.5))
    view.wait_for("set(w.region) > set(range(61, 71))", True)
    assert set(view.python("w.region")) <= set(box(3, 0, 7, 11))
    for _ in range(12):
        keyboard.press("[")
    view.draw((2.5, 5.5), (9.5, 5.5))
    view.wait_for("w.region", box(5, 2, 5, 9))
    view.check()
    label = view.receipt()["selection"][2]
    assert label == "red boat × 8 patches"
    view.button("Box").click()
    view.button("Invert selected patches").click()
    view.wait_for("w.region", sorted(set(range(144)) - set(box(5, 2, 5, 9))))


def test_special_tokens_and_pieces_are_words_if_asked_for(view: Instrument) -> None:
    view.button("Pieces").click()
    expect(view.words).to_have_count(10)
    view.words.last.click()
    view.wait_for("w.tokens", [9])
    assert view.receipt()["selection"][2].startswith("<eot> × ")
    view.button("Pieces").click()


def test_the_strongest_pairs(view: Instrument) -> None:
    keyboard = view.notebook.page.keyboard
    pairs = view.root.get_by_test_id("exclip-pairs").get_by_role("button")
    expect(pairs.first).to_be_visible()
    # The list is updated a moment after the result; until then it may be that of an estimate.
    view.notebook.page.evaluate("() => new Promise((rested) => setTimeout(rested, 500))")
    for index in (0, 1):
        value = float(pairs.nth(index).get_attribute("data-value") or "nan")
        pairs.nth(index).click()
        expect(pairs.nth(index)).to_have_attribute("aria-pressed", "true")
        chosen = "float(w.interactions.values.reshape(len(w._tokens), -1)[np.ix_(w.tokens, w.region)].sum())"
        # The two sides of the selection arrive one after the other, while the previous pair is selected.
        view.wait_for(f"abs({chosen} - {value}) < 2e-6", True)
        assert view.receipt()["selection"][1] == pytest.approx(value, abs=2e-6)
    keyboard.press("Escape")
    view.wait_for("[w.tokens, w.region]", [[], []])


def test_what_is_pointed_at_is_shown_on_the_other_side_and_not_selected(view: Instrument) -> None:
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


def test_by_keyboard_alone(view: Instrument) -> None:
    """Lab intercepts none of these keys."""
    keyboard = view.notebook.page.keyboard
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


def test_keys_of_the_widget_are_no_commands_of_lab(view: Instrument) -> None:
    """Try Lab's keys to insert, copy, cut, paste, delete and change cells, and to restart the kernel."""
    keyboard = view.notebook.page.keyboard
    cells = view.notebook.page.locator(".jp-Cell").count()
    view.heat.focus()
    keyboard.press("Control+a")
    view.wait_for("len(w.region)", 144)
    for target in (view.heat, view.button("Lasso"), view.words.first, view.root.get_by_role("slider").last):
        target.focus()
        for key in "abcmxvddzyr00":
            keyboard.press(key)
    view.notebook.page.wait_for_timeout(200)
    assert view.notebook.page.locator(".jp-Cell").count() == cells
    assert view.notebook.page.locator(".jp-Dialog").count() == 0
    view.wait_for("len(w.region)", 144)


def test_lab_saves(view: Instrument) -> None:
    keyboard = view.notebook.page.keyboard
    model = "window.jupyterapp.shell.currentWidget.context.model"
    for target in (view.words.first, view.heat):
        view.notebook.page.evaluate(f"() => {{ {model}.dirty = true; }}")
        target.focus()
        # Lab ignores the keys while it is still making the checkpoint of the previous save.
        for _ in range(20):
            keyboard.press("Control+s")
            view.notebook.page.wait_for_timeout(500)
            if not view.notebook.page.evaluate(f"() => {model}.dirty"):
                break
        else:
            pytest.fail("Lab did not save.")
        assert view.notebook.page.locator(".jp-Dialog").count() == 0
