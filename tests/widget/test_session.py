"""The life of a request, without traits, a comm or a browser: a session with a host that records calls."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from support.widgets import Gate, book, interrupt, until, working

from exclip_widget import Banzhaf, CaptionError, ExclipError, ParameterError, explainer
from exclip_widget.models import towers
from exclip_widget.paths import autograd
from exclip_widget.results.shown import largest_error
from exclip_widget.widget import session as sessions
from exclip_widget.widget.protocol import TestSelection
from exclip_widget.widget.request import Request
from exclip_widget.widget.session import Session, first_traits

PAGE = book().pages[0]


class Notes:
    """A host that records what it receives, in order, as ("traits", {...}) or ("message", {...})."""

    def __init__(self, request: Request) -> None:
        self.lock = threading.RLock()
        self.traits = first_traits(request)
        self.log: list[tuple[str, dict[str, Any]]] = []
        self._unsent: dict[str, Any] = {}
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self.lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.flush()

    def publish(self, **traits: Any) -> None:
        assert self._depth, "published outside a transaction"
        self.traits |= traits
        self._unsent |= traits

    def flush(self) -> None:
        if self._unsent:
            self.log.append(("traits", self._unsent))
            self._unsent = {}

    def send(self, content: dict[str, Any], buffers: Sequence[memoryview] = ()) -> None:
        del buffers
        self.log.append(("message", content))

    def resend(self, names: Iterable[str] | None) -> None:
        wanted = self.traits if names is None else {name: self.traits.get(name) for name in names}
        self.log.append(("traits", dict(wanted)))

    def messages(self, *kinds: str) -> list[dict[str, Any]]:
        return [told for what, told in self.log if what == "message" and told["kind"] in kinds]

    def phases(self) -> list[tuple[int, str]]:
        told = [told["_request"] for what, told in self.log if what == "traits" and "_request" in told]
        return [(request["id"], request["phase"]) for request in told]


def begun(caption: Any = "a red boat", model: Any = None, **options: Any) -> tuple[Session, Notes]:
    given = {"tokenizer": book().tokenizer, "method": "exclip", **options}
    request = Request.read(book().model if model is None else model, PAGE.image, caption, given)
    host = Notes(request)
    session = Session(request, host)
    session.start()
    return session, host


def test_a_request_from_begin_to_end() -> None:
    session, host = begun()
    assert host.traits["_request"] == {"id": 1, "phase": "computing", "message": ""}
    with pytest.raises(ParameterError, match="timeout='a' is not a finite number"):
        session.wait("a")  # type: ignore[arg-type]
    result = session.wait(60)
    assert (session.id, session.phase, session.result) == (1, "done", (result,))
    assert len(host.messages("estimate")) == len(host.messages("progress")) == sessions.ESTIMATES
    what, last = host.log[-1]
    assert what == "traits"
    assert last["_request"] == {"id": 1, "phase": "done", "message": ""}
    assert last["_result"]
    assert last["_summary"]["similarity"] == result.similarity


def test_how_far_off_words_may_be_is_told_until_they_are_exact() -> None:
    session, host = begun(method="frozen")
    result = session.wait(60)
    told = [one.get("error") for one in host.messages("progress")]
    assert told[-1] is None
    assert result.error is None
    assert all(first > later > 0 for first, later in pairwise(told[:-1]))
    assert host.traits["_summary"]["error"] is None


def test_how_far_off_words_stay_is_told_of_words_alone() -> None:
    session, host = begun(method=Banzhaf(samples=64))
    result = session.wait(60)
    assert result.error is not None
    of_words = result.error[[word >= 0 for word in result.words]]
    assert host.messages("progress")[-1]["error"] == host.traits["_summary"]["error"] == of_words.max()


def test_how_far_off_a_foils_words_are_is_told_beside_the_captions() -> None:
    session, host = begun(["a red boat", "a very blue boat"], method=Banzhaf(samples=64))
    session.wait(60)
    caption, foil = (largest_error(result) for result in session.result)
    assert caption != foil
    for told in (host.messages("progress")[-1], host.traits["_summary"]):
        assert (told["error"], told["foil_error"]) == (caption, foil)


def test_each_fact_is_told_once() -> None:
    """Phases and results are sent only as traits; no message repeats them."""
    session, host = begun(["a red boat", "a blue boat"])
    session.wait(60)
    session.change({"caption": "a fish"}, 7)
    until(lambda: host.messages("accepted"))
    session.wait(60)
    kinds = {told["kind"] for what, told in host.log if what == "message"}
    assert kinds == {"estimate", "progress", "accepted"}
    assert host.phases() == [(1, "done"), (2, "computing"), (2, "done")]


def test_the_traits_of_a_new_request_come_together_and_before_the_answer() -> None:
    session, host = begun()
    session.wait(60)
    del host.log[:]
    session.change({"caption": "two yellow fish", "foil": "a fish"}, 3)
    until(lambda: host.messages("accepted"))
    what, first = host.log[0]
    assert what == "traits"
    assert first["_request"] == {"id": 2, "phase": "computing", "message": ""}
    assert (first["caption"], first["foil"], first["_result"], first["_summary"]) == (
        "two yellow fish",
        "a fish",
        b"",
        None,
    )
    assert host.log[1][1] == {"kind": "accepted", "question": 3}
    session.wait(60)


def test_the_newest_wins() -> None:
    gate = Gate()
    with gate.shut():
        session, host = begun(model=gate.model)
        assert gate.reached.wait(60)
        for number, caption in enumerate(("a fish", "a blue fish", "two boats")):
            session.change({"caption": caption}, number)
        session.change_now({"caption": "a green snail"})
    assert session.wait(60).caption == "a green snail"
    until(lambda: len(host.messages("accepted", "refused")) == 3)
    assert [told["kind"] for told in host.messages("accepted", "refused")] == ["refused"] * 3
    assert all("newer request" in told["message"] for told in host.messages("refused"))
    assert [phase for id, phase in host.phases() if phase == "done"] == ["done"]


def test_an_interrupted_change_restarts_nothing_if_nothing_has_changed() -> None:
    gate = Gate()
    with gate.shut():
        session, host = begun(model=gate.model)
        assert gate.reached.wait(60)
        session.cancel()
        for name in ("_supersede", "_begin"):
            with pytest.raises(KeyboardInterrupt), interrupt(Session, name, after=False):
                session.change_now({"caption": "a green snail"})
    assert host.phases() == [(1, "cancelled")]
    assert (session.id, session.phase) == (1, "cancelled")


def test_the_last_good_result_stays() -> None:
    model = copy.deepcopy(book().model)
    session, host = begun(model=model)
    good = session.wait(60)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of paper")

    handle = model.visual.ln_post.register_forward_hook(fail)
    session.change_now({"caption": "a blue boat"})
    with pytest.raises(RuntimeError, match="out of paper"):
        session.wait(60)
    assert session.result == (good,)
    assert host.traits["caption"] == "a red boat"
    assert host.traits["_request"] == {"id": 2, "phase": "error", "message": "out of paper"}
    handle.remove()
    session.change_now({"caption": "a blue boat"})
    assert session.wait(60).caption == "a blue boat"


def test_cancel_keeps_the_estimate_and_ends_at_once() -> None:
    gate = Gate()
    made: list[Session] = []
    gate.shut_when = lambda: bool(made) and bool(made[0].result)
    with gate.shut():
        session, host = begun(model=gate.model)
        made.append(session)
        assert gate.reached.wait(60)
        session.cancel(99)  # there is no such request
        assert session.phase == "computing"
        session.cancel(1)
        assert session.phase == "cancelled"
        estimate = session.wait(0)
        assert estimate.nodes < estimate.steps
        assert host.traits["_result"]
    until(lambda: not working())
    assert session.result == (estimate,)


@pytest.mark.parametrize("caption", ["a blue fish", ""])
def test_a_question_does_not_wait_for_an_estimate(caption: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is read after the current pass; if it is refused, the computation starts over."""
    begins, made = threading.Event(), list[Session]()
    passes: list[int] = []
    own = autograd.gradients

    def noted(*given: Any, **options: Any) -> Any:
        assert begins.wait(60)
        passes.append(made[0].id)
        if len(passes) == 1:
            made[0].change({"caption": caption}, 7)
        return own(*given, **options)

    monkeypatch.setattr(autograd, "gradients", noted)
    session, host = begun(method="frozen", model=copy.deepcopy(book().model))
    made.append(session)
    begins.set()
    until(lambda: host.messages("accepted", "refused"))
    assert session.wait(60).caption == (caption or "a red boat")
    assert passes.count(1) == (1 if caption else 2)
    assert [kind["kind"] for kind in host.messages("accepted", "refused")] == [
        "accepted" if caption else "refused"
    ]


