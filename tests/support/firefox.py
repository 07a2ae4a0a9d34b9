"""The installed Firefox, driven over WebDriver BiDi, which it supports natively.

Playwright drives only its own builds of Firefox. This module implements just enough of the protocol to visit
a page.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import websocket

# Upper bound, for a busy machine.
ANSWER_S = 90

# Skip everything that Firefox does on a first start, and block the network with a proxy that doesn't exist.
PREFERENCES: dict[str, bool | int | str] = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "remote.prefs.recommended": True,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


def find_firefox() -> str | None:
    """Return the path of Firefox: $EXCLIP_FIREFOX, or the first one installed. None if there is none."""
    chosen = os.environ.get("EXCLIP_FIREFOX")
    if chosen and not Path(chosen).is_file():
        raise FileNotFoundError(f"no Firefox at EXCLIP_FIREFOX={chosen}")
    return chosen or next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)


class Firefox:
    """A headless Firefox with one page.

    Parameters
    ----------
    path
        Path of the program, from `find_firefox`.
    folder
        An empty folder for the profile.
    size
        Width and height of the page.

    Attributes
    ----------
    errors
        Errors that the page has logged, or thrown without catching them.
    asked
        Addresses that the page has requested.
    """

    def __init__(self, path: str, folder: Path, size: tuple[int, int] = (1180, 900)) -> None:
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._numbers = itertools.count(1)
        self._socket = websocket.WebSocket()
        settings = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()
        )
        (folder / "user.js").write_text("\n".join(settings))
        self._process = subprocess.Popen(
            [path, "--headless", "--no-remote", "--profile", folder, "--remote-debugging-port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | {"HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"},
        )
        try:
            self._socket.settimeout(ANSWER_S)
            # No Origin header, because that would make this look like a page.
            self._socket.connect(f"{self._address()}/session", suppress_origin=True)
            self.version = self._ask("session.new", capabilities={})["capabilities"]["browserVersion"]
            self._ask("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
            (tree,) = self._ask("browsingContext.getTree")["contexts"]
            self._page = tree["context"]
            width, height = size
            self._ask(
                "browsingContext.setViewport",
                context=self._page,
                viewport={"width": width, "height": height},
            )
        except BaseException:
            self.close()
            raise

    def _address(self) -> str:
        """Return the address that Firefox listens on, which it prints."""
        lines: queue.Queue[str] = queue.Queue()
        stream = self._process.stderr
        assert stream is not None

        def read() -> None:  # to the end, because a full pipe would block Firefox
            for line in stream:
                lines.put(line)
            lines.put("")

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        said: list[str] = []
        end = time.monotonic() + ANSWER_S
        while True:
            try:
                line = lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                line = ""
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
                return found[1]
            said.append(line)
            if not line:
                raise RuntimeError(f"Firefox did not start: {''.join(said)[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop Firefox."""
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Its child processes may go on writing for a moment.
        self._reader.join(20)
        if self._process.stderr is not None and not self._reader.is_alive():
            self._process.stderr.close()

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer["type"] == "event":
                self._hear(answer["method"], answer["params"])
            elif answer.get("id") == number:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['error']}: {answer['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _hear(self, event: str, told: dict[str, Any]) -> None:
        if event == "log.entryAdded":
            self.errors.append(f"{told['level']}: {told['text']}")
        elif event == "network.beforeRequestSent":
            self.asked.append(told["request"]["url"])

    def open(self, address: str) -> None:
        """Open an address and wait until it has loaded."""
        self._ask("browsingContext.navigate", context=self._page, url=address, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; a promise is awaited."""
        answer = self._ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._page},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return json.loads(answer["result"].get("value", "null"))

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is truthy, and return its value."""
        end = time.monotonic() + ANSWER_S
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {expression}; logged: {self.errors}")
            time.sleep(0.05)
        return value

    def drag(self, *points: tuple[float, float]) -> None:
        """Press the mouse at the first of several points in the window, and release it at the last."""
        first, *others = [
            {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 30} for x, y in points
        ]
        press, release = ({"type": f"pointer{name}", "button": 0} for name in ("Down", "Up"))
        self._act("pointer", [first, press, *others, release], parameters={"pointerType": "mouse"})

    def press(self, key: str) -> None:
        """Press a key, given by its WebDriver name."""
        self._act("key", [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}])

    def _act(self, kind: str, actions: Sequence[dict[str, Any]], **more: Any) -> None:
        source = {"type": kind, "id": kind, "actions": actions, **more}
        self._ask("input.performActions", context=self._page, actions=[source])
