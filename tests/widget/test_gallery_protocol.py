"""Messages of a gallery: the examples in `tests/protocol`, which are also used by the front end's tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exclip_widget.widget import gallery_protocol, protocol

EXAMPLES = Path(__file__).parents[1] / "protocol"
TO_KERNEL = json.loads((EXAMPLES / "gallery_to_kernel.json").read_text())
FROM_KERNEL = json.loads((EXAMPLES / "gallery_from_kernel.json").read_text())


def named(examples: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("example", examples, ids=lambda example: example["name"])


@named(TO_KERNEL["valid"])
def test_valid_messages_are_read(example: dict[str, Any]) -> None:
    content = example["content"]
    message = gallery_protocol.read_message(content)
    kinds = {
        "join": protocol.Join,
        "ask": gallery_protocol.Ask,
        "window": gallery_protocol.Window,
        "open": gallery_protocol.Open,
    }
    assert type(message) is kinds[content["kind"]]
    for name, value in vars(message).items():
        expected = content.get(name, False)
        assert value == (tuple(expected) if isinstance(value, tuple) else expected)


@named(TO_KERNEL["invalid"])
def test_invalid_messages_are_ignored(example: dict[str, Any]) -> None:
    assert gallery_protocol.read_message(example["content"]) is None


def test_messages_are_bounded() -> None:
    tiles = {"kind": "window", "view": 1, "request": 1}
    most = gallery_protocol.MOST_TILES
    assert gallery_protocol.read_message(tiles | {"tiles": list(range(most))}) is not None
    assert gallery_protocol.read_message(tiles | {"tiles": list(range(most + 1))}) is None
    long = {"phrase": "x" * (gallery_protocol.MOST_PHRASE + 1)}
    assert gallery_protocol.read_changes(long) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["join", "ask", "window", "open"])},
        optional=dict.fromkeys(
            ("question", "changes", "view", "request", "tiles", "tile", "refresh"), ANYTHING
        ),
    )
)
def test_whatever_comes_is_read_or_ignored(content: dict[str, Any]) -> None:
    gallery_protocol.read_message(content)


@named(FROM_KERNEL["valid"])
def test_messages_are_built_as_the_front_end_reads_them(example: dict[str, Any]) -> None:
    given = dict(example["content"])
    kind = given.pop("kind")
    module = gallery_protocol if hasattr(gallery_protocol, kind) else protocol
    assert getattr(module, kind)(**given) == example["content"]
