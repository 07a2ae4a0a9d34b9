"""The protocol of messages between a gallery and its browser. The mirror of `js/gallery/protocol.ts`.

State that is asked for or finished is synced traits. Messages carry the rest: tiles, an opened pair, progress
and answers to the browser; questions and windows of tiles to the kernel. What does not have a shape from here
is ignored. `tests/protocol/gallery_*.json` has examples of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .protocol import Join, KernelMessage, is_number, read_join, read_selection

MOST_TILES = 512
"""Largest number of tiles in a window: more than a screen shows of the smallest ones."""

MOST_PHRASE = 10_000
"""Largest number of characters of a phrase: no model takes a tenth of it."""

# ------------------------------------------------------------------------------------ browser to kernel


@dataclass(frozen=True)
class Ask:
    """Change what is asked: the phrase, which of its tokens count, the order."""

    question: int
    changes: dict[str, Any]


@dataclass(frozen=True)
class Window:
    """The tiles that a browser lacks of what it shows now, most wanted first. Replaces its window before."""

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
    """Return the message in `content`; None if it holds none of this protocol.

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
    """Return changes of what is asked; None unless each is known and of the right type."""
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
    """Return the header of some tiles, each of which has two buffers: its picture and its heat map.

    Parameters
    ----------
    request : int
        Id of the request whose order they are of.
    tiles : sequence of mapping
        As `gallery_session` describes each.
    """
    return {"kind": "tiles", "request": request, "tiles": list(tiles)}


def opened(question: int, tile: int, traits: Mapping[str, Any], binary: Sequence[str]) -> KernelMessage:
    """Return the header of a pair that was opened: the traits of the full instrument.

    Parameters
    ----------
    question : int
        The question that this answers.
    tile : int
        Its place in the order.
    traits : mapping
        All traits that are no bytes.
    binary : sequence of str
        Names of those that are, in the order of the buffers.
    """
    return {
        "kind": "opened",
        "question": question,
        "tile": tile,
        "traits": dict(traits),
        "binary": list(binary),
    }
