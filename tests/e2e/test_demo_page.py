"""The page that `exclip-widget demo` writes, opened as a file without a network, and brushed.

`EXCLIP_DEMO_PAGE` names a page that already exists, for example one written by an installed wheel.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CAPTION = "a red boat left of two yellow fish"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("EXCLIP_DEMO_PAGE")
    if given:
        return Path(given).resolve(strict=True)
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "exclip_widget", "demo", "--no-open"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "wrote exclip-demo.html\n"
    return folder / "exclip-demo.html"


def shown(figure: Locator) -> list[float]:
    words = figure.locator("button[data-testid=exclip-word]").all()
    return [float(word.get_attribute("data-value") or "nan") for word in words]


def test_the_demo_is_brushed(written: Path, browser: Browser) -> None:
    context = browser.new_context(offline=True, viewport={"width": 1180, "height": 900})
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    figures = page.locator("figure")
    expect(figures).to_have_count(5)
    expect(page.locator('[data-testid=exclip][data-phase="done"]')).to_have_count(5)
    figure = figures.first
    assert "".join(figure.locator(".exclip-caption").first.all_text_contents()) == CAPTION

    # A word: the heat map is that of the boat alone.
    heat = figure.get_by_test_id("exclip-heat")
    before = heat.evaluate("canvas => canvas.toDataURL()")
    boat = figure.get_by_test_id("exclip-word").filter(has_text=re.compile("^boat$"))
    boat.click()
    expect(boat).to_have_attribute("aria-pressed", "true")
    page.mouse.move(0, 0)
    page.wait_for_function(
        "old => document.querySelector('[data-testid=exclip-heat]').toDataURL() !== old", arg=before
    )
    page.keyboard.press("Escape")
    whole = shown(figure)

    # A region: brushing over the boat tints its word more than the fish's.
    figure.get_by_role("button", name="Brush", exact=True).click()
    heat.scroll_into_view_if_needed()
    box = heat.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.15 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.7 * box["height"], steps=8)
    page.mouse.up()
    page.mouse.move(0, 0)
    brushed = shown(figure)
    assert brushed != pytest.approx(whole, abs=1e-3)
    words = CAPTION.split()
    assert brushed[words.index("boat")] > brushed[words.index("fish")]
    context.close()
    assert not told
    assert all(url.startswith(("file:", "blob:")) for url in asked)
