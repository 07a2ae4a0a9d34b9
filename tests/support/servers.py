"""Real notebook servers, driven from Python.

``LabServer`` runs JupyterLab on the loopback address with all its folders inside one temporary folder, so
that none of the user's files are read or written. Its kernels run the current Python. ``ClassicServer`` does
the same with Jupyter Notebook 7, and ``MarimoServer`` runs one marimo app. None of them depends on pytest, so
scripts that take screenshots can use them too.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType

# An upper bound, for a busy machine; an idle one never reaches it.
STARTUP_S = 180

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Otherwise a test could end in a dialog that asks whether to save.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


class LabServer:
    """JupyterLab on a free loopback port, as a context manager.

    Parameters
    ----------
    folder
        An empty folder for all files of this server; its notebooks are in ``notebooks``.
    """

    MODULE, APP, SETTINGS = "jupyterlab", "LabApp", SETTINGS

    def __init__(self, folder: Path) -> None:
        self.notebooks = folder / "notebooks"
        self.log = folder / "server.log"
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._address = free_address()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LabServer":
        settings = self._folder / "settings"
        kernel = self._folder / "data" / "kernels" / "python3"
        for path in (self.notebooks, settings, kernel):
            path.mkdir(parents=True)
        (settings / "overrides.json").write_text(json.dumps(self.SETTINGS))
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(
            json.dumps({"argv": command, "display_name": "Python 3", "language": "python"})
        )
        environment = os.environ | {
            "IPYTHONDIR": str(self._folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self._folder / "config"),
            "JUPYTER_DATA_DIR": str(self._folder / "data"),
            "JUPYTER_PATH": str(self._folder / "data"),  # searched first, so the kernel above wins
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTER_RUNTIME_DIR": str(self._folder / "runtime"),
        }
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": self._address.rpartition(":")[2],
            "ServerApp.port_retries": "0",
            "ServerApp.root_dir": str(self.notebooks),
            "ServerApp.terminals_enabled": "False",
            "IdentityProvider.token": self._token,
            f"{self.APP}.app_settings_dir": str(settings),
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            f"{self.APP}.expose_app_in_browser": "True",
            "LabApp.extension_manager": "readonly",
            "LabApp.news_url": "None",
            f"{self.APP}.user_settings_dir": str(self._folder / "user-settings"),
            f"{self.APP}.workspaces_dir": str(self._folder / "workspaces"),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", self.MODULE, "--no-browser", "--allow-root"),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            end_process(self._process)  # the server shuts down its own kernels

    def _wait_until_up(self) -> None:
        assert self._process is not None
        wait_until_up(self._process, f"{self._address}/api/status?token={self._token}", self.log)

    def url(self, notebook: str) -> str:
        """Return the address of a notebook in the server's folder, in a workspace of its own."""
        workspace = secrets.token_hex(4)
        return f"{self._address}/lab/workspaces/{workspace}/tree/{notebook}?token={self._token}"


class ClassicServer(LabServer):
    """Jupyter Notebook 7, which shows one document per page."""

    # It throws on settings for extensions that it does not have.
    MODULE, APP, SETTINGS = "notebook", "JupyterNotebookApp", {}

    def url(self, notebook: str) -> str:
        """Return the address of a notebook in the server's folder."""
        return f"{self._address}/notebooks/{notebook}?token={self._token}"


class MarimoServer:
    """One marimo app on a free loopback port, as a context manager; `url` is its address.

    Parameters
    ----------
    folder
        An empty folder for the files that marimo writes.
    app
        The app: a Python file in marimo's notebook format.
    """

    def __init__(self, folder: Path, app: Path) -> None:
        self.url = free_address()
        self.log = folder / "server.log"
        self._folder = folder
        self._app = app
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "MarimoServer":
        home = {
            name: str(self._folder)
            for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")
        }
        options = ["--headless", "--no-token", "--host", "127.0.0.1", "--port", self.url.rpartition(":")[2]]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "marimo", "run", str(self._app), *options],
                cwd=self._folder,
                env=os.environ | home | {"MARIMO_SKIP_UPDATE_CHECK": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until_up(self._process, f"{self.url}/health", self.log)
        except BaseException:
            end_process(self._process)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            end_process(self._process)


def free_address() -> str:
    """Return a local address that nothing listens on.

    Its port is below those that systems hand out, because the kernels of other tests ask for such ones.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"http://127.0.0.1:{port}"


def wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a server that has just been started answers at `url`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    end = time.monotonic() + STARTUP_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Stop a server: ask it to terminate first, then kill it."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook with these code cells."""
    import nbformat  # takes seconds to import, and only the end-to-end tests need it

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, path)
    return path
