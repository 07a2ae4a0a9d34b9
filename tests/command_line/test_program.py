"""The program as installed, run in separate processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

import exclip_widget
from exclip_widget.command_line import main
from exclip_widget.command_line.options import METHOD
from exclip_widget.command_line.outputs import FORMATS
from exclip_widget.command_line.texts import slug
from exclip_widget.methods import DEFAULT_METHOD, METHODS
from exclip_widget.paths.quadrature import RULES
from exclip_widget.results import Interactions

ROOT = Path(exclip_widget.__file__).parents[1]

COMMANDS = ("explain", "batch", "demo", "models")


def process(*arguments: str, code: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "exclip_widget"]), *arguments],
        capture_output=True,
        text=True,
        encoding=variables.get("PYTHONIOENCODING", "utf-8"),
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,  # use this tree, whatever is installed
        timeout=300,
    )


def test_the_default_method_is_that_of_python() -> None:
    (method,) = (option for option in map(_option, METHOD) if option.name == "method")
    assert method.default == DEFAULT_METHOD


def _option(decorate: Any) -> click.Option:
    """Return the option that a decorator adds."""

    @decorate
    def command() -> None: ...

    return command.__click_params__[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["explain", "--help"], ["batch", "-h"], ["models"], ["--version"]]
)
def test_help_comes_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom exclip_widget.command_line import main\ntry:\n    main()\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = process(*arguments, code=code)
    assert done.returncode == 0
    assert done.stdout
    loaded = set(done.stderr.split())
    assert "exclip_widget.command_line.batch" in loaded
    assert not loaded & {"torch", "open_clip", "transformers", "numpy", "matplotlib", "pandas", "anywidget"}


@pytest.mark.slow
def test_an_explanation_by_the_module(folder: Path) -> None:
    done = process("explain", "boat.png", "a red boat", "--foil", "a blue boat", "-o", "a.safetensors")
    assert (done.returncode, done.stdout) == (0, "wrote a.safetensors\n")
    assert Interactions.load(folder / "a.safetensors").foil == "a blue boat"


@pytest.mark.slow
def test_errors_are_one_line_and_no_traceback() -> None:
    done = process("explain", "none.png", "a red boat")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: there is no image 'none.png'"]
    assert not done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [["models"], ["explain", "--help"]])
def test_output_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "exclip_widget", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=300,
            check=False,
        )
    assert done.stderr.splitlines() == ["error: output cannot be written: no space left on device"]
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_such", "ModuleNotFoundError: No module named 'nothing_such'"),
        ("raise ValueError('Key backend: no such backend')", "ValueError: Key backend: no such backend"),
    ],
)
def test_a_library_that_cannot_be_imported_is_one_line(
    code: str, reason: str, folder: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "matplotlib.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    found = refusal("explain", "boat.png", "a red boat", "-o", "a.png")
    assert found == f"matplotlib is installed, but importing it raised {reason}"


@pytest.mark.slow
def test_a_terminal_without_letters_gets_others() -> None:
    done = process("explain", "boat.png", "日本 boat", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.startswith("?? boat × boat.png")


@pytest.mark.slow
def test_warnings_are_one_line(folder: Path) -> None:
    done = process("explain", "boat.png", "日本 boat", "-o", "a.png")
    assert done.returncode == 0
    told = done.stderr.splitlines()[1:]
    assert told
    assert all(line.startswith("warning: Glyph") for line in told)
    assert (folder / "a.png").is_file()


def test_the_console_script_is_this_program() -> None:
    (script,) = [
        one for one in metadata.entry_points(group="console_scripts") if one.name == "exclip-widget"
    ] or [None]
    if script is None:
        pytest.skip("installed before there was one")
    assert script.load() is main


def test_help_names_what_there_is(run: Callable[..., Result]) -> None:
    overall = run("--help").stdout
    assert all(re.search(rf"^  {name} ", overall, re.MULTILINE) for name in COMMANDS)
    for name in COMMANDS:
        text = run(name, "--help").stdout
        assert "Examples:" in text
        assert "\b" not in text
        assert f"exclip-widget {name}" in text
    for name in ("explain", "batch"):
        words = set(re.findall(r"[\w.-]+(?<!\.)", re.sub(r"-\n\s+", "-", run(name, "--help").stdout)))
        assert {*METHODS, *RULES, *FORMATS} <= words, {*METHODS, *RULES, *FORMATS} - words
    assert run().exit_code == 2
    assert run("--version").stdout == f"exclip-widget, version {exclip_widget.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explian"], "No such command 'explian'"),
        (["--magic"], "No such option"),
        (["demo", "--magic"], "No such option"),
    ],
)
def test_what_is_no_command(arguments: list[str], message: str, refusal: Callable[..., str]) -> None:
    found = refusal(*arguments)
    assert message in found
    assert "Try: " in found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a red boat", "a-red-boat"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\a:b*?", "C-a-b"),
        ("\x00\n", ""),
        ("हिन्दी", "हिन्दी"),
        ("x" * 300, "x" * 80),
        ("a" * 79 + " b", "a" * 79),
        ("漢" * 99, "漢" * 26),
        (".hidden", "hidden"),
    ],
)
def test_names_of_files(text: str, name: str) -> None:
    assert slug(text) == name
