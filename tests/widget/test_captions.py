"""Several captions in a widget: ranked, one or two explained, and edited from Python or the browser."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from support.pages import states_of
from support.widgets import answer, ask, book, explained, line, make, until, working

from exclip_widget import CaptionError, DualEncoder, Explainer, ExplainWidget, classify, demo
from exclip_widget.widget.request import MOST_LISTED
from exclip_widget.widget.widget import STATIC

PAGES = book().pages
CAPTIONS = ("a green car", PAGES[0].caption, "a red boat", "two yellow fish")


def expected(captions: Any = CAPTIONS, page: int = 0) -> Any:
    return classify(book().model, PAGES[page].image, captions, tokenizer=book().tokenizer)


def assert_ranked(widget: ExplainWidget, captions: Any, page: int = 0) -> None:
    """Check the list and its numbers, in Python and in the browser."""
    found, ours = widget.classification, expected(captions, page)
    assert found is not None
    assert widget.captions == found.captions == tuple(captions)
    np.testing.assert_allclose(found.similarities, ours.similarities, atol=2e-6)
    np.testing.assert_allclose(found.probabilities, ours.probabilities, atol=1e-4)
    state = line(widget).state()
    assert list(state["captions"]) == list(captions)
    assert state["_scores"] == {
        "similarities": found.similarities.tolist(),
        "probabilities": found.probabilities.tolist(),
        "rule": "softmax",
    }


def test_all_are_ranked_and_the_first_is_explained() -> None:
    widget = make(caption=list(CAPTIONS))
    result = widget.wait(60)
    assert (widget.caption, widget.foil) == (CAPTIONS[0], None)
    np.testing.assert_allclose(result.values, explained(caption=CAPTIONS[0]).values, rtol=1e-3, atol=1e-6)
    assert_ranked(widget, CAPTIONS)
    assert widget.classification is not None
    assert widget.classification.best == PAGES[0].caption
    assert result.similarity == pytest.approx(widget.classification.similarities[0], abs=1e-5)


def test_two_are_ranked_and_compared() -> None:
    widget = make(caption=CAPTIONS[:2])
    widget.wait(60)
    assert (widget.caption, widget.foil) == CAPTIONS[:2]
    assert_ranked(widget, CAPTIONS[:2])


def test_one_in_a_list_is_ranked_too() -> None:
    widget = make(caption=["a red boat"])
    widget.wait(60)
    assert_ranked(widget, ["a red boat"])


def test_without_a_list_there_is_none() -> None:
    for caption in ("a red boat", ["a red boat", None]):
        widget = make(caption=caption)
        widget.wait(60)
        assert (widget.captions, widget.classification, widget._scores) == ((), None, None)
        assert widget._esm == (STATIC / "widget.js").read_text("utf-8")
        with pytest.raises(
            CaptionError, match=r"made with one caption.* ExplainWidget\(model, image, \[\.\.\.\]\)"
        ):
            widget.captions = ["a boat", "a car"]


def test_the_list_is_code_of_its_own() -> None:
    widget = make(caption=CAPTIONS)
    assert widget._esm == (STATIC / "captions.js").read_text("utf-8")
    assert widget._css == (STATIC / "captions.css").read_text("utf-8")


def test_another_is_chosen_and_nothing_is_embedded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    widget = make(caption=CAPTIONS)
    widget.wait(60)
    before = widget.classification
    calls: list[str] = []
    for name in ("text_embeddings", "image_embedding"):
        monkeypatch.setattr(Explainer, name, lambda *_, name=name: calls.append(name))
    ask(widget, 1, caption=CAPTIONS[2], foil=None)
    assert answer(widget, 1)["kind"] == "accepted"
    assert widget.wait(60).caption == CAPTIONS[2]
    ask(widget, 2, foil=CAPTIONS[3])
    assert answer(widget, 2)["kind"] == "accepted"
    widget.wait(60)
    assert widget.foil_interactions is not None
    assert widget.foil_interactions.caption == CAPTIONS[3]
    assert calls == []
    assert widget.captions == CAPTIONS
    assert before is not None
    assert widget.classification is not None
    np.testing.assert_array_equal(widget.classification.similarities, before.similarities)


def test_numbers_stay_while_another_is_explained() -> None:
    widget = make(caption=CAPTIONS)
    widget.wait(60)
    sent = len(line(widget).updates())
    widget.caption = CAPTIONS[1]
    widget.wait(60)
    later = line(widget).updates()[sent:]
    assert later
    assert not any("_scores" in update or "captions" in update for update in later)


def test_another_image_is_ranked_anew() -> None:
    widget = make(caption=CAPTIONS)
    widget.wait(60)
    sent = len(line(widget).updates())
    widget.image = PAGES[1].image
    widget.wait(60)
    told = [update["_scores"] for update in line(widget).updates()[sent:] if "_scores" in update]
    assert told[0] is None
    assert_ranked(widget, CAPTIONS, page=1)


def test_an_edited_caption_keeps_its_place() -> None:
    widget = make(caption=CAPTIONS)
    widget.caption = "a blue car"
    widget.wait(60)
    assert_ranked(widget, ["a blue car", *CAPTIONS[1:]])
    ask(widget, 1, foil="one fish")
    assert answer(widget, 1)["kind"] == "accepted"
    widget.wait(60)
    assert_ranked(widget, ["a blue car", *CAPTIONS[1:], "one fish"])
    widget.foil = "three fish"
    widget.wait(60)
    assert_ranked(widget, ["a blue car", *CAPTIONS[1:], "three fish"])
    widget.foil = CAPTIONS[1]
    widget.wait(60)
    assert_ranked(widget, ["a blue car", *CAPTIONS[1:], "three fish"])
    widget.foil = None
    assert widget.wait(60).caption == "a blue car"
    assert_ranked(widget, ["a blue car", *CAPTIONS[1:], "three fish"])


def test_a_caption_beside_itself_does_not_lose_its_place() -> None:
    widget = make(caption=CAPTIONS)
    widget.foil = CAPTIONS[0]
    widget.caption = "a blue car"
    widget.wait(60)
    assert (widget.caption, widget.foil) == ("a blue car", CAPTIONS[0])
    assert_ranked(widget, [*CAPTIONS, "a blue car"])


def test_the_list_can_be_set() -> None:
    widget = make(caption=CAPTIONS[:2])
    seen: list[Any] = []
    widget.observe(lambda change: seen.append(change["new"]), "captions")
    widget.captions = [*CAPTIONS, "a house"]
    widget.wait(60)
    assert (widget.caption, widget.foil) == CAPTIONS[:2]
    assert_ranked(widget, [*CAPTIONS, "a house"])
    widget.captions = ("a tree", CAPTIONS[1])
    assert widget.wait(60).caption == "a tree"
    assert widget.foil is None
    assert_ranked(widget, ["a tree", CAPTIONS[1]])
    assert seen == [(*CAPTIONS, "a house"), ("a tree", CAPTIONS[1])]


def test_the_same_text_twice_counts_twice() -> None:
    widget = make(caption=["a crane", "a boat", "a crane"])
    widget.wait(60)
    assert_ranked(widget, ["a crane", "a boat", "a crane"])


@pytest.mark.parametrize(
    ("captions", "words"),
    [
        ([], "captions is empty"),
        ("a boat", "captions is a str"),
        (None, "captions is a NoneType"),
        ({"a boat": 1}, "captions is a dict"),
        (["a boat", 3], r"captions\[1\]: caption is an int"),
        (["a boat", ["a"]], r"captions\[1\]: caption is a list"),
        (["a boat", ""], r"captions\[1\]: caption '' has no words"),
        (["a boat", "\ud800"], r"captions\[1\]: .*half of a character"),
        (["boat " * 40], r"captions\[0\]: .*context is 32"),
        (["x" * 20_001], r"captions\[0\]: caption has 20001 characters"),
        (["a boat"] * (MOST_LISTED + 1), f"captions has {MOST_LISTED + 1} entries"),
    ],
)
def test_what_is_no_list_is_refused_and_changes_nothing(captions: Any, words: str) -> None:
    widget = make(caption=CAPTIONS)
    widget.wait(60)
    before, sent = widget.classification, len(line(widget).sent)
    with pytest.raises(CaptionError, match=words):
        widget.captions = captions
    assert (widget.captions, widget.classification) == (CAPTIONS, before)
    assert len(line(widget).sent) == sent
    if isinstance(captions, list):
        with pytest.raises(CaptionError, match=words):
            make(caption=captions)


def test_a_browser_does_not_set_the_list() -> None:
    widget = make(caption=CAPTIONS)
    widget.wait(60)
    sent = len(line(widget).updates())
    line(widget).sets(captions=["a trap"])
    line(widget).says({"kind": "change", "question": 3, "changes": {"captions": ["a trap"]}})
    until(lambda: len(line(widget).updates()) > sent)
    assert widget.captions == CAPTIONS
    assert list(line(widget).state()["captions"]) == list(CAPTIONS)
    assert not line(widget).of_kind("accepted")


def test_a_newer_request_does_not_wait_for_the_list() -> None:
    """Embeddings computed before the new request are kept."""
    model = copy.deepcopy(book().model)
    names = [f"a {colour} {thing}" for colour in ("red", "blue", "green") for thing in ("boat", "car") * 40]
    captions = [f"{name} of {number}" for number, name in enumerate(names)]
    widget = make(model=model, caption=captions)
    until(lambda: widget.interactions is not None)
    widget.caption = captions[7]
    assert widget.wait(60).caption == captions[7]
    assert widget.classification is not None
    assert widget.classification.captions == tuple(captions)
    found = classify(model, PAGES[0].image, captions, tokenizer=book().tokenizer)
    np.testing.assert_allclose(widget.classification.similarities, found.similarities, atol=2e-6)


def test_other_weights_are_noticed() -> None:
    model = copy.deepcopy(book().model)
    widget = make(model=model, caption=CAPTIONS)
    widget.wait(60)
    with torch.no_grad():
        model.text_projection.mul_(-1)
        model.logit_scale.mul_(0)
    widget.caption = CAPTIONS[1]
    widget.wait(60)
    assert widget.classification is not None
    np.testing.assert_allclose(widget.classification.similarities, -expected().similarities, atol=2e-6)
    assert widget.classification.logits is not None
    assert widget.classification.logits.scale == 1


def test_a_failure_leaves_the_last_list_and_its_numbers() -> None:
    model = copy.deepcopy(book().model)
    widget = make(model=model, caption=CAPTIONS)
    widget.wait(60)
    before = widget.classification

    def fail(*_: object) -> None:
        raise RuntimeError("no more")

    model.ln_final.register_forward_hook(fail)
    widget.captions = ["a new one", *CAPTIONS]
    with pytest.raises(RuntimeError, match="no more"):
        widget.wait(60)
    assert (widget.captions, widget.classification) == (CAPTIONS, before)
    assert widget._request["phase"] == "error"
    state = line(widget).state()
    assert (tuple(state["captions"]), state["_scores"]) == (CAPTIONS, widget._scores)
    assert widget._scores is not None


def test_an_observer_that_fails_does_not_fail_the_result(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def fail(change: Any) -> None:
        seen.append(change.name)
        raise ValueError(f"{change.name} is not wanted")

    widget = make(caption=CAPTIONS)
    widget.wait(60)
    until(lambda: not working())
    widget.observe(fail, ["_scores", "_result"])
    with pytest.raises(ValueError, match="is not wanted"):
        widget.image = PAGES[1].image
    seen.clear()
    assert widget.wait(60).similarity == pytest.approx(explained(1, CAPTIONS[0]).similarity, abs=1e-5)
    until(lambda: not working())
    assert seen == ["_scores", "_result"]
    assert caplog.text.count("ValueError: _scores is not wanted") == 1
    assert widget._request["phase"] == "done"
    assert_ranked(widget, CAPTIONS, 1)


def test_own_models_without_a_scale_have_no_probabilities() -> None:
    model = book().model
    own = DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=model.encode_image,
        text_layers=["transformer.resblocks.2"],
        image_layers=["visual.transformer.resblocks.5"],
        context_length=32,
        padded=True,
    )
    widget = make(model=own, caption=CAPTIONS, preprocess=book().preprocess)
    widget.wait(60)
    assert widget._scores["probabilities"] is widget._scores["rule"] is None
    assert widget.classification is not None
    np.testing.assert_allclose(widget.classification.similarities, expected().similarities, atol=2e-6)


def test_a_written_page_has_the_list(tmp_path: Any) -> None:
    widget = make(caption=["</script><b>x", *CAPTIONS])
    widget.to_html(tmp_path / "boat.html")
    (state,) = states_of((tmp_path / "boat.html").read_text("utf-8"))
    assert tuple(state["captions"]) == widget.captions
    assert state["_scores"] == widget._scores is not None


def test_without_a_model_there_is_no_list() -> None:
    widget = ExplainWidget.from_result(demo.example(), PAGES[0].image)
    assert (widget.captions, widget.classification) == ((), None)
