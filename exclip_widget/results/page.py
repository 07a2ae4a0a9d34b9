"""Pages: results in one HTML file with the widget's own front end, which needs no kernel and no network.

Nothing from a caption, a title or a file's name can run as code. Text is escaped. Data is JSON in a block
that browsers do not run, and that no character in it can end. A Content Security Policy allows one script and
one style sheet by their hashes, and forbids everything else, including the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from typing import Any, TypeAlias

from ..errors import ParameterError, named_type
from ..image import ImageLike
from ..whole_file import write_whole
from .files import path_of
from .interactions import Interactions
from .origin import Origin
from .shown import Encode, encode_image, encoding_once, finished_traits

SUFFIX = ".html"

STATIC = resources.files(__package__.partition(".")[0]) / "widget" / "static"
"""Where `js/build.mjs` puts the front end."""

TITLES = "Where does this similarity come from?", "Where do these similarities come from?"
"""Titles of pages with one figure and with several."""

Shown: TypeAlias = tuple[Interactions, ImageLike] | tuple[Interactions, ImageLike, Interactions | None]
"""A result and its image, and its foil's result if there is one."""


@dataclass(frozen=True)
class Figure:
    """One interactive figure of a page.

    Attributes
    ----------
    traits : dict
        What the front end shows, by the names of the widget's traits.
    note : (str, str)
        The text beneath it: what it shows, and how it was made.
    """

    traits: Mapping[str, Any]
    note: tuple[str, str]


def write_page(
    path: str | os.PathLike[str],
    results: Iterable[Shown],
    *,
    title: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write results into one HTML file, each as an interactive figure. Needs neither the model nor torch.

    Words and patches can be selected in the file as in a notebook, without a kernel or a network.

    Parameters
    ----------
    path : str or path
        Where to write; ends in ``.html``. ``~`` is the home directory.
    results : iterable of tuples
        Each contains a result, the image that was explained, as `explain` takes one, and optionally the
        result of a foil.
    title : str, optional
        The heading at the top.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileError
        If the path has another suffix, exists already, or cannot be written.
    ImageError
        If an image cannot be read, or is not the size of the one that was explained.
    ParameterError
        If there are no results, or one of them cannot be shown.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from exclip_widget import demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "boats.html"
    ...     write_page(path, [(demo.example(), demo.load().pages[0].image)])
    ...     path.read_text("utf-8")[:15]
    '<!doctype html>'
    """
    target = path_of(path, SUFFIX)
    encode = encoding_once()
    if not isinstance(results, Iterable):
        raise ParameterError(
            f"results is {named_type(results)}; expected a list of tuples of a result and its image"
        )
    figures = [figure_of(*read_shown("results", one), encode=encode) for one in results]
    write_figures(target, figures, title=title, overwrite=overwrite)


def read_shown(name: str, given: Any) -> tuple[Any, Any, Any]:
    """Return a result, its image, and its foil's result or None, from a tuple or a list of two or three.

    Raises
    ------
    ParameterError
        If it is neither. The message begins with `name`.
    """
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        count = f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
        raise ParameterError(
            f"{name} has {named_type(given)}{count}; expected tuples of a result, its image and, "
            "if there is one, the result of a foil"
        )
    result, image, foil = (*given, None)[:3]
    return result, image, foil


def figure_of(
    result: Interactions,
    image: ImageLike,
    foil: Interactions | None = None,
    *,
    encode: Encode = encode_image,
    **more: Any,
) -> Figure:
    """Return the figure of a result, with `more` of the widget's traits.

    Raises
    ------
    ImageError, ParameterError
        As `finished_traits` does.
    """
    traits = finished_traits(result, image, foil, encode) | {"_tests": [], "tokens": [], "region": []} | more
    return Figure(traits | {"_request": {"id": 1, "phase": "done", "message": ""}}, note_of(result))


def write_figures(
    path: str | os.PathLike[str], figures: Sequence[Figure], *, title: str | None, overwrite: bool
) -> None:
    """Write figures into one HTML file; see `write_page`."""
    target = path_of(path, SUFFIX)
    if not figures:
        raise ParameterError("results is empty; expected at least one result with its image")
    given: object = title
    if given is not None and not isinstance(given, str):
        raise ParameterError(f"title={given!r:.80} is {named_type(given)}; expected a string")
    # A lone surrogate, which UTF-8 cannot encode, becomes a reference that browsers show as a question mark.
    data = document(figures, title).encode("utf-8", "xmlcharrefreplace")
    write_whole(target, lambda partial: partial.write_bytes(data), overwrite=overwrite)


def note_of(result: Interactions) -> tuple[str, str]:
    """Describe in words what a result shows, and how and with what it was made.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> print(*note_of(demo.example()))
    What each word and each patch adds to the similarity of caption and image in CLIP. Method frozen, ...
    """
    origin = result.origin or Origin("this model")
    chosen = ", ".join(
        f"{name} {value}"
        for name, value in origin.options.items()
        if value is not None and value is not False
    )
    return (
        f"What each word and each patch adds to the similarity of caption and image in {origin.model}.",
        f"Method {result.method}{f' ({chosen})' if chosen else ''}, text layer {result.text_layer}, "
        f"image layer {result.image_layer}. Made with {' '.join(('exclip-widget', origin.version)).strip()}.",
    )


# --------------------------------------------------------------------------------------------- the document


@cache
def _front_end() -> tuple[str, str]:
    """Return the script and the style sheet of pages."""
    script, style = ((STATIC / name).read_text("utf-8") for name in ("page.js", "page.css"))
    # Nothing in either may end its element; `js/build.mjs` ensures this as well.
    assert "</script" not in script.lower()
    assert "<!--" not in script
    assert "</style" not in style.lower()
    return script, style


def document(figures: Sequence[Figure], title: str | None) -> str:
    """Return the complete HTML document."""
    script, style = _front_end()
    heading = escape(TITLES[len(figures) > 1] if title is None else title)
    policy = (
        f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; "
        "img-src blob: data:; base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(map(_element_of, _sharing_images(figures)))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="exclip-widget">
<title>{heading}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{heading}</h1>
<noscript><p>To select words and patches, allow this file to run its script. It loads nothing.</p></noscript>
{body}
</main>
<script type="module">{script}</script>
</body>
</html>
"""


def _hash_of(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode('utf-8')).digest()).decode('ascii')}'"


def _sharing_images(figures: Sequence[Figure]) -> list[Figure]:
    """Return figures in which an image that an earlier figure has is replaced by that figure's number."""
    first: dict[bytes, int] = {}
    shared = []
    for number, figure in enumerate(figures):
        earlier = first.setdefault(figure.traits["_image"], number)
        image = {} if earlier == number else {"_image": {"of": earlier}}
        shared.append(Figure({**figure.traits, **image}, figure.note))
    return shared


def _element_of(figure: Figure) -> str:
    # Written as a JSON escape, "<" cannot begin a tag or a comment, so nothing ends the block.
    data = json.dumps(figure.traits, default=_as_base64, allow_nan=False).replace("<", r"\u003c")
    what, how = map(escape, figure.note)
    return (
        f'<figure>\n<script type="application/json">{data}</script>\n'
        f"<figcaption><strong>{what}</strong> {how}</figcaption>\n</figure>"
    )


def _as_base64(data: object) -> dict[str, str]:
    assert isinstance(data, bytes)
    return {"base64": base64.b64encode(data).decode("ascii")}
