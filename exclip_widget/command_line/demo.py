"""`exclip-widget demo`: writes a page of explanations, offline, with the model that ships."""

from __future__ import annotations

import os
import sys
import webbrowser
from itertools import count
from pathlib import Path

import click

from ..errors import FileError
from ..whole_file import named, write_whole
from .outputs import FORCE, check_targets
from .refusals import visible

STEM = "exclip-demo"


@click.command(
    short_help="Write a page of explained pictures and open it.",
    epilog="\b\nExamples:\n  exclip-widget demo\n  exclip-widget demo --no-open --output first-look.html",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The page to write. By default {STEM}.html here, or a numbered name if that is taken.",
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def demo(output: Path | None, no_open: bool, force: bool) -> None:
    """Write a page of explained pictures and open it. Needs no network, and takes only seconds.

    The pictures and the model are those of the picture book, which ships with the package.
    """
    path = output or (Path(f"{STEM}.html") if force else _free_name())
    check_targets([path], force=force)
    if path.suffix.lower() != ".html":
        raise FileError(f"{named(path)} ends in {path.suffix!r}; expected '.html'")
    write_whole(path, _write_page, overwrite=force, advice=FORCE)
    click.echo(f"wrote {visible(str(path))}")
    if not no_open and _has_browser():
        webbrowser.open(path.resolve().as_uri())


def _free_name() -> Path:
    names = (Path(f"{STEM}{f'-{number}' if number > 1 else ''}.html") for number in count(1))
    return next(name for name in names if not (name.exists() or name.is_symlink()))


def _write_page(path: Path) -> None:
    from .. import demo as picture_book
    from ..explainer import Explainer
    from ..results.page import write_page

    book = picture_book.load()
    explainer = Explainer(book.model, tokenizer=book.tokenizer)
    write_page(path, [(explainer.explain(page.image, page.caption), page.image) for page in book.pages])


def _has_browser() -> bool:
    """Return whether there is a browser and a display to show it on."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # remote editors set the last one
    if sys.platform.startswith("linux") and not any(map(os.environ.get, displays)):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
