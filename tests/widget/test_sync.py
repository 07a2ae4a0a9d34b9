"""Changes made together reach the browser together, from any thread, and are repeated if missed."""

from __future__ import annotations

import threading

import numpy as np
from support.widgets import ask, decoded, line, make, stopped_after_first_frame, until, working


def test_new_inputs_reach_the_browser_as_one() -> None:
    widget = make()
    widget.wait(60)
    before = len(line(widget).updates())
    widget.tokens = [2]
    widget.caption, widget.foil = "a blue boat", "a red boat"
    widget.wait(60)
    updates = line(widget).updates()[before:]
    new = next(state for state in updates if "caption" in state)
    assert new["caption"] == "a blue boat"
    assert new.keys() >= {"_tokens", "_result", "_summary", "_request", "tokens"}
    assert (new["_summary"], new["_request"]["phase"], new["tokens"]) == (None, "computing", [])
    assert "_image" not in new
    foil = next(state for state in updates if "foil" in state)
    assert foil.keys() >= {"_foil_tokens", "_alignment"}
    done = [state for state in updates if state.get("_request", {}).get("phase") == "done"]
    assert done[-1].keys() >= {"_result", "_foil_result", "_summary"}
    held = line(widget).state()
    assert {
        name: held[name] for name in ("caption", "foil", "_tokens", "_alignment", "_result", "_summary")
    } == {
        name: getattr(widget, name)
        for name in ("caption", "foil", "_tokens", "_alignment", "_result", "_summary")
    }


def test_joining_repeats_what_was_missed() -> None:
    """A view that opens midway gets the newest estimate; one that opens afterwards already has the state."""
    gate, widget = stopped_after_first_frame(caption=["a red boat", "a blue boat"])
    before = len(line(widget).kinds())
    line(widget).says({"kind": "join"})
    assert line(widget).kinds()[before:] == ["alive", "estimate", "estimate", "progress"]
    gate.open.set()
    widget.wait(60)
    before = len(line(widget).kinds())
    line(widget).says({"kind": "join"})
    assert [content for content, _ in line(widget).messages()[before:]] == [{"kind": "alive"}]
    assert line(widget).updates()[-1] == {"_request": {"id": 1, "phase": "done", "message": ""}}


def test_every_state_is_known_from_older_ones() -> None:
    """States are numbered, and a browser with an older one is sent the newest again."""
    widget = make()
    widget.wait(60)
    widget.caption = "a blue boat"
    widget.wait(60)
    sent = [update for update in line(widget).updates() if "_request" in update]
    numbered = [update["_revision"] for update in sent]
    assert numbered == sorted(set(numbered))
    assert [update["_request"]["phase"] for update in sent[-2:]] == ["computing", "done"]
    assert numbered[-1] == widget._revision
    before = len(line(widget).updates())
    line(widget).says({"kind": "join", "refresh": "yes"})
    assert len(line(widget).updates()) == before
    line(widget).says({"kind": "join", "refresh": True})
    (again,) = line(widget).updates()[before:]
    assert again.keys() == set(widget.keys) - {"_esm", "_css"}
    assert (again["caption"], again["_revision"]) == ("a blue boat", widget._revision)
    assert again["_result"] == widget._result
    assert line(widget).kinds()[-1] == "alive"


def test_edits_from_everywhere_at_once_end_in_one_state() -> None:
    widget = make()

    def edit(seed: int) -> None:
        for turn in range(5):
            if seed % 2:
                widget.caption = f"{'a red boat ' * (1 + (seed + turn) % 3)}"
            else:
                ask(widget, 100 * seed + turn, foil="a fish" if turn % 2 else None, image_layer=turn)
                line(widget).sets(tokens=[turn, seed], region=[turn])

    threads = [threading.Thread(target=edit, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: not working())
    result = widget.wait(60)
    assert result.caption == widget.caption
    assert len(widget._tokens) == len(result.tokens)
    assert all(token < len(result.tokens) for token in widget.tokens)
    np.testing.assert_array_equal(decoded(widget)[0], result.values)
    held = line(widget).state()
    for name in (
        "caption",
        "foil",
        "image_layer",
        "_tokens",
        "_result",
        "_foil_result",
        "_summary",
        "_request",
    ):
        assert held[name] == getattr(widget, name), name
