"""The program: a group of commands, and what they have in common."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

import click

from ..version import __version__
from .batch import batch
from .demo import demo
from .explain import explain
from .models import models
from .refusals import one_line, refusals

NAME = "exclip-widget"

HELP = """Show which words of a caption and which patches of an image a CLIP similarity is made of.

\b
Examples:
  exclip-widget demo
  exclip-widget explain boat.png "a red boat"
  exclip-widget explain photo.jpg "two dogs on a beach" -o dogs.html \\
      --model ViT-B-16 --pretrained laion2b_s34b_b88k
  exclip-widget batch pairs.csv -o explained

Exit codes: 0 on success, 1 if some pairs of a batch failed, 2 if nothing could be done, 130 after Ctrl-C.
"""


class Program(click.Group):
    """A group whose commands report errors of this package in one line, without a traceback."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Parse the arguments."""
        with refusals(info_name or NAME):
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with refusals(ctx.command_path):
            return super().invoke(ctx)


@click.group(
    cls=Program,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=NAME)
def program() -> None:
    """Show what a similarity is made of; users see `HELP` instead of this docstring."""


for command in (explain, batch, demo, models):
    program.add_command(command)


def main() -> None:
    """Run the program, replacing characters that a terminal cannot show and printing warnings in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    warnings.showwarning = _show_warning
    program(prog_name=NAME)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"warning: {one_line(message)}", err=True)
