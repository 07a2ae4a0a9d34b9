"""Messages from a browser: those of the protocol are read, and no other breaks anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.widgets import line, make, until, working

from exclip_widget import ExplainWidget
from exclip_widget.widget.protocol import read_message

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

kinds = st.sampled_from(["hello", "cancel", "ask", "upload", "test", "untest", "eval"])

names = st.sampled_from(
    ["ask", "upload", "id", "offset", "bytes", "name", "changes", "tokens", "region", "caption"]
)

small = st.integers(-2, 12)

changes = st.dictionaries(
    st.sampled_from(["caption", "foil", "method", "text_layer", "image_layer", "image", "model"]),
    anything | small | st.sampled_from(["output", "exclip", "similarity", "a red boat"]),
    max_size=3,
)

values = anything | small | st.lists(small, max_size=4) | changes

messages = anything | st.builds(
    lambda kind, rest: {**rest, "kind": kind}, kinds | anything, st.dictionaries(names, values, max_size=6)
)

buffers = st.lists(st.binary(max_size=20) | st.none(), max_size=2)


@pytest.fixture(scope="module")
def bombarded() -> Iterator[ExplainWidget]:
    widget = make()
    yield widget
    widget.close()


@settings(max_examples=150)
@given(st.lists(st.tuples(messages, buffers), max_size=4))
def test_no_message_breaks_a_widget(bombarded: ExplainWidget, said: list[tuple[Any, list[Any]]]) -> None:
    widget = bombarded
    for content, parts in said:
        line(widget).says(content, *parts)
    until(lambda: not working())
    widget.caption, widget.method, widget.foil = "a red boat", "exclip", None
    widget.text_layer = widget.image_layer = None
    assert widget.wait(60).caption == "a red boat"
    assert widget._status["phase"] == "done"


@given(messages, buffers)
def test_only_messages_of_the_protocol_are_read(content: Any, parts: list[Any]) -> None:
    message = read_message(content, parts)
    if message is not None:
        assert content["kind"] in ("hello", "cancel", "ask", "upload", "test", "untest")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, []),
        (3, []),
        ([], []),
        ({}, []),
        ({"kind": 4}, []),
        ({"kind": ["hello"]}, []),
        ({"kind": "eval", "code": "1"}, []),
        ({"kind": "cancel"}, []),
        ({"kind": "cancel", "id": True}, []),
        ({"kind": "ask", "changes": {"caption": "a"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {}}, []),
        ({"kind": "ask", "ask": 1.5, "changes": {"caption": "a"}}, []),
        ({"kind": "ask", "ask": -1, "changes": {"caption": "a"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"caption": 3}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"caption": "a", "model": "b"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"image": "/etc/passwd"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"text_layer": "0"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"text_layer": -1}}, []),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": "x"}, []),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": 3}, [b"abc"]),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": "x"}, ["abc"]),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": "x"}, [b"a", b"b"]),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 2**21, "name": "x"}, [bytes(2**20 + 1)]),
        ({"kind": "test", "ask": 1, "tokens": [], "region": []}, []),
        ({"kind": "test", "ask": 1, "tokens": [1]}, []),
        ({"kind": "test", "ask": 1, "tokens": [1.0], "region": []}, []),
        ({"kind": "test", "ask": 1, "tokens": [1], "region": [0] * 10**6}, []),
        ({"kind": "test", "ask": None, "tokens": [1], "region": []}, []),
    ],
)
def test_what_is_no_message_is_ignored(content: Any, parts: list[Any]) -> None:
    assert read_message(content, parts) is None
