"""A real Chromium, driven from Python.

``Notebook`` is a notebook open in a page of a Jupyter server (`support.servers`), and ``Wire`` is the
connection between such a page and its kernel. Neither depends on pytest.
"""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Playwright, WebSocketRoute

# Upper bounds, for a busy machine; an idle one never reaches them.
READY_MS = 180_000
REACT_S = 60

# No sandbox, because CI runs as root; the other flags keep Chromium from calling home.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Console errors that the hosts themselves log, each with its reason. Keep it short.
ALLOWED_CONSOLE_ERRORS = (
    # Lab polls the running kernels every ten seconds. A kernel that is still starting has no last activity
    # yet, so the server answers 500 (jupyter-server/enterprise_gateway #1395). Lab then asks again.
    re.compile(r"status of 500 .*/api/(kernels|sessions)\?\d+:"),
    # anywidget logs this two seconds after starting a model that was closed before the page had loaded it.
    # If an open widget fails to load, tests still notice: no result appears, and another error is logged.
    re.compile(r"\[anywidget\] Failed to initialize model\.\n\s+at AbortSignal\."),
)

# Finds the notebook in front; the snippets below start with it.
CURRENT = "const panel = window.jupyterapp.shell.currentWidget;"


def find_chromium() -> str:
    """Return the path of Chromium or Chrome: $EXCLIP_CHROMIUM, or the first that is installed."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    chosen = os.environ.get("EXCLIP_CHROMIUM")
    found = chosen or next(filter(None, map(shutil.which, names)), None)
    if found is None or not Path(found).is_file():
        message = f"no Chromium at {chosen}" if chosen else f"no Chromium found (tried {', '.join(names)})"
        raise FileNotFoundError(f"{message}; install one or set EXCLIP_CHROMIUM=/path/to/chromium")
    return found


def launch_chromium(playwright: Playwright) -> Browser:
    """Start the system's Chromium, headless."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS)


