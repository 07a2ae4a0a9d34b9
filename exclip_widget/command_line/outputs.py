"""Files that an explanation is written to. The suffix of a file says what it holds.

Every file is written under another name first, so that under its own name there is always a whole one.

A ``.json`` file is an object with all attributes of `Interactions` by their names, arrays as nested lists,
and numbers that are unknown or infinite as null. Besides them it has:

- `format`, ``"exclip_widget.explanation"``, and `version`, 1;
- `caption`, `tokens`, `spans` and `words`, one entry for each row of `values`;
- `sums`, the interaction of each token with all patches;
- `residual`, `image_size` and `crop`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileError, ParameterError

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..results.interactions import Interactions
    from ..results.selection import Words

DOTS_PER_INCH = 200
"""Of a picture in pixels: twice a screen's, and enough for a column of print."""

KINDS = ("heat", "words", "both", "caption", "receipt")
"""Kinds of figures that `Interactions.plot` draws."""


@dataclass(frozen=True)
class Explanation:
    """What there is to write.

    Attributes
    ----------
    result : Interactions
        Of the caption.
    image : Image
        The image, as it was opened.
    foil : Interactions or None
        Of the foil, if one was given.
    words : words
        Those of a heat map, as `Interactions.heat` takes them; None for all.
    kind : str
        Kind of a figure.
    scale : float or None
        Value of the strongest colour of a figure; None for the largest there is.
    """

    result: Interactions
    image: Image
    foil: Interactions | None = None
    words: Words = None
    kind: str = "both"
    scale: float | None = None

    @property
    def shown(self) -> Interactions:
        """The result; if there is a foil, the difference to it."""
        return self.result if self.foil is None else self.result - self.foil


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes
    ----------
    write : callable
        Writes an explanation to a path at which there is nothing yet.
    holds : str
        What it holds, in words.
    library, extra : str
        Library that writes it, and the extra that installs that; empty if every installation has it.
    """

    write: Callable[[Explanation, Path], None]
    holds: str
    library: str = ""
    extra: str = ""


# ------------------------------------------------------------------------------------------------ formats


def _page(explanation: Explanation, path: Path) -> None:
    from ..results.page import figure_of, write_figures

    result, foil, words = explanation.result, explanation.foil, explanation.words
    # Words of a difference are not those of the caption, which a page shows.
    selected = [] if words is None or foil is not None else list(result[words])
    figure = figure_of(result, explanation.image, foil, tokens=selected)
    write_figures(path, [figure], title=None, overwrite=False)


def _figure(explanation: Explanation, path: Path) -> None:
    from matplotlib import rc_context

    from ..results.figures import read_drawing
    from ..results.paper_figure import PaperFigure

    image = explanation.image if explanation.kind in ("heat", "words", "both") else None
    drawing = read_drawing(
        explanation.shown,
        image,
        explanation.words,
        None,
        kind=explanation.kind,
        scale=explanation.scale,
    )
    # Not by pyplot, which may open a window.
    figure = PaperFigure(layout="constrained")
    drawing.draw_alone(figure)
    # Letters of an SVG as outlines, which need no font where it is shown.
    with rc_context({"svg.fonttype": "path"}):
        figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")


def _tensors(explanation: Explanation, path: Path) -> None:
    explanation.shown.save(path)


def _table(explanation: Explanation, path: Path) -> None:
    explanation.shown.to_pandas().to_csv(path, index=False)


def _latex(explanation: Explanation, path: Path) -> None:
    path.write_text(explanation.shown.latex() + "\n", encoding="utf-8")


def _json(explanation: Explanation, path: Path) -> None:
    path.write_text(json.dumps(as_json(explanation.shown), allow_nan=False), encoding="utf-8")


def as_json(result: Interactions) -> dict[str, Any]:
    """Return what a ``.json`` file holds."""
    own = {field.name: getattr(result, field.name) for field in fields(result)}
    grid, origin = asdict(result.grid), None if result.origin is None else asdict(result.origin)
    del own["rows"], own["view"]
    found: dict[str, Any] = {
        "format": "exclip_widget.explanation",
        "version": 1,
        "caption": result.caption,
        "foil": result.foil,
        "similarity": result.similarity,
        "residual": result.residual,
        "tokens": result.tokens,
        "spans": result.spans,
        "words": result.words,
        "sums": result.values.sum((1, 2), dtype="float64"),
        "image_size": result.image_size,
        "crop": result.crop,
        **own,
        "grid": grid,
        "origin": origin,
    }
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMATS = {
    ".html": Format(_page, "a page to explore in a browser, with nothing to install"),
    ".png": Format(_figure, "a picture of the heat map and the tinted caption", "matplotlib", "plot"),
    ".svg": Format(_figure, "the same as lines and letters", "matplotlib", "plot"),
    ".pdf": Format(_figure, "the same for print", "matplotlib", "plot"),
    ".safetensors": Format(_tensors, "the whole result, for Interactions.load"),
    ".csv": Format(_table, "a row for each token and patch", "pandas", "tables"),
    ".json": Format(_json, "the whole result, for other programs"),
    ".tex": Format(_latex, "the tinted caption, for LaTeX with xcolor"),
}
"""Each kind of file by its suffix."""


# ------------------------------------------------------------------------------------------------ writing


def format_of(suffix: str, given: str) -> Format:
    """Return the format of a suffix, which `given` was read from.

    Raises
    ------
    ParameterError
        If it is unknown.
    MissingLibraryError
        If its library is not installed.
    """
    from ..results.tables import require_library

    found = FORMATS.get(suffix.lower())
    if found is None:
        known = ", ".join(FORMATS)
        raise ParameterError(f"{given!r:.200} ends in {suffix or 'no suffix'!r:.40}; expected one of {known}")
    if found.library:
        require_library(found.library, found.extra)
    return found


def check_targets(paths: Iterable[Path], *, force: bool) -> None:
    """Refuse files that could not be written, before anything is computed.

    Raises
    ------
    ParameterError
        If a suffix is unknown, or a file is given twice.
    MissingLibraryError
        If the library of a suffix is not installed.
    FileError
        If there is such a file and `force` is not set, or there is no such folder.
    """
    seen: set[Path] = set()
    for path in paths:
        format_of(path.suffix, str(path))
        if path in seen:
            raise ParameterError(f"{_named(path)} is given twice")
        seen.add(path)
        _require_free(path, force=force)
        require_folder(path.parent)


def require_folder(folder: Path) -> None:
    """Refuse a folder that nothing can be written to.

    Raises
    ------
    FileError
        If there is no such folder, or it may not be changed.
    """
    if not folder.is_dir():
        raise FileError(f"there is no folder {str(folder)!r:.200} to write to")
    if not os.access(folder, os.W_OK):
        raise FileError(f"folder {str(folder)!r:.200} cannot be written to: permission denied")


def write(explanation: Explanation, path: Path, *, force: bool) -> None:
    """Write an explanation to a file whose suffix says what it holds.

    Raises
    ------
    FileError
        If it cannot be written, or there is such a file and `force` is not set.
    """
    found = FORMATS[path.suffix.lower()]
    write_whole(path, lambda partial: found.write(explanation, partial), force=force)


def write_whole(path: Path, fill: Callable[[Path], None], *, force: bool) -> None:
    """Write a file by `fill`, which is given another path first, so that there is never a part of it.

    Raises
    ------
    FileError
        If it cannot be written, or there is such a file and `force` is not set.
    """
    partial = path.with_name(f".exclip-widget.{os.getpid()}{path.suffix}")
    try:
        partial.unlink(missing_ok=True)  # of a process of this number that was killed
        fill(partial)
        _require_free(path, force=force)
        partial.replace(path)
    except OSError as error:
        raise FileError(f"{_named(path)} cannot be written: {_reason(error)}") from None
    except FileError as error:
        raise FileError(str(error).replace(str(partial), str(path))) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _require_free(path: Path, *, force: bool) -> None:
    try:
        if path.is_dir():
            raise FileError(f"{_named(path)} is a folder; expected the path of a file")
        if not force and (path.exists() or path.is_symlink()):
            raise FileError(f"{_named(path)} exists already; pass --force to replace it")
    except OSError as error:  # such as a name that is too long
        raise FileError(f"{_named(path)} cannot be written: {_reason(error)}") from None


def _named(path: Path) -> str:
    return f"file {str(path)!r:.200}"


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
