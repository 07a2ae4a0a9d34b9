"""One JupyterLab and one Chromium for all end-to-end tests, which share pages and kernels if they can."""

import re
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, ViewportSize, expect, sync_playwright
from support.browser import REACT_S, Notebook, Wire, launch_chromium
from support.instrument import DONE, DONE_MS, MAKE, Instrument
from support.servers import LabServer, write_notebook

# Screenshots of pages when their test ended, to diagnose a failure on a machine without a display.
RESULTS = Path(__file__).parents[2] / "test-results"
SIZE: ViewportSize = {"width": 1280, "height": 900}

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
    """Open a copy of a notebook; the test fails if its page logs an error, even at the end."""
    opener = _Opener(browser, lab, request.node.name)
    yield opener.open
    opener.close()


@pytest.fixture(scope="module")
def open_module_notebook(
    browser: Browser, lab: LabServer, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Open a copy of a notebook shared by the tests of a module."""
    opener = _Opener(browser, lab, Path(request.node.name).stem)
    yield opener.open
    opener.close()


@pytest.fixture(scope="session")
def shared(browser: Browser, lab: LabServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator["_Shared"]:
    shared = _Shared(browser, lab, tmp_path_factory.mktemp("shared") / "shared.ipynb")
    yield shared
    shared.close()


@pytest.fixture
def run_cell(shared: "_Shared", request: pytest.FixtureRequest) -> Iterator[Callable[[str], Notebook]]:
    """Run a cell in a notebook that many tests share: torch is already imported, all else is cleared.

    After a test has failed, the next one gets a new notebook and kernel.
    """
    yield shared.run
    shared.end_of_test(request.node.name, request.node.stash.get(FAILED, False))


@pytest.fixture(scope="session")
def shared_and_wired(
    browser: Browser, lab: LabServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["_Shared"]:
    shared = _Shared(browser, lab, tmp_path_factory.mktemp("wired") / "wired.ipynb", Wire)
    yield shared
    shared.close()


@pytest.fixture
def run_wired_cell(
    shared_and_wired: "_Shared", request: pytest.FixtureRequest
) -> Iterator[Callable[[str], tuple[Notebook, Wire]]]:
    """Run a cell in a shared notebook whose connection can be cut."""

    def run(code: str) -> tuple[Notebook, Wire]:
        notebook = shared_and_wired.run(code)
        assert isinstance(shared_and_wired.prepared, Wire)
        return notebook, shared_and_wired.prepared

    yield run
    shared_and_wired.end_of_test(request.node.name, request.node.stash.get(FAILED, False))


@pytest.fixture
def view(run_cell: Callable[[str], Notebook]) -> Instrument:
    """Return a new widget whose result is on the page."""
    notebook = run_cell(MAKE + "widget")
    notebook.wait_for(DONE, DONE_MS)
    notebook.wait_until_run()
    # A locator that matches in any phase.
    return Instrument(notebook, notebook.page.get_by_test_id("exclip"))


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record for the fixtures whether their test has failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


class _Opener:
    """Opens copies of notebooks in pages of one browser context, and saves a screenshot of each."""

    def __init__(self, browser: Browser, lab: LabServer, name: str) -> None:
        self._lab = lab
        self._name = _file_name(name)
        self._context = browser.new_context(viewport=SIZE)
        self._context.set_default_timeout(REACT_S * 1000)
        self._opened: list[Notebook] = []

    def open(self, path: Path, prepare: Callable[[Page], object] | None = None) -> Notebook:
        copy = f"{self._name}-{len(self._opened)}.ipynb"
        shutil.copyfile(path, self._lab.notebooks / copy)
        page = self._context.new_page()
        if prepare is not None:
            prepare(page)  # before the page loads anything
        notebook = Notebook(page, self._lab.url(copy))
        self._opened.append(notebook)
        return notebook

    def close(self) -> None:
        for number, notebook in enumerate(self._opened):
            notebook.screenshot(RESULTS / f"{self._name}-{number}.png")
            try:
                notebook.shut_down()
            except Error as error:  # a page that hangs or has crashed counts as an error, too
                notebook.errors.append(f"could not shut the kernel down: {error}")
        self._context.close()
        for notebook in self._opened:
            notebook.check_console()


class _Shared:
    """One notebook for many tests, opened when the first of them runs a cell."""

    def __init__(
        self, browser: Browser, lab: LabServer, path: Path, prepare: Callable[[Page], object] | None = None
    ) -> None:
        self.prepared: object = None  # the value that `prepare` returned for the page
        self._prepare = prepare
        self._open = lambda: _Opener(browser, lab, path.stem)
        self._path = write_notebook(path, "")
        self._opener: _Opener | None = None
        self._notebook: Notebook | None = None

    def run(self, code: str) -> Notebook:
        if self._notebook is None:
            self._opener = self._open()
            self._notebook = self._opener.open(self._path, self._prepare_page)
            self._notebook.close_side_bar()
        self._notebook.set_size(**SIZE)
        # Remove the previous test's widgets and variables.
        self._notebook.execute("import ipywidgets; ipywidgets.Widget.close_all()")
        self._notebook.execute("get_ipython().run_line_magic('reset', '-sf')")
        self._notebook.page.mouse.move(0, 0)
        self._notebook.run_only(code)
        return self._notebook

    def _prepare_page(self, page: Page) -> None:
        self.prepared = self._prepare(page) if self._prepare else None

    def end_of_test(self, name: str, failed: bool) -> None:
        if self._notebook is None:
            return
        try:
            if failed:
                self._notebook.screenshot(RESULTS / f"{_file_name(name)}.png")
            self._notebook.check_console()
        except BaseException:
            failed = True
            raise
        finally:
            if failed:
                self.close()

    def close(self) -> None:
        opener, self._opener, self._notebook = self._opener, None, None
        if opener is not None:
            opener.close()


def _file_name(test: str) -> str:
    return re.sub(r"\W+", "-", test).strip("-")
