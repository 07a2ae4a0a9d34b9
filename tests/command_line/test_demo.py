"""`exclip-widget demo`: writes one page under a free name, and opens it if there is a browser."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from exclip_widget import demo
from exclip_widget.command_line import demo as module

Run = Callable[..., Result]
Refusal = Callable[..., str]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of addresses opened in a browser."""
    found: list[str] = []
    monkeypatch.setattr(webbrowser, "open", found.append)
    monkeypatch.setattr(webbrowser, "get", lambda: None)
    monkeypatch.setenv("DISPLAY", ":0")
    return found


def test_a_page_of_the_picture_book(
    folder: Path, run: Run, book: demo.PictureBook, opened: list[str]
) -> None:
    done = run("demo")
    assert (done.exit_code, done.stdout) == (0, "wrote exclip-demo.html\n")
    text = (folder / "exclip-demo.html").read_text(encoding="utf-8")
    for page in book.pages:
        assert page.caption in text
    assert opened == [(folder / "exclip-demo.html").as_uri()]
    # The next page gets another name.
    assert run("demo").stdout == "wrote exclip-demo-2.html\n"
    assert (folder / "exclip-demo.html").read_text(encoding="utf-8") == text


def test_a_name_of_ones_own(folder: Path, run: Run, refusal: Refusal, opened: list[str]) -> None:
    assert run("demo", "--no-open", "--output", "a.html").stdout == "wrote a.html\n"
    assert not opened
    (folder / "a.html").write_text("mine")
    assert "file 'a.html' exists already; pass --force" in refusal("demo", "--no-open", "-o", "a.html")
    assert (folder / "a.html").read_text() == "mine"
    assert run("demo", "--no-open", "-o", "a.html", "--force").exit_code == 0
    assert (folder / "a.html").read_text(encoding="utf-8") != "mine"
    assert "expected '.html'" in refusal("demo", "-o", "a.png")
    assert "there is no folder 'no/such'" in refusal("demo", "-o", "no/such/a.html")


@pytest.mark.parametrize(
    ("system", "variables", "has_browser"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"BROWSER": "/bin/helper"}, True),
        ("darwin", {}, True),
    ],
)
def test_a_browser_is_opened_if_it_can_be_seen(
    system: str,
    variables: dict[str, str],
    has_browser: bool,
    opened: list[str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_write_page", lambda path: path.write_text("a page") and None)
    monkeypatch.setattr("sys.platform", system)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run("demo").exit_code == 0
    assert len(opened) == has_browser


def test_no_browser_is_no_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(module, "_write_page", lambda path: path.write_text("a page") and None)
    monkeypatch.setattr(webbrowser, "get", none)
    monkeypatch.setenv("DISPLAY", ":0")
    assert run("demo").exit_code == 0
