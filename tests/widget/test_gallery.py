"""The gallery's kernel side: questions, the order of tiles, windows, and inputs that cannot be shown."""

from __future__ import annotations

import gc
import io
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.galleries import explainer, heat_in, make_gallery, scenes, tiles_of, window
from support.widgets import book, line, numbers, until

from exclip_widget import (
    CaptionError,
    ExclipError,
    ExplainGallery,
    FileError,
    ParameterError,
    Store,
    write_store,
)
from exclip_widget.widget import gallery_session

PAIRS = scenes()
PICTURES = {pair.image_id: pair.image for pair in PAIRS}
PHRASE = "a red boat"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store") / "scenes"
    return write_store(folder, explainer(), PAIRS, dtype="float32", part_bytes=100_000)


def gallery_of(store: Store, **options: Any) -> ExplainGallery:
    return make_gallery(store, explainer(), **({"images": PICTURES} | options))


def refusal(gallery: ExplainGallery, question: int) -> str:
    found: list[str] = []

    def came() -> bool:
        answers = line(gallery).of_kind("accepted", "refused", "opened")
        found[:] = [one.get("message", "") for one in answers if one["question"] == question]
        return bool(found)

    until(came)
    return found[0]


def test_it_begins_with_the_set_in_its_order(store: Store) -> None:
    gallery = gallery_of(store)
    ranked = gallery.wait(60)
    assert [one.image_id for one in ranked] == list(store.images)
    assert (gallery.phrase, gallery.order, gallery.words) == ("", "set", [])
    sent = line(gallery).state()
    assert (sent["_count"], sent["_end"], sent["_any_phrase"]) == (10, None, True)
    assert set(sent["_suggestions"]) == set(store.texts().values())
    tiles = tiles_of(gallery, 0, 3)
    for number in (0, 3):
        tile, picture, heat = tiles[number]
        pair = PAIRS[number]
        assert (tile["image"], tile["caption"], tile["value"]) == (pair.image_id, pair.caption, None)
        assert Image.open(io.BytesIO(picture)).size == (120, 120)
        expected = store.interactions(pair.id, pair.image_id).heat()
        assert np.abs(heat_in(tile, heat) - expected).max() <= 0.51 * tile["end"] / 127


def test_a_phrase_ranks_all_images_as_find_does(store: Store) -> None:
    gallery = gallery_of(store, phrase=PHRASE)
    factors = explainer().text_factors(PHRASE)
    for words in (None, "boat"):
        gallery.words = [] if words is None else words
        found = store.find(factors, words, top=10)
        ranked = gallery.wait(60)
        assert [one.image_id for one in ranked] == [match.image_id for match in found]
        np.testing.assert_allclose([one.value for one in ranked], [match.value for match in found])
        assert gallery._end == pytest.approx(max(np.abs(match.heat).max() for match in found))
        for number, (tile, _, heat) in tiles_of(gallery, 0, 9).items():
            error = np.abs(heat_in(tile, heat) - found[number].heat).max()
            assert error <= 0.51 * tile["end"] / 127 + 1e-3 * tile["end"]
    assert gallery.words == [3]


def test_questions_are_those_of_the_store(store: Store) -> None:
    gallery = gallery_of(store)
    for order, question in (
        ("foils", store.foil_margins),
        ("off_box", store.off_boxes),
        ("special", store.special_shares),
        ("outlier", store.outlier_shares),
    ):
        gallery.order = order
        assert gallery.wait(60) == question(top=100)
        assert len(gallery.wait(60)) > 3
    gallery.order = "foils"
    tile, _, _ = tiles_of(gallery, 0)[0]
    worst = store.foil_margins(top=1)[0]
    assert tile["foil"] == store.texts()[worst.foil_id or ""]
    assert tile["value"] == worst.value
    gallery.order = "off_box"
    tile, _, heat = tiles_of(gallery, 0)[0]
    worst = store.off_boxes(top=1)[0]
    boxes = next(pair for pair in PAIRS if pair.id == worst.caption_id).phrases
    box = next(one.boxes[0] for one in boxes if one.text == worst.words)
    assert tile["boxes"] == [[edge / 120 for edge in box]]
    start, end = tile["span"]
    assert tile["caption"][start:end] == worst.words
    expected = store.interactions(worst.caption_id, worst.image_id).heat(list(worst.rows))
    assert np.abs(heat_in(tile, heat) - expected).max() <= 0.51 * tile["end"] / 127