class Notebook:
    """A notebook open in a page, with an idle kernel.

    Parameters
    ----------
    page
        A new page, whose console is monitored from here on.
    url
        From `LabServer.url`.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._on_error(f"uncaught: {error.stack or error}"))
        page.goto(url)
        self.wait_until_idle()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            where = message.location
            self._on_error(f"{message.text} ({where.get('url')}:{where.get('lineNumber')})")

    def _on_error(self, said: str) -> None:
        if not any(known.search(said) for known in ALLOWED_CONSOLE_ERRORS):
            self.errors.append(said)

    def wait_until_idle(self, timeout_ms: float = READY_MS) -> None:
        """Wait until the notebook is loaded and its kernel connected and idle."""
        self.page.wait_for_function(
            """() => {
                const context = window.jupyterapp?.shell.currentWidget?.context;
                const kernel = context?.sessionContext?.session?.kernel;
                return context?.isReady && context.sessionContext.isReady
                    && kernel?.connectionStatus === "connected" && kernel.status === "idle";
            }""",
            timeout=timeout_ms,
        )
        self._wait_until_splash_is_gone()

    def _wait_until_splash_is_gone(self) -> None:
        # It covers the page while it fades, and a second one within that time makes Lab throw.
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def run_only(self, code: str) -> None:
        """Replace all cells with one that contains this code, and run it in the current kernel."""
        self.page.evaluate(
            f"""code => {{
                {CURRENT}
                const notebook = panel.content.model.sharedModel;
                notebook.transact(() => {{
                    notebook.deleteCellRange(0, notebook.cells.length);
                    notebook.addCell({{ cell_type: "code", source: code }});
                }});
            }}""",
            code,
        )
        self.run_all()

    def run_all(self) -> None:
        """Start all cells and return at once. Then wait for their output, or with `wait_until_run`."""
        # Not awaited in the page either: a cell that never ends would block the evaluation.
        self.page.evaluate(
            """() => {
                window.allCellsRan = false;
                void window.jupyterapp.commands.execute("notebook:run-all-cells")
                    .finally(() => { window.allCellsRan = true; });
            }"""
        )

    def wait_until_run(self, timeout_ms: float = READY_MS) -> None:
        """Wait until the last cell that `run_all` started has finished."""
        self.page.wait_for_function("() => window.allCellsRan", timeout=timeout_ms)
        self.check_cells()

    def wait_for(self, selector: str, timeout_ms: float = READY_MS) -> Locator:
        """Wait until `selector` is visible, but fail at once if a cell fails."""
        found = self.page.locator(selector).first
        end = time.monotonic() + timeout_ms / 1000
        while True:
            try:
                found.wait_for(timeout=500)
            except Error:
                self.check_cells()
                if time.monotonic() > end:
                    raise
            else:
                return found

    def check_cells(self) -> None:
        """Raise if a cell has ended in a Python exception."""
        failures = self.page.evaluate(
            f"""() => {{
                {CURRENT}
                return [...panel.content.model.cells]
                    .flatMap(cell => cell.toJSON().outputs ?? [])
                    .filter(output => output.output_type === "error")
                    .map(output => output.traceback.join("\\n"));
            }}"""
        )
        if failures:
            raise AssertionError("a cell failed:\n" + "\n".join(failures))

    def check_console(self) -> None:
        """Raise if the page has logged or thrown an error since the last call."""
        errors, self.errors = self.errors, []
        if errors:
            raise AssertionError("errors in the browser's console:\n" + "\n".join(errors))

    def execute(self, code: str) -> str:
        """Run code in the notebook's kernel, outside its cells, and return what it printed."""
        result = self.page.evaluate(
            f"""async code => {{
                {CURRENT}
                const kernel = panel.context.sessionContext.session.kernel;
                const future = kernel.requestExecute({{ code, store_history: false }});
                const result = {{ printed: "", error: null }};
                future.onIOPub = ({{ header, content }}) => {{
                    if (header.msg_type === "error") result.error = content.traceback.join("\\n");
                    else if (content.name === "stdout") result.printed += content.text;
                }};
                await future.done;
                return result;
            }}""",
            code,
        )
        if result["error"]:
            raise AssertionError(f"in the kernel, {code!r} failed:\n{result['error']}")
        return str(result["printed"])

    def value(self, expression: str) -> Any:
        """Return the value of a Python expression in the notebook's kernel, passed through JSON."""
        return json.loads(self.execute(f"import json as _json; print(_json.dumps({expression}))"))

    def wait_for_value(self, expression: str, expected: Any, timeout_s: float = REACT_S) -> None:
        """Wait until a Python expression in the kernel equals `expected`."""
        end = time.monotonic() + timeout_s
        while (value := self.value(expression)) != expected:
            if time.monotonic() > end:
                raise AssertionError(f"{expression} is {value!r}, expected {expected!r}")
            self.page.wait_for_timeout(50)

    def set_theme(self, theme: str) -> None:
        """Switch Lab to its "light" or "dark" theme."""
        name = f"JupyterLab {theme.title()}"
        self.page.evaluate(
            """theme => {
                void window.jupyterapp.commands.execute("apputils:change-theme", { theme });
            }""",
            name,
        )
        self.page.wait_for_selector(f'body[data-jp-theme-name="{name}"]', state="attached")
        self._wait_until_splash_is_gone()

    def set_size(self, width: int, height: int) -> None:
        """Set the size of the page, in CSS pixels."""
        self.page.set_viewport_size({"width": width, "height": height})

    def close_side_bar(self) -> None:
        """Collapse the file browser, so that the notebook gets the full width."""
        self.page.evaluate("() => { window.jupyterapp.shell.collapseLeft(); }")

    def drag(self, target: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse over `target`; both ends are fractions of its width and height."""
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box is not None, "the target of the drag is not visible"
        (x0, y0), (x1, y1) = (
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
        )
        self.page.mouse.move(x0, y0)
        self.page.mouse.down()
        self.page.mouse.move(x1, y1, steps=8)
        self.page.mouse.up()

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the page in its current state."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)

    def save(self) -> None:
        """Save the notebook with the state of its widgets."""
        self.page.evaluate(
            """async () => {
                const { commands } = window.jupyterapp;
                await commands.execute("@jupyter-widgets/jupyterlab-manager:saveWidgetState");
                await commands.execute("docmanager:save");
            }"""
        )

    def save_and_reopen(self) -> None:
        """Save the notebook with the state of its widgets, end its kernel, and open it in a new page.

        The reopened notebook has a new kernel that has run nothing. Without a kernel, Lab's widget manager
        fails before it reads the state (jupyter-widgets/ipywidgets#3773). On a busy machine it may also
        draw an output too early and log an error; if so, reload the page, as a user would.
        """
        self.save()
        self.shut_down()
        workspace, _, path = self.page.url.partition("/tree/")
        for _ in range(3):
            self.page.goto(f"{workspace}-again/tree/{path}")
            self.wait_until_idle()
            try:
                self.wait_for("[data-testid=exclip]", 30_000)
                return
            except Error:
                others = [error for error in self.errors if "widget model not found" not in error]
                if len(others) == len(self.errors):
                    raise
                self.errors = others

    def shut_down(self) -> None:
        """Shut down the kernel, whose model would otherwise stay in memory."""
        self.page.evaluate(f"async () => {{ {CURRENT} await panel.context.sessionContext.shutdown(); }}")


class Wire:
    """The connections between a page and its kernel, which tests can cut.

    Parameters
    ----------
    page
        A new page. Connections that it has made before cannot be cut.
    """

    # Lab reconnects by itself, but not after 1000 and 1001, which mean that the other end closed on purpose.
    LOST = 4000

    def __init__(self, page: Page) -> None:
        self._page = page
        self._whole = True
        self._ends: list[tuple[WebSocketRoute, WebSocketRoute]] = []
        page.route_web_socket(re.compile("/api/kernels/[^/]+/channels"), self._connect)

    def _connect(self, browser: WebSocketRoute) -> None:
        if not self._whole:
            browser.close(code=self.LOST)
            return
        server = browser.connect_to_server()
        # While cut, only `_lose` closes the server's end, so that a test can keep the loss from the server.
        browser.on_close(lambda *_: server.close() if self._whole else None)
        self._ends.append((browser, server))

    def _lose(self, *, seen: bool) -> None:
        ends, self._ends = self._ends, []
        for browser, server in ends:
            if seen:
                server.close()
            browser.close(code=self.LOST)

    def drop(self) -> None:
        """Close the connections like a restarted proxy: both sides notice, and can connect again."""
        self._lose(seen=True)

    def cut(self) -> None:
        """Close them like a lost network: the server does not notice and goes on sending, to nobody."""
        self._whole = False
        self._lose(seen=False)
        self.wait_for("connecting")

    def mend(self) -> None:
        """Allow connections again, and reconnect at once as Lab's menu does: Lab itself may wait long."""
        self._whole = True
        self._page.evaluate(
            """() => { void window.jupyterapp.commands.execute("notebook:reconnect-to-kernel"); }"""
        )
        self.wait_for("connected")

    def wait_for(self, status: str) -> None:
        """Wait until Lab reports this connection status."""
        self._page.wait_for_function(
            f"""status => {{
                {CURRENT}
                return panel.context.sessionContext.session.kernel.connectionStatus === status;
            }}""",
            arg=status,
            timeout=READY_MS,
        )


def wait_for_frame(page: Page) -> None:
    """Wait until the page has drawn the next frame, however long the machine takes."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
