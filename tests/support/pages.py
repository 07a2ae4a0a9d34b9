"""Read back the pages that were written, with an HTML parser that shares nothing with the writer."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from typing import Any


class Document(HTMLParser):
    """The elements and texts that a browser would find in a page.

    Attributes
    ----------
    elements
        Each element's name and attributes, in order.
    texts
        The text directly in each element, in the same order.
    """

    EMPTY = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.comments: list[str] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in self.EMPTY:
            self._open.append(len(self.texts) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def all(self, tag: str) -> list[str]:
        """Return the texts of all elements with this tag."""
        return [text for (name, _), text in zip(self.elements, self.texts, strict=True) if name == tag]

    def scripts(self, kind: str) -> list[str]:
        """Return the texts of all scripts of a type."""
        return [
            text
            for (name, attributes), text in zip(self.elements, self.texts, strict=True)
            if name == "script" and attributes.get("type") == kind
        ]


def states_of(text: str) -> list[dict[str, Any]]:
    """Return the decoded state of each figure on a page, with images shared between figures filled in."""

    def read(value: dict[str, Any]) -> Any:
        return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value

    states = [json.loads(block, object_hook=read) for block in Document(text).scripts("application/json")]
    for state in states:
        if isinstance(shared := state["_image"], dict):
            state["_image"] = states[shared["of"]]["_image"]
    return states