def test_without_an_explainer_captions_and_their_words_are_asked(store: Store) -> None:
    gallery = make_gallery(store, images=PICTURES)
    caption = PAIRS[2].caption
    gallery.phrase = caption
    expected = [match.image_id for match in store.find("2", top=10)]
    assert [one.image_id for one in gallery.wait(60)] == expected
    words = caption.split()[1]
    gallery.phrase = words.upper()
    assert words in gallery.phrase.split()
    assert len(gallery.words) == 1
    assert line(gallery).state()["_tokens"][gallery.words[0]]["text"].strip() == words
    with pytest.raises(ParameterError, match=r"zebra.*not a caption of the store.*explainer=Explainer"):
        gallery.phrase = "zebra"
    assert words in gallery.phrase.split()


def test_pairs_are_explained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gallery = make_gallery(iter(PAIRS[:3]), explainer(), phrase=PHRASE)
    assert len(gallery.wait(60)) == 3
    assert tiles_of(gallery, 0)[0][1]
    assert len([*tmp_path.iterdir()]) == 1
    gallery.close()
    gallery.store = None
    del gallery
    gc.collect()
    until(lambda: not [*tmp_path.iterdir()])


def test_results_are_shown_with_their_images(store: Store) -> None:
    results = [store.interactions(pair.id, pair.image_id) for pair in PAIRS]
    gallery = make_gallery(zip(results, (pair.image for pair in PAIRS), strict=True))
    assert gallery.store is None
    assert [one.image_id for one in gallery.wait(60)] == [str(number) for number in range(10)]
    tile, picture, heat = tiles_of(gallery, 4)[4]
    assert (tile["caption"], tile["error"], bool(picture)) == (PAIRS[4].caption, None, True)
    assert np.abs(heat_in(tile, heat) - results[4].heat()).max() <= 0.51 * tile["end"] / 127
    assert line(gallery).state()["_orders"] == ["set", "special"]
    gallery.order = "special"
    expected = store.special_shares(top=10)
    ranked = gallery.wait(60)
    assert [one.image_id for one in ranked] == [one.caption_id for one in expected]
    np.testing.assert_allclose([one.value for one in ranked], [one.value for one in expected], rtol=1e-4)
    assert gallery.open_pair(0).interactions == results[int(ranked[0].image_id)]
    with pytest.raises(ParameterError, match="phrase='a boat' cannot be used with results"):
        gallery.phrase = "a boat"
    with pytest.raises(ParameterError, match="expected 'set' or 'special'"):
        gallery.order = "foils"


def test_a_result_may_come_with_that_of_a_foil(store: Store) -> None:
    """Tuples and lists of two or three are read as `write_page` reads them."""
    result, foil = (store.interactions(caption, "scene 0") for caption in ("0", "1"))
    image = PAIRS[0].image
    gallery = make_gallery([(result, image, foil), [result, image], (result, image, None)])
    gallery.wait(60)
    assert [gallery.open_pair(tile).foil for tile in range(3)] == [foil.caption, None, None]
    assert gallery.open_pair(0).foil_interactions == foil
    line(gallery).says({"kind": "open", "question": 4, "request": 1, "tile": 0})
    assert refusal(gallery, 4) == ""
    assert line(gallery).messages()[-1][0]["traits"]["foil"] == foil.caption


def test_what_are_no_results_is_said(store: Store) -> None:
    result, other = (store.interactions(pair.id, pair.image_id) for pair in PAIRS[:2])
    image = PAIRS[0].image
    expected = "expected tuples of a result, its image and, if there is one, the result of a foil"
    for data, message in (
        ([(result,)], f"data has a tuple of 1; {expected}"),
        ([()], f"data has a tuple of 0; {expected}"),
        ([(result, image, other, 1)], f"data has a tuple of 4; {expected}"),
        ([result], f"data has an Interactions; {expected}"),
        ([(result, image), PAIRS[0]], f"data has a Pair; {expected}"),
        ([(result, image), None], f"data has a NoneType; {expected}"),
        (["a boat"], f"data has a str; {expected}"),
        ([(result, image), (image, result)], r"data\[1\]: result is an Image; expected Interactions"),
        ([(result, image, "a boat")], r"data\[0\]: foil is a str; expected Interactions"),
        ([(result, image, other)], r"data\[0\]: the foil is of another image"),
        ([], "data is empty; expected at least one result"),
    ):
        with pytest.raises(ParameterError, match=message):
            make_gallery(data)
    with pytest.raises(ParameterError, match="data has a tuple of 1"):
        make_gallery([(result,)], explainer())


