"""Files that an explanation is written to. The suffix of a file determines its format.

Every file is first written under a temporary name, so that a half-written file never has the final name.

A ``.json`` file is an object with all attributes of `Interactions` under their own names. Arrays are nested
lists, and numbers that are unknown or infinite are null. It also contains:

- `format`, ``"exclip_widget.explanation"``, and `version`, 1;
- `caption`, and `tokens`, `spans` and `words`, with one entry for each row of `values`;
- `sums`, the interaction of each token with all patches;
- `residual`, `image_size` and `crop`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileError, ParameterError
from ..whole_file import named, reason, write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..results.interactions import Interactions
    from ..results.selection import Words

DOTS_PER_INCH = 200
"""Resolution of raster images: twice that of a screen, and enough for a column in print."""

FORCE = "pass --force to replace it"
"""What to do about a file that exists already."""

KINDS = ("heat", "words", "both", "caption", "receipt")
"""Kinds of figures that `Interactions.plot` draws."""


@dataclass(frozen=True)
class Explanation:
    """An explanation to write.

    Attributes
    ----------
    result : Interactions
        The result for the caption.
    image : Image
        The opened image.
    foil : Interactions or None
        The result for the foil, if there is one.
    words : words
        The words for the heat map, as in `Interactions.heat`; None for all.
    kind : str
        Kind of figure to draw.
    scale : float or None
        Value that gets the strongest colour in a figure; None for the largest value.
    """

    result: Interactions
    image: Image
    foil: Interactions | None = None
    words: Words = None
    kind: str = "both"
    scale: float | None = None

    @property
    def shown(self) -> Interactions:
        """The result or, if there is a foil, its difference from the foil's."""
        return self.result if self.foil is None else self.result - self.foil


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    write : callable
        Writes an explanation to a path that does not exist yet.
    holds : str
        Description of the contents.
    library, extra : str
        The library needed to write it, and the extra that installs it; empty if none is needed.
    """

    write: Callable[[Explanation, Path], None]
    holds: str
    library: str = ""
    extra: str = ""


# ------------------------------------------------------------------------------------------------ formats


def _page(explanation: Explanation, path: Path) -> None:
    from ..results.page import figure_of, write_figures

    result, foil, words = explanation.result, explanation.foil, explanation.words
    # A page shows the caption, so words chosen from a difference cannot be selected in it.
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
    # Avoid pyplot, which may open a window.
    figure = PaperFigure(layout="constrained")
    drawing.draw_alone(figure)
    # Draw the letters of an SVG as outlines, so that it needs no fonts to display.
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
    """Return the contents of a ``.json`` file."""
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
    """Convert a value to types that JSON can represent."""
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
"""File formats by suffix."""


# ------------------------------------------------------------------------------------------------ writing


def format_of(suffix: str, given: str) -> Format:
    """Return the format of a suffix; `given` is the name to show in errors.

    Raises
    ------
    ParameterError
        If it is unknown.
    MissingLibraryError
        If the library of the format is not installed.
    """
    from ..results.tables import require_library

    found = FORMATS.get(suffix.lower())
    if found is None:
        known = ", ".join(FORMATS)
        raise ParameterError(f"{given!r:.200} ends in {suffix or 'no suffix'!r:.40}; expected one of {known}")
    if found.library:
        require_library(found.library, found.extra)
    return found


def check_targets(paths: Iterable[Path], inputs: Iterable[str | Path | None] = (), *, force: bool) -> None:
    """Raise an error for files that cannot be written, before anything is computed.

    `inputs` are files that are read, and are never replaced. None stands for an option that was not given.

    Raises
    ------
    ParameterError
        If a suffix is unknown, or a file is given twice.
    MissingLibraryError
        If the library of a suffix is not installed.
    FileError
        If a file exists and `force` is not set, if it is an input, or if its folder does not exist.
    """
    seen: set[Path] = set()
    read = FilesRead(inputs)
    for path in paths:
        format_of(path.suffix, str(path))
        read.require_other(path)
        if path in seen:
            raise ParameterError(f"{named(path)} is given twice")
        seen.add(path)
        _require_free(path, force=force)
        require_folder(path.parent)


class FilesRead:
    """Files that are read, none of which may be replaced.

    Parameters
    ----------
    paths : iterable of path or None
        Their paths. Those of no file are ignored.
    """

    def __init__(self, paths: Iterable[str | Path | None]) -> None:
        found = (_identity(path) for path in paths if path is not None)
        self._identities = {identity for identity in found if identity is not None}

    def require_other(self, target: Path) -> None:
        """Require that a file to be written is none of these.

        Raises
        ------
        FileError
            If it is one, by whatever path.
        """
        if self._identities and _identity(target) in self._identities:
            raise FileError(
                f"{named(target)} is a file that is read, so it is not replaced; give another name"
            )


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Return what identifies a file among all those of the machine; None if there is no such file."""
    from ..image import expanded  # here, because it loads numpy, which the help does without

    try:
        found = expanded(path).stat()
    except (OSError, ValueError, RuntimeError):
        return None
    return found.st_dev, found.st_ino


def require_folder(folder: Path) -> None:
    """Raise an error for a folder that cannot be written to.

    Raises
    ------
    FileError
        If the folder does not exist or is not writable.
    """
    if not folder.is_dir():
        raise FileError(f"there is no folder {str(folder)!r:.200} to write to")
    if not os.access(folder, os.W_OK):
        raise FileError(f"folder {str(folder)!r:.200} cannot be written to: permission denied")


def write(
    explanation: Explanation, path: Path, *, force: bool, finish: Callable[[Path], object] | None = None
) -> None:
    """Write an explanation to a file, in the format that its suffix determines.

    `finish` is called with the temporary path of the complete file, before that gets its name.

    Raises
    ------
    FileError
        If it cannot be written, or already exists and `force` is not set.
    """
    found = FORMATS[path.suffix.lower()]

    def fill(partial: Path) -> None:
        found.write(explanation, partial)
        if finish is not None:
            finish(partial)

    write_whole(path, fill, overwrite=force, advice=FORCE)


def _require_free(path: Path, *, force: bool) -> None:
    try:
        if path.is_dir():
            raise FileError(f"{named(path)} is a folder; expected the path of a file")
        if not force and (path.exists() or path.is_symlink()):
            raise FileError(f"{named(path)} exists already; {FORCE}")
    except OSError as error:  # such as a name that is too long
        raise FileError(f"{named(path)} cannot be written: {reason(error)}") from None
