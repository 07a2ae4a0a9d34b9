"""How the command line reports errors: one line, and an exit code that scripts can use."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..errors import ExclipError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of its signal, as in shells."""


class Refusal(click.ClickException):
    """Ends a command with one line on stderr and exit code 2."""

    exit_code = 2

    def show(self, file: object = None) -> None:
        """Print the line."""
        del file
        click.echo(f"error: {self.message}", err=True)


def one_line(message: object) -> str:
    r"""Return a message as one line, without control characters that a terminal would interpret.

    Examples
    --------
    >>> one_line("no such\nfile \x1b[31m")
    'no such file \\x1b[31m'
    """
    return visible(" ".join(str(message).split()))


def visible(text: str) -> str:
    r"""Return a text with unprintable characters escaped.

    Examples
    --------
    >>> visible("a\tb")
    'a\\tb'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the machine or a device has run out of memory."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """Turn errors that users can act on into a `Refusal`; `path` is the name of the command."""
    try:
        yield
    except ExclipError as error:
        raise Refusal(one_line(error)) from None
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else path
        raise Refusal(f"{one_line(error.format_message())} Try: {where} --help") from None
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # click ends quietly if whoever reads the output has gone
            raise
        where = "output" if error.filename is None else f"file {str(error.filename)!r:.200}"
        raise Refusal(f"{where} cannot be written: {one_line(error.strerror or error).lower()}") from None
    except ImportError as error:
        raise Refusal(f"a library cannot be imported: {one_line(error):.200}") from None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise Refusal(f"out of memory: {one_line(error):.200}") from None