def test_what_cannot_be_shown_is_refused(store: Store, tmp_path: Path) -> None:
    for given, message in (
        ({"data": store}, "a store keeps no pictures"),
        ({"data": PAIRS}, "expected an Explainer, which explains"),
        ({"data": 5}, "data is an int; expected a Store"),
        ({"data": [1], "explainer": explainer()}, "data has an int; expected a Store"),
        ({"data": store, "images": PICTURES, "explainer": book().model}, "expected an Explainer, such as"),
        ({"data": store, "images": PICTURES, "order": "best"}, "order='best'; expected one of 'set'"),
        ({"data": store, "images": PICTURES, "order": "match"}, "needs a phrase"),
        (
            {"data": store, "images": PICTURES, "explainer": explainer(text_layer=1)},
            "was made with text_layer",
        ),
    ):
        with pytest.raises(ParameterError, match=message):
            make_gallery(**given)
    with pytest.raises(FileError, match="there is no store"):
        make_gallery(tmp_path / "none", images=PICTURES)
    gallery = gallery_of(store)
    for name, value, message in (
        ("words", "boat", "need a phrase"),
        ("phrase", 5, "phrase is an int"),
        ("order", "best", "expected one of"),
    ):
        with pytest.raises(ParameterError, match=message):
            setattr(gallery, name, value)
    with pytest.raises(CaptionError):
        gallery.phrase = "boat " * 500
    with pytest.raises(CaptionError, match=r"phrase has '\\ud800', which is half of a character"):
        gallery.phrase = "a \ud800 boat"
    with pytest.raises(CaptionError, match="phrase has 20001 characters; expected at most 20000"):
        gallery.phrase = "x" * 20001
    with pytest.raises(ParameterError, match="expected one of 'set'"):
        gallery.order = np.array(["set"])
    assert gallery.order == "set"
    results = make_gallery([(store.interactions("0", "scene 0"), PAIRS[0].image)])
    for words in (0, np.array([1, 2])):
        with pytest.raises(ParameterError, match="cannot be used with results"):
            results.words = words
    with pytest.raises(ParameterError, match="expected 'set' or 'special'"):
        results.order = np.array(["set", "special"])


def test_a_picture_of_other_pixels_is_shown_with_a_note(store: Store, tmp_path: Path) -> None:
    for number in (0, 1):
        PAIRS[number].image.save(tmp_path / f"scene {number}.png")
    PAIRS[0].image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "scene 0.png")
    tiles = tiles_of(gallery_of(store, images=tmp_path), 0, 1)
    header, picture, heat = tiles[0]
    assert header["error"] == "Another image, or another copy of it, was explained."
    assert min(len(picture), len(heat)) > 0
    assert tiles[1][0]["error"] is None


def test_a_missing_picture_is_a_tile_that_says_so(store: Store, tmp_path: Path) -> None:
    for pair in PAIRS[:3]:
        pair.image.save(tmp_path / f"{pair.image_id}.png")
    (tmp_path / "scene 1.png").write_bytes(b"no <b>picture</b>")
    PAIRS[2].image.resize((60, 60)).save(tmp_path / "scene 2.png")
    gallery = gallery_of(store, images=tmp_path)
    tiles = tiles_of(gallery, 0, 1, 2, 3)
    assert tiles[0][0]["error"] is None
    assert "not of a format" in tiles[1][0]["error"]
    assert "60 x 60 pixels; expected 120 x 120" in tiles[2][0]["error"]
    assert "there is no picture 'scene 3'" in tiles[3][0]["error"]
    assert tiles[3][1:] == (b"", b"")
    line(gallery).says({"kind": "open", "question": 5, "request": 1, "tile": 3})
    assert "there is no picture 'scene 3'" in refusal(gallery, 5)


