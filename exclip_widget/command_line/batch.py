"""`exclip-widget batch`: explains many pairs, and resumes where an interrupted run stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from ..errors import ExclipError, FileError
from ..whole_file import named
from .ledger import Ledger, Made, image_digest
from .options import explainer_of, explaining
from .outputs import FORMATS, Explanation, FilesRead, format_of, require_folder
from .pairs import BadEntry, Entry, read_pairs
from .refusals import is_out_of_memory, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..explainer import Explainer
    from ..results.factors import Factors
    from ..results.interactions import Interactions

MANY = 16
"""If an image has more captions than this, compute its own factors instead of pulling theirs back."""

BEFORE_BAR = 2
"""Seconds after which a bar appears while existing files are checked."""

KEPT = 1024
"""Number of captions whose factors are cached."""


@dataclass
class Report:
    """Counts the outcomes of pairs, and prints an error for each that failed."""

    pairs: str
    written: int = 0
    changed: int = 0
    there: int = 0
    failed: int = 0

    def fail(self, line: int, message: object, removed: Sequence[str] = ()) -> None:
        """Print why a row failed and which of its files were removed, and count it."""
        from tqdm import tqdm

        self.failed += 1
        end = f"; removed {', '.join(removed)}, made with other options or weights" if removed else ""
        tqdm.write(f"{self.pairs}:{line}: {one_line(message)}{end}", file=sys.stderr)

    @property
    def exit_code(self) -> int:
        """Exit code of the program."""
        if not self.failed:
            return 0
        return 1 if self.written or self.changed or self.there else 2

    def __str__(self) -> str:
        total = self.written + self.changed + self.there + self.failed
        parts = [f"{self.written} written"]
        parts += [f"{self.changed} changed and made again"] if self.changed else []
        parts += [f"{self.there} already there"] if self.there else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return f"{total} pair{'' if total == 1 else 's'}: {', '.join(parts)}"


@click.command(
    short_help="Explain many pairs.",
    epilog="\b\nExamples:\n"
    "  exclip-widget batch pairs.csv -o explained\n"
    "  exclip-widget batch pairs.jsonl -o pages --suffix html --suffix csv \\\n"
    "      --model ViT-B-16 --pretrained laion2b_s34b_b88k\n"
    "\n"
    "A file of pairs has the columns image and caption, and optionally foil and id. Image paths are relative "
    "to its folder. A pair whose files already exist is skipped, so running the same command again resumes "
    "where it was stopped. A pair whose image, caption or foil has changed since is explained again. A row "
    "that cannot be used is reported with its line, as in pairs.csv:17, and skipped.\n"
    "\n"
    "Exit codes: 0 if all pairs were explained, 1 if some failed, 2 if nothing could be done.",
)
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write the files; created if it does not exist.",
)
@click.option(
    "--suffix",
    "suffixes",
    multiple=True,
    default=("safetensors",),
    show_default=True,
    metavar="SUFFIX",
    help=f"Kinds of files: {', '.join(FORMATS)}. May be given several times.",
)
@click.option("--force", is_flag=True, help="Explain all pairs again and replace their files.")
@explaining
def batch(pairs: Path, folder: Path, suffixes: tuple[str, ...], force: bool, **given: Any) -> None:
    """Explain all pairs in the file PAIRS, .csv or .jsonl, and write separate files for each."""
    endings = list(dict.fromkeys(f".{suffix.lower().lstrip('.')}" for suffix in suffixes))
    for ending in endings:
        format_of(ending, ending)
    entries = read_pairs(pairs)
    if not entries:
        raise FileError(f"{named(pairs)} has no pairs")
    # The device is not recorded, since it does not affect the results.
    options = {name: value for name, value in given.items() if value is not None and name != "device"}
    require_folder(folder if folder.is_dir() else folder.parent)
    ledger = Ledger(folder, pairs, options, force=force)
    report = Report(str(pairs))
    usable = []
    for entry in entries:
        if isinstance(entry, BadEntry):
            report.fail(entry.line, entry.message)
        else:
            usable.append(entry)
    if usable:
        # Even if all files exist, only the model can tell whether it would make the same ones.
        explainer = explainer_of(given)
        ledger.require_same(explainer.recipe(), [entry.name for entry in usable], endings)
        read = FilesRead([pairs, given.get("image_reference"), *(entry.image for entry in usable)])
        todo = _due(ledger, usable, endings, read, report)
        if todo:
            ledger.prepare()
            _explain_all(explainer, todo, ledger, endings, report, force=force)
    click.echo(report)
    click.get_current_context().exit(report.exit_code)


def _due(
    ledger: Ledger, entries: Sequence[Entry], endings: Sequence[str], read: FilesRead, report: Report
) -> list[Entry]:
    """Return the pairs of which a file is to be written; the report counts all others."""
    from tqdm import tqdm

    digest_of = lru_cache(None)(image_digest)
    due = []
    # Each image and output file is read, which may take long; the bar appears only then.
    checked = tqdm(
        entries, "checking", unit="pair", file=sys.stderr, disable=None, delay=BEFORE_BAR, leave=False
    )
    for entry in checked:
        try:
            for ending in endings:
                read.require_other(ledger.folder / f"{entry.name}{ending}")
            is_due = ledger.due(entry, endings, ledger.made(entry, digest_of(entry.image)))
        except ExclipError as error:
            report.fail(entry.line, error)
            continue
        if is_due:
            due.append(entry)
        else:
            report.there += 1
    return due


# ---------------------------------------------------------------------------------------------- explaining


def _explain_all(
    explainer: Explainer,
    entries: Sequence[Entry],
    ledger: Ledger,
    endings: Sequence[str],
    report: Report,
    *,
    force: bool,
) -> None:
    from tqdm import tqdm

    by_image: dict[str, list[Entry]] = {}
    for entry in entries:
        by_image.setdefault(entry.image, []).append(entry)
    read = lru_cache(KEPT)(explainer.text_factors)
    # With disable=None, there is no bar if stderr is not a terminal.
    with tqdm(total=len(entries), unit="pair", file=sys.stderr, disable=None) as bar:
        for group in by_image.values():
            # Before it is opened: if the file is replaced in between, the next run notices.
            digest = image_digest(group[0].image)
            for entry, found in _explained(explainer, read, group):
                bar.update()
                try:
                    if isinstance(found, Exception):
                        raise found
                    made = ledger.made(entry, digest)
                    due = ledger.due(entry, endings, made)  # another run may have written some meanwhile
                    for path, replace in due.items():
                        _write(ledger, found, path, made, replace=replace)
                except Exception as error:
                    message = _of_a_row(error)
                    report.fail(entry.line, message, ledger.remove_outdated(entry, endings))
                else:
                    if not due:
                        report.there += 1
                    elif any(due.values()) and not force:
                        report.changed += 1
                    else:
                        report.written += 1


def _write(ledger: Ledger, found: Explanation, path: Path, made: Made, *, replace: bool) -> None:
    """Write a file of a row.

    Raises
    ------
    ExclipError, MemoryError
        If it cannot be written. The libraries that draw and write files may raise anything for a caption that
        they cannot take, which must not end the run.
    """
    try:
        ledger.write(found, path, made, replace=replace)
    except Exception as error:
        if isinstance(error, ExclipError) or is_out_of_memory(error):
            raise
        raise FileError(f"{named(path)} cannot be written: {type(error).__name__}: {error!s:.200}") from error


def _of_a_row(error: Exception) -> Exception:
    """Return an error that affects only one row; raise any other."""
    if isinstance(error, ExclipError) or is_out_of_memory(error):
        return error
    raise error


def _explained(
    explainer: Explainer, read: Callable[[str], Factors], entries: Sequence[Entry]
) -> Iterator[tuple[Entry, Explanation | Exception]]:
    """Yield each pair of one image with its explanation, or with the error that prevents it."""
    from ..image import open_image

    try:
        image = open_image(entries[0].image)
        explain = _by_factors(explainer, image) if len(entries) > MANY else _by_refining(explainer, image)
    except Exception as error:
        yield from ((entry, _of_a_row(error)) for entry in entries)
        return
    for some in (entries[at : at + MANY] for at in range(0, len(entries), MANY)):
        texts: dict[Entry, list[Factors]] = {}
        for entry in some:
            try:
                texts[entry] = [read(text) for text in (entry.caption, entry.foil) if text is not None]
            except Exception as error:
                yield entry, _of_a_row(error)
        try:
            results = iter(explain([one for both in texts.values() for one in both]) if texts else ())
        except Exception as error:
            yield from ((entry, _of_a_row(error)) for entry in texts)
            continue
        for entry, both in texts.items():
            of_entry = [next(results) for _ in both]
            yield entry, Explanation(of_entry[0], image, of_entry[1] if len(both) > 1 else None)


Explain: TypeAlias = "Callable[[Sequence[Factors]], Sequence[Interactions]]"
"""Maps factors of captions to their interactions with one image."""


def _by_factors(explainer: Explainer, image: Image) -> Explain:
    from ..results import interactions_of

    factors = explainer.image_factors(image)

    def explain(texts: Sequence[Factors]) -> list[Interactions]:
        table = interactions_of(texts, [factors])
        assert isinstance(table, list)
        return [row[0] for row in table]

    return explain


def _by_refining(explainer: Explainer, image: Image) -> Explain:
    return lambda texts: list(explainer.refine(texts, image))[-1]