def test_joining_in_the_middle_and_at_the_end() -> None:
    gate = Gate()
    made: list[Session] = []
    gate.shut_when = lambda: bool(made) and bool(made[0].result)
    with gate.shut():
        session, host = begun(model=gate.model)
        made.append(session)
        assert gate.reached.wait(60)
        del host.log[:]
        session.join(refresh=False)
        assert host.log[0] == ("traits", {"_request": {"id": 1, "phase": "computing", "message": ""}})
        assert [told["kind"] for _, told in host.log[1:]] == ["alive", "estimate", "progress"]
    session.wait(60)
    del host.log[:]
    session.join(refresh=True)
    assert host.log[0] == ("traits", host.traits)
    assert host.log[1:] == [("message", {"kind": "alive"})]


def test_a_refusal_changes_nothing_and_is_in_words() -> None:
    session, host = begun()
    result = session.wait(60)
    before = dict(host.traits)
    session.change({"caption": " "}, 5)
    until(lambda: host.messages("refused"))
    assert host.messages("refused") == [
        {"kind": "refused", "question": 5, "message": "caption ' ' has no words"}
    ]
    with pytest.raises(CaptionError, match="no words"):
        session.change_now({"caption": " "})
    assert host.traits == before
    assert session.result == (result,)
    session.change({"method": "lime"})  # a host that sets traits directly gets the old value back
    until(lambda: host.log[-1] == ("traits", {"method": "exclip"}))


