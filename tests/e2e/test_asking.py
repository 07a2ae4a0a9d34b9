"""Captions, layers and methods are changed on the page, and the result equals that of `explain`."""

import pytest
from playwright.sync_api import Locator, expect
from support.instrument import CAPTION, MARKUP, Instrument

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXPECTED = "explain(book.model, page.image, w.caption, **options)"


def image_layer(view: Instrument) -> Locator:
    return view.root.get_by_role("slider", name="image layer")


def test_a_caption_is_edited_in_its_place(view: Instrument) -> None:
    """Typing replaces the selected word."""
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


def test_a_caption_that_is_refused_says_why_and_all_else_stays(view: Instrument) -> None:
    page, root = view.notebook.page, view.root
    refused = root.get_by_test_id("exclip-refused-caption")
    view.check()
    view.leave()
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
    assert view.python("w.caption") == CAPTION


def test_markup_is_text(view: Instrument) -> None:
    page, root = view.notebook.page, view.root
    images = root.locator("img").count()
    view.words.first.focus()
    page.keyboard.press("F2")
    view.edit(f"{MARKUP} boat")
    view.wait_for("w.caption", f"{MARKUP} boat")
    view.check()
    assert root.locator("img").count() == images
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None


def test_a_caption_in_any_script(view: Instrument) -> None:
    """Scripts that run from right to left are displayed that way."""
    page = view.notebook.page
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


def test_the_last_of_ten_quick_edits_counts(view: Instrument) -> None:
    page = view.notebook.page
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
    assert view.python(f"float(abs({EXPECTED}.values - w.interactions.values).max())") < 1e-5


def test_layers_by_keyboard(view: Instrument) -> None:
    """Each key press moves one layer, and Python ends up at the last one."""
    page, slider = view.notebook.page, image_layer(view)
    at = view.python("w.image_layer")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    view.wait_for("w.image_layer", at + 3)
    expect(slider).to_have_value(str(at + 3))
    expect(slider).to_have_attribute("aria-valuetext", f"visual.transformer.resblocks.{at + 3}")
    view.check()
    page.keyboard.press("Home")
    view.wait_for("w.image_layer", 0)
    for _ in range(at):
        page.keyboard.press("ArrowRight")
    view.wait_for("w.image_layer", at)
    view.check()
    assert view.python(f"float(abs({EXPECTED}.values - w.interactions.values).max())") < 1e-5


SCRUB = """(slider, layer) => {
    const root = slider.closest("[data-testid=exclip]");
    const value = (node) => Number(node.dataset.value);
    slider.value = String(layer);
    slider.dispatchEvent(new Event("input"));
    return {
        similarity: value(root.querySelector("[data-figure=similarity]")),
        words: [...root.querySelectorAll("[data-testid=exclip-word]")].map(value),
        stale: root.classList.contains("exclip-stale"),
    };
}"""


def test_layers_scrub_in_the_frame_of_the_event(view: Instrument) -> None:
    """Values read in the same task can't come from the kernel, which follows within the same request."""
    slider = image_layer(view)
    count = view.python("len(w._choices['image_layers']) + 1")
    view.wait_for("sum(text == w.text_layer for text, _ in w.session._sent_layers)", count)
    view.notebook.execute(
        "from exclip_widget import explain_layers\n"
        "grid = explain_layers(book.model, page.image, widget.caption, text_layers=[0], **options)"
    )
    view.leave()
    heats, begun = [view.pixels()], view.python("w.session.id")
    for layer in (5, 4, 3, 2, 0):
        shown = slider.evaluate(SCRUB, layer)
        words, similarity = view.python(
            f"""(lambda r: ([r.values[[i for i, w in enumerate(r.words) if w == word]].sum().item()
                for word in sorted(set(r.words) - {{-1}})], r.similarity))(grid[0, {layer}])"""
        )
        assert shown["words"] == pytest.approx(words, abs=2e-5)
        assert shown["similarity"] == pytest.approx(similarity, abs=1e-6)
        assert not shown["stale"]
        heats.append(view.pixels())
    assert len(set(heats)) == len(heats)
    view.wait_for("w.image_layer", 0)
    assert view.python("[w.session.id, w._request['phase']]") == [begun, "done"]
    view.check()
    assert view.pixels() == heats[-1]


def test_a_layer_by_dragging(view: Instrument) -> None:
    """Dragging passes many layers, and ends with the result of the last one."""
    slider = image_layer(view)
    at = view.python("w.image_layer")
    slider.scroll_into_view_if_needed()
    view.notebook.drag(slider, (at / 6, 0.5), (5 / 6, 0.5))
    view.wait_for("w.image_layer", 5)
    expect(slider).to_have_value("5")
    view.check()
    assert view.python("w.interactions.image_layer") == "visual.transformer.resblocks.5"


def test_a_layer_that_fails_is_reported_and_the_last_result_stays(view: Instrument) -> None:
    notebook, page, root = view.notebook, view.notebook.page, view.root
    slider = image_layer(view)
    at = view.python("w.image_layer")
    view.check()
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
    expect(slider).to_have_value(str(at))
    view.wait_for("w.image_layer", at)
    assert (view.pixels(), view.receipt()) == (heat, receipt)
    notebook.execute("hook.remove()")
    for key in ("ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    view.wait_for("[w.image_layer, w._request['phase']]", [at, "done"])
    view.check()
    expect(told).to_have_count(0)
    assert page.evaluate("window.ran") is None


def test_methods(view: Instrument) -> None:
    view.leave()
    heat = view.pixels()
    for method in ("similarity", "gradient", "frozen"):
        button = view.button(method)
        button.click()
        view.wait_for("w.method", method)
        expect(button).to_have_attribute("aria-pressed", "true")
        view.check()
        assert view.python("w.interactions.method") == method
        view.leave()
        assert (view.pixels() == heat) == (method == "frozen")
