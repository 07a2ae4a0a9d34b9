"""The documentation site: it builds strictly, contacts no other host, and its examples are interactive."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "test-results"
ELSEWHERE = re.compile(r"\s*(?:\w+:)?//")

Opener = Callable[..., Page]
Theme = Literal["light", "dark", "null"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def open_page(site: Path, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Open pages of the site; the test fails if one contacts another host or logs anything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}/"
    asked: list[str] = []
    logged: list[str] = []
    pages: list[Page] = []

    def open_at(path: str, theme: Theme = "null", width: int = 1280) -> Page:
        context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.goto(here + path)
        pages.append(page)
        return page

    yield open_at
    for number, page in enumerate(pages):
        name = re.sub(r"\W+", "-", request.node.name)
        page.screenshot(path=RESULTS / f"{name}-{number}.png")
        page.context.close()
    server.shutdown()
    server.server_close()
    assert not logged
    assert asked
    assert not [url for url in asked if not url.startswith((here, "blob:", "data:"))]


class Loads(HTMLParser):
    """The addresses that a document loads by itself: scripts, styles, icons, images and frames."""

    ATTRIBUTES = ("src", "srcset", "data", "poster", "action")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = (*self.ATTRIBUTES, "href") if tag in ("link", "use", "image") else self.ATTRIBUTES
        self.urls += [value for name, value in attrs if name in names and value]


def test_no_file_names_another_host_to_load_from(site: Path) -> None:
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > 20
    assert len(styles) >= 3
    loads = {page.name: Loads(page.read_text("utf-8")).urls for page in pages}
    loads |= {
        style.name: re.findall(r"""(?:url\(|@import\s*)["']?([^"')]+)""", style.read_text("utf-8"))
        for style in styles
    }
    assert any("search" in url or "bundle" in url for url in loads["index.html"])
    assert not {(name, url) for name, urls in loads.items() for url in urls if ELSEWHERE.match(url)}


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 420)])
@pytest.mark.parametrize(
    "path", ["index.html", "guides/layers-and-methods.html", "api/results.html", "theory.html"]
)
def test_pages_ask_no_other_host(open_page: Opener, path: str, theme: Theme, width: int) -> None:
    page = open_page(path, theme, width)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"


def test_an_example_is_part_of_its_page(open_page: Opener) -> None:
    page = open_page("guides/compare-captions.html")
    frame = page.frame_locator(".live iframe")
    expect(frame.get_by_test_id("exclip")).to_have_attribute("data-phase", "done")
    word = frame.get_by_test_id("exclip-word").filter(has_text=re.compile("^boat$")).first
    word.click()
    expect(word).to_have_attribute("aria-pressed", "true")
    # The frame is as high as its content, and shows no title of its own.
    expect(frame.get_by_role("heading")).to_be_hidden()
    inside = page.locator(".live iframe").element_handle().content_frame()
    assert inside is not None
    inside.wait_for_function("document.documentElement.scrollHeight <= innerHeight")
    assert inside.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The frame follows the page's colours when the page's own switch changes them. (An emulated scheme, as in
    # the tests above, would apply to frames whatever the page does.)
    schemes = set()
    for _ in range(3):
        page.locator("label[for^=__palette]:visible").click()
        scheme = page.locator("body").get_attribute("data-md-color-scheme")
        schemes.add(scheme)
        dark = "true" if scheme == "slate" else "false"
        inside.wait_for_function(f"matchMedia('(prefers-color-scheme: dark)').matches === {dark}")
    assert schemes == {"default", "slate"}


def test_the_site_can_be_searched(open_page: Opener) -> None:
    page = open_page("index.html")
    page.locator(".md-search__input").click()
    page.keyboard.type("residual")
    expect(page.locator(".md-search-result__link").first).to_be_visible()