@pytest.mark.parametrize("asked", [{"caption": "a fish"}, {"caption": "a fish", "method": "gradient"}])
def test_a_change_that_is_asked_for_again_is_made_once(asked: dict[str, str]) -> None:
    """By then, its inputs may have been changed from Python."""
    session, host = begun()
    session.wait(60)
    with host.lock:  # the worker cannot read it before it is repeated
        session.change(asked, 7)
        session.change(asked, 7)
    until(lambda: host.messages("accepted"))
    session.change_now({"caption": "a green tree"})
    for name, value in asked.items():
        session.change({name: value}, 7)
    until(lambda: not working())
    expected = {"kind": "accepted", "question": 7}
    assert host.messages("accepted", "refused") == [expected] * (1 + len(asked))
    assert session.wait(60).caption == "a green tree"
    assert [id for id, phase in host.phases() if phase == "computing"] == [2, 3]


def test_part_of_a_change_that_has_not_arrived_is_made() -> None:
    session, host = begun()
    session.wait(60)
    for name, value in {"caption": "a fish", "method": "gradient"}.items():
        session.change({name: value}, 7)
    until(lambda: len(host.messages("accepted")) == 2)
    assert session.wait(60).caption == "a fish"
    assert session.request.method == "gradient"
    session.change_now({"method": "exclip"})
    session.change({"method": "gradient"}, 7)
    until(lambda: len(host.messages("accepted")) == 3)
    assert session.request.method == "exclip"


def test_tests_are_kept_and_answered() -> None:
    session, host = begun()
    session.wait(60)
    session.test(TestSelection(4, (2, 3), ()))
    until(lambda: host.messages("accepted"))
    (row,) = host.traits["_tests"]
    assert row["label"] == "red boat"
    at = [what == "message" and told["kind"] == "accepted" for what, told in host.log].index(True)
    assert host.log[at - 1] == ("traits", {"_tests": [row]})
    session.clear_tests()
    assert host.traits["_tests"] == []


def test_a_test_that_is_asked_for_again_is_made_once() -> None:
    session, host = begun()
    session.wait(60)
    selection = TestSelection(4, (2, 3), ())
    with host.lock:  # the worker cannot begin before it is repeated
        session.test(selection)
        session.test(selection)
    until(lambda: host.messages("accepted"))
    session.test(selection)
    until(lambda: not working())
    assert host.messages("accepted", "refused") == [{"kind": "accepted", "question": 4}] * 2
    assert len(host.traits["_tests"]) == 1


def test_closed_is_closed() -> None:
    session, host = begun()
    session.close()
    until(lambda: not working())
    with pytest.raises(ExclipError, match="closed"):
        session.change_now({"caption": "a fish"})
    with pytest.raises(ExclipError, match="closed before the first estimate"):
        session.wait(1)
    assert "done" not in [phase for _, phase in host.phases()]


class CountedTokenizer(type(book().tokenizer)):  # type: ignore[misc]
    """The picture book's tokenizer, which records its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __call__(self, texts: Any, context_length: int | None = None) -> Any:
        self.calls.append(texts)
        return super().__call__(texts, context_length)


def test_one_caption_edit_tokenises_once_and_never_looks_the_towers_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = CountedTokenizer()
    session, _ = begun(tokenizer=tokenizer)
    session.wait(60)
    del tokenizer.calls[:]

    def look_up(_: Any) -> None:
        raise AssertionError("the towers were looked up")

    monkeypatch.setattr(towers, "find_towers", look_up)
    monkeypatch.setattr(explainer, "find_towers", look_up)
    session.change_now({"caption": "three purple butterflies"})
    assert session.wait(60).caption == "three purple butterflies"
    # The reference is tokenised too, because the tokenizer may have been changed.
    assert [text for text in tokenizer.calls if text] == ["three purple butterflies"]
