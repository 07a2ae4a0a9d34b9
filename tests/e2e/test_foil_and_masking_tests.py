"""Masking tests and a foil on the page agree with Python."""

import re

import pytest
from playwright.sync_api import expect
from support.instrument import CAPTION, Instrument, box

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_masking_tests_stand_predicted_beside_actual(view: Instrument) -> None:
    root = view.root
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
    assert tests[0]["actual"] < 0  # the caption fits less well without these words
    expect(root.get_by_test_id("exclip-trials").locator("circle")).to_have_count(2)
    rows.last.click()
    view.wait_for("[w.tokens, w.region]", [[2, 3], []])
    root.get_by_test_id("exclip-untest").click()
    view.wait_for("w._tests", [])
    expect(rows).to_have_count(0)


def test_a_foil_and_the_difference(view: Instrument) -> None:
    notebook, root = view.notebook, view.root
    foil = CAPTION.replace("red", "blue")
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
