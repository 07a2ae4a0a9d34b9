"""Python, two views of one widget, and another widget: changes on either side reach the other."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.browser import Notebook
from support.instrument import DONE, DONE_MS, MAKE, Instrument, box

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

THREE = """
import ipywidgets
from IPython.display import display

pair = [book.pages[1].caption, "a big red house below a small orange sun"]
other = ExplainWidget(book.model, book.pages[1].image, pair, method="exclip", **options)
seen = []
widget.observe(lambda change: seen.append(change.new), "tokens")
display(widget, ipywidgets.VBox([widget]), other)
widget.wait(), other.wait()
"""

Trio = tuple[Instrument, Instrument, Instrument]


@pytest.fixture
def trio(run_cell: Callable[[str], Notebook]) -> Trio:
    """Show two views of one widget, and one of another."""
    notebook = run_cell(MAKE + THREE)
    notebook.wait_for(DONE, DONE_MS)
    notebook.wait_until_run()
    roots = notebook.page.locator(DONE)
    expect(roots).to_have_count(3)
    roots = notebook.page.get_by_test_id("exclip")
    return (
        Instrument(notebook, roots.nth(0)),
        Instrument(notebook, roots.nth(1)),
        Instrument(notebook, roots.nth(2), "other"),
    )


def test_each_view_shows_its_own_widget(trio: Trio) -> None:
    for view in trio:
        view.check()
    other = trio[2]
    foil = other.root.get_by_test_id("exclip-line-foil").locator(".exclip-word")
    expect(foil.nth(2)).to_have_text("red")


def test_a_selection_of_python_is_that_of_both_views(trio: Trio) -> None:
    notebook, (first, second, _) = trio[0].notebook, trio
    notebook.execute("widget.tokens = [2, 3]; widget.region = np.eye(12, dtype=bool)")
    for view in (first, second):
        expect(view.word("boat")).to_have_attribute("aria-pressed", "true")
        expect(view.root.get_by_test_id("exclip-readout")).to_contain_text("red boat × 12 patches")
        view.check()
    assert notebook.value("[other.tokens, other.region]") == [[], []]


def test_a_gesture_in_one_view_is_seen_in_the_other_and_by_an_observer(trio: Trio) -> None:
    notebook, (first, second, other) = trio[0].notebook, trio
    second.drag_words("yellow", "fish")
    expect(first.word("fish")).to_have_attribute("aria-pressed", "true")
    first.wait_for("seen", [[7, 8]])
    first.draw((1.3, 1.3), (3.7, 2.7))
    expect(second.root.get_by_test_id("exclip-readout")).to_contain_text("yellow fish × 6 patches")
    other.word("house").click()
    other.wait_for("w.tokens", [4])
    assert notebook.value("[widget.tokens, widget.region]") == [[7, 8], box(1, 1, 2, 3)]
    for view in trio:
        view.check()
    assert first.receipt() == second.receipt()


def test_inputs_set_in_python_show_in_both_views(trio: Trio) -> None:
    notebook, (first, second, _) = trio[0].notebook, trio
    notebook.execute("widget.caption = 'three purple butterflies'; widget.method = 'similarity'")
    for view in (first, second):
        expect(view.words).to_have_text(["three", "purple", "butterflies"])
        expect(view.button("similarity")).to_have_attribute("aria-pressed", "true")
        view.check()
    notebook.execute("widget.method = 'exclip'; widget.image_layer = 3; widget.image = book.pages[3].image")
    notebook.execute("widget.foil = 'three pink butterflies'")
    for view in (first, second):
        slider = view.root.get_by_role("slider", name="image layer")
        expect(slider).to_have_value("3")
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


def test_an_edit_on_the_page_is_seen_in_both_views(trio: Trio) -> None:
    notebook, (first, second, _) = trio[0].notebook, trio
    notebook.execute("widget.caption = 'three purple butterflies'")
    expect(second.words).to_have_text(["three", "purple", "butterflies"])
    second.word("purple").dblclick()
    second.edit("three black butterflies")
    for view in (first, second):
        expect(view.words.nth(1)).to_have_text("black")
        view.check()
    assert notebook.execute("print((await widget.ready()).caption)").strip() == "three black butterflies"


def test_beside_other_widgets(trio: Trio) -> None:
    """`interactive` drives the widget's inputs, and `jslink` its selections."""
    notebook, (first, second, other) = trio[0].notebook, trio
    caption = other.python("w.caption")
    notebook.execute(
        """
knob = ipywidgets.interactive(lambda layer: setattr(widget, "image_layer", layer), layer=(0, 5))
knob.children[0].value = 4
"""
    )
    for view in (first, second):
        slider = view.root.get_by_role("slider", name="image layer")
        expect(slider).to_have_value("4")
        view.check()
    notebook.execute("link = ipywidgets.jslink((widget, 'region'), (other, 'region'))")
    first.draw((4.3, 4.3), (6.7, 5.7))
    first.wait_for("w.region", box(4, 4, 5, 6))
    other.wait_for("w.region", box(4, 4, 5, 6))
    other.check()
    assert other.python("w.caption") == caption


def test_a_closed_widget_takes_its_views_with_it_and_no_other(trio: Trio) -> None:
    notebook = trio[0].notebook
    notebook.execute("widget.close()")
    expect(notebook.page.get_by_test_id("exclip")).to_have_count(1)
    left = Instrument(notebook, notebook.page.get_by_test_id("exclip"), "other")
    left.word("sun").click()
    left.wait_for("len(w.tokens)", 1)
    left.check()
