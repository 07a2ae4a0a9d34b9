"""Messages from a browser: their shapes, and nothing of what they mean.

Anybody may write to a widget's channel, so what does not have a shape from here is no message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

LARGEST_CHUNK = 2**20
"""Most bytes of an upload in one message."""

LONGEST = 2**16
"""Most numbers of a selection: more patches than any model sees."""

LARGEST_NUMBER = 2**53
"""Numbers are exact up to here in JavaScript."""


@dataclass(frozen=True)
class Hello:
    """A view has opened; or, `again`, it was told an older state after a newer one."""

    again: bool = False


@dataclass(frozen=True)
class Cancel:
    """End request `id`."""

    id: int


@dataclass(frozen=True)
class Ask:
    """Change some of the inputs."""

    number: int
    changes: dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """Bytes of a new picture, which has `size` of them; these stand at `offset`."""

    number: int
    offset: int
    size: int
    name: str
    data: bytes


@dataclass(frozen=True)
class Try:
    """Mask a selection, and run the model."""

    number: int
    tokens: tuple[int, ...]
    region: tuple[int, ...]


@dataclass(frozen=True)
class Untest:
    """Forget the tests."""


Message: TypeAlias = "Hello | Cancel | Ask | Chunk | Try | Untest"


def read_message(content: object, buffers: object = ()) -> Message | None:
    """The message that `content` and `buffers` are; None where they are none of ours."""
    if not isinstance(content, Mapping):
        return None
    kind = content.get("kind")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return read(content, buffers) if read else None


def read_changes(given: object) -> dict[str, Any] | None:
    """Changes of inputs, each of the right kind; None where one is not."""
    if not isinstance(given, Mapping) or not given:
        return None
    if not all(name in _INPUTS and _INPUTS[name](value) for name, value in given.items()):
        return None
    return dict(given)


def read_selection(given: object) -> tuple[int, ...] | None:
    """Numbers of a selection; None where it is anything else."""
    if not isinstance(given, (list, tuple)) or len(given) > LONGEST or not all(map(_is_number, given)):
        return None
    return tuple(given)


def _ask(content: Mapping[str, Any], buffers: object) -> Ask | None:
    del buffers
    changes = read_changes(content.get("changes"))
    return Ask(content["ask"], changes) if changes and _is_number(content.get("ask")) else None


def _chunk(content: Mapping[str, Any], buffers: object) -> Chunk | None:
    numbers = [content.get(name) for name in ("upload", "offset", "bytes")]
    name = content.get("name")
    if not all(map(_is_number, numbers)) or not isinstance(name, str):
        return None
    if not isinstance(buffers, Sequence) or len(buffers) != 1:
        return None
    if not isinstance(buffers[0], (bytes, bytearray, memoryview)):
        return None
    data = bytes(buffers[0])
    number, offset, size = numbers
    assert isinstance(number, int)
    assert isinstance(offset, int)
    assert isinstance(size, int)
    return Chunk(number, offset, size, name, data) if len(data) <= LARGEST_CHUNK else None


def _try(content: Mapping[str, Any], buffers: object) -> Try | None:
    del buffers
    tokens, region = read_selection(content.get("tokens")), read_selection(content.get("region"))
    if tokens is None or region is None or not _is_number(content.get("ask")):
        return None
    return Try(content["ask"], tokens, region) if tokens or region else None


def _cancel(content: Mapping[str, Any], buffers: object) -> Cancel | None:
    del buffers
    return Cancel(content["id"]) if _is_number(content.get("id")) else None


_READERS: dict[str, Callable[[Mapping[str, Any], object], Message | None]] = {
    "hello": lambda content, _: Hello(content.get("again") is True),
    "cancel": _cancel,
    "ask": _ask,
    "upload": _chunk,
    "test": _try,
    "untest": lambda *_: Untest(),
}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_INPUTS: dict[str, Callable[[object], bool]] = {
    "caption": _is_text,
    "foil": lambda value: value is None or _is_text(value),
    "method": _is_text,
    "text_layer": lambda value: value == "output" or _is_number(value),
    "image_layer": lambda value: value == "output" or _is_number(value),
}
