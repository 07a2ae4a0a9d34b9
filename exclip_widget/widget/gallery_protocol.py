"""The message protocol between a gallery and its browser, mirrored by `js/gallery/protocol.ts`.

Synced traits carry what was asked for and what is finished. Messages carry the rest: tiles, an opened pair,
progress and answers go to the browser; questions and windows of tiles go to the kernel. A message that does
not match one of the shapes defined here is ignored. `tests/protocol/gallery_*.json` has examples of them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .protocol import Join, KernelMessage, is_number, read_join, read_selection

MOST_TILES = 512
"""Largest number of tiles in a window: more than fit on a screen, even of the smallest."""

MOST_PHRASE = 10_000
"""Largest number of characters in a phrase; no model takes even a tenth of that."""

# ------------------------------------------------------------------------------------ browser to kernel


@dataclass(frozen=True)
class Ask:
    """Change the query: the phrase, which of its tokens count, or the order."""

    question: int
    changes: dict[str, Any]


@dataclass(frozen=True)
class Window:
    """The tiles on screen that a browser still lacks, most urgent first. Replaces its previous window."""

    view: int
    request: int
    tiles: tuple[int, ...]


@dataclass(frozen=True)
class Open:
    """Explain the pair of one tile in full."""

    question: int
    request: int
    tile: int


GalleryMessage: TypeAlias = Join | Ask | Window | Open


def read_message(content: object, buffers: object = ()) -> GalleryMessage | None:
    """Return the message in `content`, or None if it is not part of this protocol.

    Examples
    --------
    >>> read_message({"kind": "window", "view": 5, "request": 1, "tiles": [0, 1]})
    Window(view=5, request=1, tiles=(0, 1))
    """
    if not isinstance(content, Mapping):
        return None
    kind = content.get("kind")
    if kind == "join":
        return read_join(content, buffers)
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return read(content) if read else None


def read_changes(given: object) -> dict[str, Any] | None:
    """Return changes to the query, or None unless every one is known and of the right type."""
    if not isinstance(given, Mapping) or not given:
        return None
    if not all(name in _ASKED and _ASKED[name](value) for name, value in given.items()):
        return None
    return dict(given)


def _read_ask(content: Mapping[str, Any]) -> Ask | None:
    changes = read_changes(content.get("changes"))
    return Ask(content["question"], changes) if changes and is_number(content.get("question")) else None


def _read_window(content: Mapping[str, Any]) -> Window | None:
    tiles = read_selection(content.get("tiles"))
    if tiles is None or len(tiles) > MOST_TILES:
        return None
    if not is_number(content.get("view")) or not is_number(content.get("request")):
        return None
    return Window(content["view"], content["request"], tiles)


def _read_open(content: Mapping[str, Any]) -> Open | None:
    names = ("question", "request", "tile")
    if not all(is_number(content.get(name)) for name in names):
        return None
    return Open(*(content[name] for name in names))


_READERS: dict[str, Callable[[Mapping[str, Any]], GalleryMessage | None]] = {
    "ask": _read_ask,
    "window": _read_window,
    "open": _read_open,
}

_ASKED: dict[str, Callable[[object], bool]] = {
    "phrase": lambda value: isinstance(value, str) and len(value) <= MOST_PHRASE,
    "words": lambda value: read_selection(value) is not None,
    "order": lambda value: isinstance(value, str),
}

# ------------------------------------------------------------------------------------ kernel to browser


def tiles(request: int, tiles: Sequence[Mapping[str, Any]]) -> KernelMessage:
    """Return the header of a batch of tiles, each of which has two buffers: its picture and its heat map.

    Parameters
    ----------
    request : int
        Id of the request whose ranking the tiles belong to.
    tiles : sequence of mapping
        The header of each tile, as `gallery_session` describes it.
    """
    return {"kind": "tiles", "request": request, "tiles": list(tiles)}


def opened(question: int, tile: int, traits: Mapping[str, Any], binary: Sequence[str]) -> KernelMessage:
    """Return the header of an opened pair: the traits of its `ExplainWidget`.

    Parameters
    ----------
    question : int
        The question that this answers.
    tile : int
        The tile's position in the order.
    traits : mapping
        All traits whose values are not bytes.
    binary : sequence of str
        Names of the traits whose values are bytes, in the order of the buffers.
    """
    return {
        "kind": "opened",
        "question": question,
        "tile": tile,
        "traits": dict(traits),
        "binary": list(binary),
    }
