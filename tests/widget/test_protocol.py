"""Messages: the examples in `tests/protocol`, which are also used by the front end's tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.widgets import line, make, until, working

from exclip_widget import ExplainWidget
from exclip_widget.widget import protocol, wire

EXAMPLES = Path(__file__).parents[1] / "protocol"
TO_KERNEL = json.loads((EXAMPLES / "to_kernel.json").read_text())
FROM_KERNEL = json.loads((EXAMPLES / "from_kernel.json").read_text())
STATES = json.loads((EXAMPLES / "state.json").read_text())


def named(examples: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("example", examples, ids=lambda example: example["name"])


def buffers_of(example: dict[str, Any]) -> list[memoryview]:
    return [memoryview(bytes(length)) for length in example["buffers"]]


@named(TO_KERNEL["valid"])
def test_valid_messages_are_read(example: dict[str, Any]) -> None:
    content = example["content"]
    message = protocol.read_message(content, buffers_of(example))
    kinds = {
        "join": protocol.Join,
        "cancel": protocol.Cancel,
        "change": protocol.Change,
        "upload": protocol.UploadChunk,
        "test": protocol.TestSelection,
        "clear_tests": protocol.ClearTests,
    }
    assert type(message) is kinds[content["kind"]]
    fields = {"size" if name == "bytes" else name: value for name, value in content.items()}
    for name, value in vars(message).items():
        if name == "data":
            assert len(value) == example["buffers"][0]
        elif name in fields:
            assert value == (tuple(fields[name]) if isinstance(fields[name], list) else fields[name])
        else:
            assert (name, value) == ("refresh", False)


@named(TO_KERNEL["invalid"])
def test_invalid_messages_are_ignored(example: dict[str, Any]) -> None:
    assert protocol.read_message(example["content"], buffers_of(example)) is None


@named(FROM_KERNEL["valid"])
def test_messages_are_built_as_the_front_end_reads_them(example: dict[str, Any]) -> None:
    given = dict(example["content"])
    build = getattr(protocol, given.pop("kind"))
    if given.keys() == {"since"}:  # a field that the kernel never sends and the front end ignores
        given = {}
    if "bytes" in given:
        given["size"] = given.pop("bytes")
    if "_summary" in given:
        given["summary"] = given.pop("_summary")
    built = build(**given)
    assert built == {name: example["content"][name] for name in built}


def test_every_kind_that_the_kernel_sends_has_an_example() -> None:
    kinds = {"alive", "estimate", "layer", "progress", "accepted", "refused"}
    assert {example["content"]["kind"] for example in FROM_KERNEL["valid"]} == kinds


@named(STATES["valid"])
def test_states_have_exactly_the_traits_of_the_widget(example: dict[str, Any]) -> None:
    synced = set(ExplainWidget.class_traits(sync=True))
    ours = {name for name in synced if name in vars(ExplainWidget)} | {"_revision"}
    assert example["state"].keys() <= ours
    missing = ours - example["state"].keys()
    assert not missing, "the example lacks traits"


@named(STATES["valid"])
def test_results_are_as_long_as_their_tokens_and_grid(example: dict[str, Any]) -> None:
    state = example["state"]
    grid = state["_grid"]["rows"] * state["_grid"]["columns"]
    for tokens, result in (("_tokens", "_result"), ("_foil_tokens", "_foil_result")):
        data = state[result]["base64"]
        length = len(data) * 3 // 4 - data.count("=")
        assert length in (0, 4 * len(state[tokens]) * (grid + 1))


def test_estimates_come_in_chunks_that_make_up_the_whole() -> None:
    data = bytes(range(256)) * 3000
    parts = list(wire.split_chunks(data))
    assert [offset for offset, _ in parts] == list(range(0, len(data), wire.CHUNK_BYTES))
    assert b"".join(part for _, part in parts) == data


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

kinds = st.sampled_from(["join", "cancel", "change", "upload", "test", "clear_tests", "eval"])

names = st.sampled_from(
    ["question", "refresh", "id", "offset", "bytes", "name", "changes", "tokens", "region", "caption"]
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
    assert widget._request["phase"] == "done"


@given(messages, buffers)
def test_only_messages_of_the_protocol_are_read(content: Any, parts: list[Any]) -> None:
    message = protocol.read_message(content, parts)
    if message is not None:
        assert content["kind"] in ("join", "cancel", "change", "upload", "test", "clear_tests")
