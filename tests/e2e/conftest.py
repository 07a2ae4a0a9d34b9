"""One JupyterLab and one Chromium for all end-to-end tests, one page and kernel for each."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright
from support.browser import REACT_S, Notebook, launch_chromium
from support.servers import LabServer

# What the page looked like when the test ended, for a failure on a machine without a display.
RESULTS = Path(__file__).parents[2] / "test-results"

expect.set_options(timeout=REACT_S * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    with LabServer(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def open_notebook(
    browser: Browser, lab: LabServer, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Opens a copy of a notebook; the test fails if its page logs an error, also at the end."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(REACT_S * 1000)
    opened: list[Notebook] = []

    def open_copy(path: Path, prepare: Callable[[Page], object] | None = None) -> Notebook:
        copy = f"{name}-{len(opened)}.ipynb"
        shutil.copyfile(path, lab.notebooks / copy)
        page = context.new_page()
        if prepare is not None:
            prepare(page)  # before there is anything on it
        notebook = Notebook(page, lab.url(copy))
        opened.append(notebook)
        return notebook

    yield open_copy

    for number, notebook in enumerate(opened):
        notebook.screenshot(RESULTS / f"{name}-{number}.png")
        try:
            notebook.shut_down()
        except Error as error:  # a page that hangs or has crashed: an error of the page as well
            notebook.errors.append(f"could not shut the kernel down: {error}")
    context.close()
    for notebook in opened:
        notebook.check_console()
