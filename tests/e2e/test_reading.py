"""The heat map and the numbers printed next to it agree with Python."""

import pytest
from playwright.sync_api import expect
from support.instrument import Instrument

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_the_scale_follows_what_is_shown_until_it_is_locked(view: Instrument) -> None:
    root = view.root
    plain = view.pixels()
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


def test_the_other_sign_is_not_painted(view: Instrument) -> None:
    root = view.root
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
    view.check()  # painting options change no number
    view.button("Both signs").click()
    view.leave()
    assert [view.pixel(most), view.pixel(least)] == both


def test_colours_strength_and_smoothness_are_seen_and_change_no_number(view: Instrument) -> None:
    view.leave()
    plain = view.pixels()
    view.button("Appearance").click()
    panel = view.root.get_by_test_id("exclip-appearance")
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


def test_the_value_under_the_pointer_is_that_of_python(view: Instrument) -> None:
    root = view.root
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


def test_all_numbers_as_tables(view: Instrument) -> None:
    root = view.root
    view.button("Table of the numbers").click()
    rows = root.get_by_role("row").filter(has_text="boat")
    expect(rows.first).to_be_visible()