def test_a_browser_asks_and_is_answered(store: Store) -> None:
    gallery = gallery_of(store)
    gallery.wait(60)
    line(gallery).says({"kind": "ask", "question": 8, "changes": {"phrase": PHRASE, "words": [2, 3]}})
    assert refusal(gallery, 8) == ""
    gallery.wait(60)
    assert (gallery.phrase, gallery.words, gallery.order) == (PHRASE, [2, 3], "match")
    line(gallery).says({"kind": "ask", "question": 9, "changes": {"words": [99]}})
    assert "99" in refusal(gallery, 9)
    line(gallery).says({"kind": "ask", "question": 10, "changes": {"phrase": ""}})
    assert refusal(gallery, 10) == ""
    gallery.wait(60)
    assert (gallery.phrase, gallery.order) == ("", "set")
    line(gallery).says({"kind": "join"})
    assert "alive" in line(gallery).kinds()


def test_what_is_no_message_changes_nothing(store: Store) -> None:
    gallery = gallery_of(store, phrase=PHRASE)
    gallery.wait(60)
    before = line(gallery).state()
    count = len(line(gallery).messages())
    for content in (None, {"kind": "ask"}, {"kind": "window", "view": 1, "request": 1, "tiles": "all"}):
        line(gallery).says(content)
    window(gallery, 10, 99, 2**40)  # there are only ten tiles
    line(gallery).sets(_count=5, _request={}, phrase=7)
    assert {name: value for name, value in line(gallery).state().items() if name != "_revision"} == {
        name: value for name, value in before.items() if name != "_revision"
    }
    assert len(line(gallery).messages()) == count


def test_the_newest_question_wins(store: Store) -> None:
    """Of the questions that arrive while another is ranked, only the last is ranked; all are answered."""
    gallery = gallery_of(store)
    gallery.wait(60)
    reached, go = threading.Event(), threading.Event()
    heats, asked = store.heats, []

    def slow(phrase: Any, words: Any = None) -> Any:
        asked.append(phrase.rows.caption)
        for one in heats(phrase, words):
            reached.set()
            assert go.wait(60)
            yield one

    gallery.session._images.store.heats = slow  # type: ignore[method-assign]
    try:
        line(gallery).says({"kind": "ask", "question": 1, "changes": {"phrase": "a red boat"}})
        assert reached.wait(60)
        line(gallery).says({"kind": "ask", "question": 2, "changes": {"phrase": "a blue fish"}})
        line(gallery).says({"kind": "ask", "question": 3, "changes": {"phrase": "a green house"}})
        go.set()
        assert [refusal(gallery, number) for number in (1, 2, 3)] == ["", "", ""]
        gallery.wait(60)
    finally:
        del gallery.session._images.store.heats  # type: ignore[attr-defined]
    assert gallery.phrase == "a green house"
    assert asked == ["a red boat", "a green house"]


def test_tiles_that_were_scrolled_past_are_not_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_session, "TILES_TOGETHER", 1)
    reached, go, made = threading.Event(), threading.Event(), []

    def find(key: str) -> Image.Image:
        made.append(key)
        reached.set()
        assert go.wait(60)
        return PICTURES[key]

    gallery = gallery_of(store, images=find)
    gallery.wait(60)
    window(gallery, 0, 1, 2, 3)
    assert reached.wait(60)
    window(gallery, 4, 5)
    window(gallery, 8, 9)
    window(gallery, 7, view=8)  # from another view
    go.set()
    until(lambda: len(line(gallery).of_kind("tiles")) == 4)
    time.sleep(0.05)
    assert sorted(made) == [f"scene {number}" for number in (0, 7, 8, 9)]


def test_windows_of_an_order_that_is_not_shown_are_ignored(store: Store) -> None:
    gallery = gallery_of(store)
    gallery.wait(60)
    gallery.phrase = PHRASE
    gallery.wait(60)
    line(gallery).says({"kind": "window", "view": 7, "request": 1, "tiles": [0]})
    line(gallery).says({"kind": "open", "question": 4, "request": 1, "tile": 0})
    assert "order has changed" in refusal(gallery, 4)
    assert line(gallery).of_kind("tiles") == []


