"""The message protocol between kernel and browser, mirrored by `js/protocol.ts`.

Synced traits, listed in `wire`, carry what was asked for and what is finished. Messages carry the rest:
estimates, progress and answers go to the browser; questions go to the kernel. Anybody can write to a widget's
channel, so a message that does not match one of the shapes defined here is ignored. `tests/protocol` has
examples of them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

MOST_CHUNK_BYTES = 2**20
"""Largest number of bytes of an upload in one message."""

MOST_SELECTED = 2**16
"""Largest size of a selection: more patches than any model has."""

MOST_NUMBER = 2**53 - 1
"""Largest integer that JavaScript represents exactly."""

# ------------------------------------------------------------------------------------ browser to kernel


@dataclass(frozen=True)
class Join:
    """A view has opened, or, with `refresh`, has a stale state and needs all of it again."""

    refresh: bool = False


@dataclass(frozen=True)
class Cancel:
    """End request `id`."""

    id: int


@dataclass(frozen=True)
class Change:
    """Change some of the inputs."""

    question: int
    changes: dict[str, Any]


@dataclass(frozen=True)
class UploadChunk:
    """Part of an image file being uploaded: `data` belongs at `offset` of `size` bytes in total."""

    question: int
    offset: int
    size: int
    name: str
    data: bytes


@dataclass(frozen=True)
class TestSelection:
    """Run a masking test of a selection."""

    __test__ = False  # keeps pytest from collecting it as a test class

    question: int
    tokens: tuple[int, ...]
    region: tuple[int, ...]


@dataclass(frozen=True)
class ClearTests:
    """Discard the masking tests."""


BrowserMessage: TypeAlias = Join | Cancel | Change | UploadChunk | TestSelection | ClearTests


def read_message(content: object, buffers: object = ()) -> BrowserMessage | None:
    """Return the message in `content` and `buffers`, or None if it is not part of this protocol."""
    if not isinstance(content, Mapping):
        return None
    kind = content.get("kind")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return read(content, buffers) if read else None


def read_changes(given: object) -> dict[str, Any] | None:
    """Return changes to inputs, or None unless every one is a known input of the right type."""
    if not isinstance(given, Mapping) or not given:
        return None
    if not all(name in _INPUTS and _INPUTS[name](value) for name, value in given.items()):
        return None
    return dict(given)


def read_selection(given: object) -> tuple[int, ...] | None:
    """Return the indices in a selection, or None if it is anything else."""
    if not isinstance(given, (list, tuple)) or len(given) > MOST_SELECTED:
        return None
    return tuple(given) if all(map(is_number, given)) else None


def read_join(content: Mapping[str, Any], buffers: object = ()) -> Join | None:
    """Return the message of a view that has opened, or None if it is malformed."""
    del buffers
    refresh = content.get("refresh", False)
    return Join(refresh) if isinstance(refresh, bool) else None


def _read_change(content: Mapping[str, Any], buffers: object) -> Change | None:
    del buffers
    changes = read_changes(content.get("changes"))
    return Change(content["question"], changes) if changes and is_number(content.get("question")) else None


def _read_chunk(content: Mapping[str, Any], buffers: object) -> UploadChunk | None:
    numbers = [content.get(name) for name in ("question", "offset", "bytes")]
    name = content.get("name")
    if not all(map(is_number, numbers)) or not isinstance(name, str):
        return None
    if not isinstance(buffers, Sequence) or len(buffers) != 1:
        return None
    if not isinstance(buffers[0], (bytes, bytearray, memoryview)):
        return None
    data = bytes(buffers[0])
    question, offset, size = numbers
    assert isinstance(question, int)
    assert isinstance(offset, int)
    assert isinstance(size, int)
    return UploadChunk(question, offset, size, name, data) if len(data) <= MOST_CHUNK_BYTES else None


def _read_test(content: Mapping[str, Any], buffers: object) -> TestSelection | None:
    del buffers
    tokens, region = read_selection(content.get("tokens")), read_selection(content.get("region"))
    if tokens is None or region is None or not is_number(content.get("question")):
        return None
    return TestSelection(content["question"], tokens, region) if tokens or region else None


def _read_cancel(content: Mapping[str, Any], buffers: object) -> Cancel | None:
    del buffers
    return Cancel(content["id"]) if is_number(content.get("id")) else None


_READERS: dict[str, Callable[[Mapping[str, Any], object], BrowserMessage | None]] = {
    "join": read_join,
    "cancel": _read_cancel,
    "change": _read_change,
    "upload": _read_chunk,
    "test": _read_test,
    "clear_tests": lambda *_: ClearTests(),
}


def is_number(value: object) -> bool:
    """Return whether a value is a non-negative integer that Python and JavaScript both represent exactly."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_NUMBER


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_INPUTS: dict[str, Callable[[object], bool]] = {
    "caption": _is_text,
    "foil": lambda value: value is None or _is_text(value),
    "method": _is_text,
    "text_layer": lambda value: value == "output" or is_number(value),
    "image_layer": lambda value: value == "output" or is_number(value),
}

# ------------------------------------------------------------------------------------ kernel to browser

KernelMessage: TypeAlias = dict[str, Any]


def alive() -> KernelMessage:
    """Return the answer to `Join`."""
    return {"kind": "alive"}


def estimate(id: int, part: str, frame: int, offset: int, size: int) -> KernelMessage:
    """Return the header of a chunk of an estimate.

    Parameters
    ----------
    id : int
        Id of the request.
    part : {"caption", "foil"}
        What the estimate is for.
    frame : int
        Number of the estimate, from 0.
    offset, size : int
        Where the chunk belongs, and the total number of bytes.
    """
    return {"kind": "estimate", "id": id, "part": part, "frame": frame, "offset": offset, "bytes": size}


def layer(
    id: int, text_layer: int | str, image_layer: int | str, summary: Mapping[str, Any]
) -> KernelMessage:
    """Return the header of the result that request `id` would have at a text and an image layer.

    Its buffers are the results of the caption and of its foil, if there is one, encoded as in the traits.
    """
    return {
        "kind": "layer",
        "id": id,
        "text_layer": text_layer,
        "image_layer": image_layer,
        "_summary": dict(summary),
    }


def progress(
    id: int, done: int, total: int, error: float | None = None, foil_error: float | None = None
) -> KernelMessage:
    """Return the progress of request `id`, and roughly how far off its newest estimates may be.

    An estimate without an error is exact.
    """
    bounds = {"error": error, "foil_error": foil_error}
    known = {name: bound for name, bound in bounds.items() if bound is not None}
    return {"kind": "progress", "id": id, "done": done, "total": total, **known}


def accepted(question: int) -> KernelMessage:
    """Return the answer to a question that was accepted. It follows the traits that changed."""
    return {"kind": "accepted", "question": question}


def refused(question: int, message: str) -> KernelMessage:
    """Return the answer to a question that was refused, with a message that gives the reason."""
    return {"kind": "refused", "question": question, "message": message}
