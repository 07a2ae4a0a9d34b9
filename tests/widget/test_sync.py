"""Changes made together reach the browser together, from any thread, and are repeated if missed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.galleries import explainer, make_gallery, scenes
from support.widgets import (
    ask,
    book,
    decoded,
    interrupt,
    line,
    make,
    stopped_after_first_frame,
    until,
    working,
)

from exclip_widget.widget.gallery_session import GallerySession
from exclip_widget.widget.session import Session
from exclip_widget.widget.sync import SyncedWidget
from exclip_widget.widget.worker import Worker


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


INPUTS = ("caption", "foil", "method", "text_layer", "image_layer")


def set_inputs(*, hold: bool) -> tuple[list[Any], list[tuple[str, Any]], list[dict[str, Any]]]:
    """Set inputs, with or without a hold, and return what they are, what observers saw, and what was sent."""
    widget = make(method="frozen")
    widget.wait(60)
    seen: list[tuple[str, Any]] = []
    widget.observe(lambda change: seen.append((change["name"], change["new"])), [*INPUTS, "tokens"])
    before = len(line(widget).updates())
    with widget.hold_trait_notifications() if hold else nullcontext():
        widget.tokens = [1]
        widget.caption, widget.foil = "a blue boat", "a fish"
        widget.method = "exclip"
        widget.caption = "a red boat"
        if hold:
            assert seen == []
            assert widget.wait(60).caption == "a red boat"  # also in the middle of a hold
    exclip = [getattr(widget, name) for name in INPUTS]
    widget.wait(60)
    sent = line(widget).updates()[before:]
    widget.method = "frozen"
    return [*exclip, widget.text_layer, widget.image_layer, widget.tokens], seen, sent


def test_a_hold_delays_observers_and_nothing_else() -> None:
    found, seen, sent = set_inputs(hold=True)
    expected, _, sent_without = set_inputs(hold=False)
    assert found == expected
    assert seen[:5] == [
        ("tokens", []),
        ("caption", "a red boat"),
        ("foil", "a fish"),
        ("method", "exclip"),
        ("text_layer", expected[3]),
    ]
    assert [name for name, _ in seen].count("caption") == 1
    asked, asked_without = (
        [update for update in updates if update.get("_request", {}).get("phase") == "computing"]
        for updates in (sent, sent_without)
    )
    assert [update.keys() for update in asked] == [update.keys() for update in asked_without]
    assert all("_revision" in update for update in asked)


def test_a_hold_does_not_ask_a_gallery_twice() -> None:
    gallery = make_gallery(iter(scenes(2)), explainer(), phrase="a red boat")
    seen: list[str] = []
    gallery.observe(lambda change: seen.append(change["name"]), ["phrase", "words", "order"])
    with gallery.hold_trait_notifications(), gallery.hold_trait_notifications():
        gallery.phrase, gallery.words, gallery.order = "two yellow fish", "fish", "special"
        with pytest.raises(ValueError, match="expected one of"):
            gallery.order = "best"
        assert seen == []
    assert (gallery.phrase, gallery.words, gallery.order) == ("two yellow fish", [3], "special")
    assert seen == ["phrase", "words", "order"]
    assert line(gallery).state()["words"] == [3]


def test_a_hold_is_that_of_one_thread() -> None:
    widget = make()
    widget.wait(60)
    seen: list[Any] = []
    widget.observe(lambda change: seen.append(change["new"]), "tokens")
    with widget.hold_trait_notifications():
        other = threading.Thread(target=setattr, args=(widget, "tokens", [2]))
        other.start()
        other.join()
        assert seen == [[2]]
        widget.layout = {"width": "50%"}  # no transaction of the widget's own
        assert line(widget).state()["layout"] == f"IPY_MODEL_{widget.layout.model_id}"
    assert seen == [[2]]


def test_observers_of_a_browsers_selection_may_block() -> None:
    """They are called without the lock, so they may wait for threads that need it, and for the result."""
    widget = make()
    found: list[Any] = []

    def answer(change: Any) -> None:
        if not change["new"]:  # cleared by the new caption
            return
        with ThreadPoolExecutor(1) as pool:
            pool.submit(setattr, widget, "caption", "a blue boat").result(60)
        found.append((change["name"], change["new"], widget.wait(60).caption))

    widget.observe(answer, ["tokens", "region"])
    line(widget).sets(tokens=[3, 2])
    assert found[0] == ("tokens", [2, 3], "a blue boat")


def test_a_browsers_selection_is_not_sent_back() -> None:
    widget = make()
    widget.wait(60)
    before = len(line(widget).updates())
    line(widget).sets(tokens=[2, 3], region=[14])
    assert line(widget).updates()[before:] == []
    line(widget).sets(tokens=[4, 3])
    assert line(widget).updates()[before:] == [{"tokens": [3, 4]}]


INTERRUPTED = (
    (SyncedWidget, "publish"),
    (SyncedWidget, "flush"),
    (SyncedWidget, "send_state"),
    (Worker, "submit"),
    (threading.Thread, "start"),
    (Session, "_show"),
    (Session, "_publish_phase"),
    (GallerySession, "traits_of"),
)
"""Some functions that are called while an input is set."""


@pytest.mark.parametrize("after", [False, True])
def test_interrupted_inputs_stay_as_they_were(after: bool) -> None:
    """The widget neither waits for a result that nothing computes nor shows one of other inputs."""
    widget = make(caption="a red boat")
    result = widget.wait(60)
    until(lambda: not working())
    for owner, name in INTERRUPTED[:-1]:
        with pytest.raises(KeyboardInterrupt), interrupt(owner, name, after=after):
            widget.caption = "a blue fish"
        assert widget.wait(60) == result
        assert widget.caption == line(widget).state()["caption"] == "a red boat"
        assert line(widget).state()["_request"] == widget._request
        assert [token["text"] for token in line(widget).state()["_tokens"]] == list(result.tokens)
        until(lambda: not working())
    widget.caption = "a blue fish"
    assert widget.wait(60).caption == "a blue fish"


def test_what_is_interrupted_while_it_is_sent_is_sent_afterwards() -> None:
    widget = make()
    widget.wait(60)
    until(lambda: not working())

    def select(row: int, *, flush: bool) -> None:
        with widget.transaction():
            widget.publish(tokens=[row])
            if flush:
                widget.flush()

    for row, flush in ((2, False), (3, True)):
        with pytest.raises(KeyboardInterrupt), interrupt(SyncedWidget, "send_state", after=False):
            select(row, flush=flush)
        assert line(widget).state()["tokens"] == widget.tokens == [row]


@pytest.mark.parametrize("hold", [False, True])
def test_an_observer_that_fails_does_not_silence_the_others(hold: bool) -> None:
    widget = make(caption="a red boat")
    widget.wait(60)
    until(lambda: not working())
    seen: list[str] = []

    def fail(change: Any) -> None:
        raise ValueError(f"{change.name} is not wanted")

    widget.observe(fail, "tokens")
    widget.observe(lambda change: seen.append(change.name), "region")
    context = widget.hold_trait_notifications() if hold else widget.transaction()
    with pytest.raises(ValueError, match="tokens is not wanted"), context:
        widget.publish(tokens=[2], region=[3])
    assert seen == ["region"]


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_query_stays_as_it_was(after: bool) -> None:
    gallery = make_gallery(iter(scenes(2)), explainer(), phrase="a red boat")
    ranked = gallery.wait(60)
    for owner, name in INTERRUPTED:
        if owner is not Session:
            with pytest.raises(KeyboardInterrupt), interrupt(owner, name, after=after):
                gallery.phrase = "a blue fish"
            assert gallery.wait(60) == ranked
            assert gallery.phrase == line(gallery).state()["phrase"] == "a red boat"
            assert line(gallery).state()["_request"] == gallery._request
            until(lambda: gallery.session.worker._thread is None)
    id = gallery.session.id
    with pytest.raises(KeyboardInterrupt), interrupt(GallerySession, "_begin", after=False):
        gallery.phrase = "a blue fish"
    assert gallery.session.id == id  # nothing had changed, so nothing is ranked again
    gallery.phrase = "a blue fish"
    gallery.wait(60)
    assert gallery.phrase == gallery.session.ranking.query.tokens.caption == "a blue fish"


def test_images_are_not_compared_by_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    widget = make()
    seen: list[Any] = []
    widget.observe(lambda change: seen.append(change["new"]), "image")
    monkeypatch.setattr(Image.Image, "__eq__", lambda *_: pytest.fail("compared by pixels"))
    image = book().pages[1].image
    widget.image = image
    assert widget.wait(60) is not None
    assert len(seen) == 1
    assert seen[0] is widget.image


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
