"""Tinted captions in LaTeX: every character is printed as itself, by its rules and by a real LaTeX."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.results import result_of

from exclip_widget.results import Interactions, Tokens
from exclip_widget.results.colormap import colormap, colors_at, is_dark
from exclip_widget.results.latex import escape

MARKUP = (
    r"50% $x_1$ <b>&amp; \rm{a} ~ ^ # | -- --- `` '' ?` !` ,, << >> "
    r""" "é" {x}_y a\\b \end{document} \input{/etc/passwd}"""
)

COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "char34": '"',
}
"""What LaTeX prints for each command that stands for a character."""

BOX = re.compile(r"\\colorbox\[RGB\]\{(\d+),(\d+),(\d+)\}\{\\strut\\textcolor\{(black|white)\}")


def marked_up() -> Interactions:
    """Return a result with one token for each word, whatever its characters."""
    spans = [match.span() for match in re.finditer(r"\S+", MARKUP)]
    texts = tuple(MARKUP[start:end] for start, end in spans)
    return result_of(tokens=Tokens(MARKUP, texts, tuple(spans), tuple(range(len(spans)))))


def printed(text: str) -> str:
    """Return what LaTeX prints for escaped text by its own rules; fail on any active character."""
    found = ""
    at = 0
    while at < len(text):
        if match := re.match(r"\\([a-z]+(?:34)?)\{\}", text[at:]):
            found += COMMANDS[match[1]]
        elif (match := re.match(r"\\([{}$&%#_])", text[at:])) or (
            match := re.match(r"\{([-`',?!])\}", text[at:])
        ):
            found += match[1]
        else:
            match = re.match(r"[^\\{}$&%#_~^<>|\"`',?!-]", text[at:])
            assert match, text[at : at + 20]
            found += match[0]
        at += match.end()
    return found


def boxes_of(latex: str) -> list[tuple[list[int], str, str]]:
    """Return each word's background colour, text colour and text."""
    assert latex.startswith(r"{\setlength{\fboxsep}{1pt}")
    assert latex.endswith("}}}")
    found = list(BOX.finditer(latex))
    ends = [match.start() for match in found[1:]] + [len(latex)]
    return [
        (
            [int(match[number]) for number in (1, 2, 3)],
            match[4],
            # Strip the braces around the text, the two after it, and a space or the end.
            printed(latex[match.end() + 1 : end - 1].removesuffix("}").removesuffix("}")),
        )
        for match, end in zip(found, ends, strict=True)
    ]


@given(st.text())
def test_any_text_is_printed_as_it_is(text: str) -> None:
    assert printed(escape(text)) == "".join(char if char.isprintable() else " " for char in text)


def test_characters_that_latex_would_take_for_something_else() -> None:
    assert escape("50% $x_1$") == r"50\% \$x\_1\$"
    assert escape("-- ``") == "{-}{-} {`}{`}"
    assert escape("a\nb\x00c\u2028d") == "a b c d"
    assert escape("é 狗") == "é 狗"


def test_a_caption() -> None:
    result = marked_up()
    found = boxes_of(result.latex((0, 0, 40, 40), palette="teal-ochre"))
    assert [text for _, _, text in found] == result.caption.split()
    tint = result.tint((0, 0, 40, 40))
    expected = colors_at(tint / np.abs(tint).max(), colormap("teal–ochre"))
    assert [ground for ground, _, _ in found] == expected.tolist()
    assert [ink for _, ink, _ in found] == ["white" if is_dark(color) else "black" for color in expected]


def test_a_caption_in_a_real_latex(tmp_path: Path) -> None:
    """LaTeX's log lists the characters that it has put into the box."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex: apt-get install texlive-latex-recommended")
    latex = marked_up().latex()
    document = [
        r"\documentclass{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage{xcolor}",
        r"\begin{document}",
        r"\showboxbreadth=\maxdimen \showboxdepth=\maxdimen",
        rf"\setbox0=\hbox{{{latex}}}\batchmode\showbox0\nonstopmode",
        latex,
        r"\end{document}",
    ]
    (tmp_path / "caption.tex").write_text("\n".join(document), "utf-8")
    done = subprocess.run(
        [program, "-interaction=nonstopmode", "-no-shell-escape", "caption.tex"],
        cwd=tmp_path,
        env=os.environ | {"max_print_line": "10000"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    log = (tmp_path / "caption.log").read_text("latin-1")
    assert (tmp_path / "caption.pdf").is_file(), log[-2000:] + done.stdout.decode("latin-1")[-500:]
    # \showbox itself prints `! OK.`.
    assert [line for line in log.splitlines() if line.startswith("! ")] == ["! OK."]
    assert "(ligature" not in log
    shown = log.split("> \\box0=")[1].split("! OK.")[0]
    letters = re.findall(r"^\.+\\T1/\S+ (\^\^[0-9a-f]{2}|\S)$", shown, re.MULTILINE)
    read = "".join(bytes.fromhex(one[2:]).decode("latin-1") if len(one) > 1 else one for one in letters)
    assert read == MARKUP.replace(" ", "")
    # A background for each word, in a box of its own.
    assert shown.count("\\rule(") >= 2 * len(MARKUP.split())


def test_it_needs_no_library() -> None:
    code = (
        "import sys, numpy as np; from exclip_widget.results import *; "
        "t = Tokens('a', ('a',), ((0, 1),), (0,)); "
        "r = Interactions(t, Grid(1, 1, 0), np.ones((1, 1, 1), np.float32), np.zeros(1, np.float32), "
        "1.0, 1.0, 'exclip', 'x', 'y', 1, 1, None); print(r.latex()); "
        "assert not {'torch', 'matplotlib', 'pandas'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert r"\colorbox" in done.stdout