@pytest.mark.parametrize("order", ["match", "foils", "off_box"])
def test_a_tile_opens_the_full_instrument(store: Store, order: str) -> None:
    gallery = gallery_of(store, phrase=PHRASE, order=order)
    ranked = gallery.wait(60)[1]
    shown = line(gallery).state()["_request"]["shown"]
    line(gallery).says({"kind": "open", "question": 4, "request": shown, "tile": 1})
    assert refusal(gallery, 4) == ""
    content, buffers = line(gallery).messages()[-1]
    traits = content["traits"] | dict(zip(content["binary"], buffers, strict=True))
    factors = explainer().text_factors(PHRASE) if order == "match" else store.text_factors(ranked.caption_id)
    widget = gallery.open_pair(1)
    result = widget.interactions
    assert result is not None
    assert result.caption == traits["caption"] == factors.rows.caption  # type: ignore[union-attr]
    shape = [len(traits["_tokens"]), traits["_grid"]["rows"], traits["_grid"]["columns"]]
    values, _ = numbers(traits["_result"], shape)
    np.testing.assert_allclose(values, result.values, rtol=1e-5, atol=1e-7)
    assert traits["tokens"] == list(ranked.rows)
    assert traits["_choices"] is None
    foil = None if ranked.foil_id is None else store.texts()[ranked.foil_id]
    assert traits["foil"] == widget.foil == foil
    with pytest.raises(ParameterError, match="tile=99; expected a number from 0"):
        gallery.open_pair(99)
    for wrong in ("a", 1.5, None, True, [0], -1):
        with pytest.raises(ParameterError, match=re.escape(f"tile={wrong!r} is not a whole number")):
            gallery.open_pair(wrong)  # type: ignore[arg-type]
    assert gallery.open_pair(np.int64(1)).interactions == result  # type: ignore[arg-type]


def test_a_pair_that_is_asked_for_again_is_made_again_only_if_it_was_lost(store: Store) -> None:
    gallery = gallery_of(store, phrase=PHRASE)
    gallery.wait(60)
    shown = line(gallery).state()["_request"]["shown"]
    open_pair = {"kind": "open", "question": 4, "request": shown, "tile": 1}

    def answers() -> list[str]:
        until(lambda: gallery.session.worker._thread is None)
        return [one["kind"] for one in line(gallery).of_kind("opened", "refused")]

    with gallery.lock:  # the worker cannot answer it before it is repeated
        for _ in range(3):
            line(gallery).says(open_pair)
    assert answers() == ["opened"]
    line(gallery).says(open_pair)
    assert answers() == ["opened"] * 2
    line(gallery).says(open_pair)  # perhaps too long for the host
    assert answers() == ["opened", "opened", "refused"]
    assert "Open it again" in line(gallery).of_kind("refused")[-1]["message"]
    line(gallery).says(open_pair | {"question": 5})
    assert answers()[-1] == "opened"


def test_nothing_to_show_is_said(tmp_path: Path) -> None:
    bare = write_store(
        tmp_path / "bare", explainer(), [PAIRS[0].__class__("a", "b", PAIRS[0].image, "a boat")]
    )
    gallery = gallery_of(bare, images={"b": PAIRS[0].image})
    gallery.order = "foils"
    assert gallery.wait(60) == []
    with pytest.raises(ParameterError, match="tile=0; the gallery shows no tiles"):
        gallery.open_pair(0)
    assert line(gallery).state()["_request"]["message"] == "No caption of this store has a foil."


def test_a_damaged_part_is_said_and_the_last_order_stays(tmp_path: Path) -> None:
    own = write_store(tmp_path / "own", explainer(), PAIRS[:4], part_bytes=100_000)
    gallery = gallery_of(own)
    gallery.wait(60)
    part = sorted((tmp_path / "own" / "images").iterdir())[0]
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    gallery.phrase = PHRASE
    with pytest.raises(FileError, match="cannot be read"):
        gallery.wait(60)
    sent = line(gallery).state()
    assert sent["_request"]["phase"] == "error"
    assert "cannot be read" in sent["_request"]["message"]
    assert (gallery.order, gallery.phrase, sent["_count"]) == ("set", "", 4)


def test_what_is_closed_refuses(store: Store) -> None:
    gallery = gallery_of(store)
    gallery.wait(60)
    sent = len(line(gallery).messages())
    gallery.close()
    with pytest.raises(ExclipError, match="closed"):
        gallery.session.change_now({"phrase": PHRASE})
    gallery._receive(gallery, {"kind": "window", "view": 1, "request": 1, "tiles": [0]}, [])
    assert len(line(gallery).messages()) == sent if gallery.comm else True
