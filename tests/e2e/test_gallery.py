"""A gallery in JupyterLab: query a store of the picture book, scroll through it, and open one pair."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect
from support.browser import Notebook, wait_for_frame
from support.instrument import DONE_MS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# The method is cheap for images. One image is missing from the mapping.
MAKE = """
import random
import tempfile

from exclip_widget import ExplainGallery, Explainer, demo, write_store
from exclip_widget.datasets import Pair
from exclip_widget.demo.captions import describe
from exclip_widget.demo.retrieval import held_out_scenes

book = demo.load()
explainer = Explainer(book.model, tokenizer=book.tokenizer, method="similarity")
pairs = []
for number, scene in enumerate(held_out_scenes(60)):
    caption, _ = describe(scene, random.Random(number), full=True)
    pairs.append(Pair(str(number), str(number), scene.draw(120), caption))
store = write_store(tempfile.mkdtemp(), explainer, pairs)
pictures = {pair.image_id: pair.image for pair in pairs if pair.image_id != "1"}
gallery = ExplainGallery(store, explainer, images=pictures)
gallery
"""
DONE = '[data-testid=exclip-gallery][data-phase="done"]'


@pytest.fixture
def gallery(run_cell: Callable[[str], Notebook]) -> tuple[Notebook, Locator]:
    notebook = run_cell(MAKE)
    notebook.wait_for(DONE, DONE_MS)
    notebook.wait_until_run()
    return notebook, notebook.page.get_by_test_id("exclip-gallery")


def loaded(root: Locator) -> list[str]:
    """Return the texts of the tiles in the page, once all of them have loaded."""
    tiles = root.get_by_test_id("exclip-tile")
    while True:
        expect(root.locator(".exclip-tile").first).to_be_visible()
        expect(root.locator(".exclip-tile-waiting")).to_have_count(0)
        # A new order may replace all of them between the check above and this one.
        texts = [text.strip() for text in tiles.all_text_contents()]
        if not any(text.endswith("loading") for text in texts):
            return texts


def test_a_store_is_asked_and_a_pair_opened(gallery: tuple[Notebook, Locator]) -> None:
    notebook, root = gallery
    expect(root.get_by_test_id("exclip-gallery-status")).to_have_text("60 images")
    first = loaded(root)
    assert "images has no picture of '1'" in first[1]
    assert len(first) < 60

    field = root.get_by_test_id("exclip-phrase")
    field.fill("a red boat")
    field.press("Enter")
    notebook.wait_for_value("[gallery.phrase, gallery.order]", ["a red boat", "match"])
    expect(root).to_have_attribute("data-phase", "done")
    ranked = notebook.value("[(one.image_id, one.value) for one in gallery.wait()]")
    assert len(ranked) == 60
    values = [value for _, value in ranked]
    assert values == sorted(values, reverse=True)
    end = notebook.value("gallery._end")
    assert end >= max(values)
    expect(root.locator(".exclip-gallery-scale")).to_contain_text(f"+{end:.3g}")
    captions = notebook.value("{key: store.texts()[key] for key in store.images}")
    for place, (tile, (key, _)) in enumerate(zip(loaded(root), ranked, strict=False)):
        assert f"{place + 1} +" in tile
        assert captions[key] in tile or "has no picture" in tile

    root.get_by_role("button", name="boat", exact=True).click()
    notebook.wait_for_value("gallery.words", [3])
    root.get_by_test_id("exclip-grid").evaluate("grid => grid.scrollTop = grid.scrollHeight")
    wait_for_frame(notebook.page)
    expect(root.get_by_test_id("exclip-tile").last).to_have_text(re.compile(r"^\s*60 "))
    loaded(root)

    grid = root.get_by_test_id("exclip-grid")
    grid.focus()
    grid.press("Home")
    loaded(root)
    grid.press("Enter")
    pair = root.get_by_test_id("exclip")
    expect(pair.get_by_test_id("exclip-word")).to_have_text(["a", "red", "boat"])
    expect(pair.locator("[data-figure=selection]").first).to_be_visible()
    root.get_by_test_id("exclip-back").click()
    expect(pair).to_have_count(0)
    expect(grid).to_be_focused()

    notebook.execute("gallery.order = 'special'")
    expect(root.get_by_role("button", name=re.compile("^Special tokens"))).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(root.get_by_test_id("exclip-tile").first).to_contain_text("%")
