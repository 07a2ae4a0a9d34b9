"""A store of a data set: its contents, the questions it answers, and what happens if a writer is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.outliers import with_long_patches

from exclip_widget import (
    Explainer,
    Factors,
    FileError,
    Interactions,
    ParameterError,
    Store,
    demo,
    interactions_of,
    write_store,
)
from exclip_widget.datasets import Fault, Pair, Phrase
from exclip_widget.demo.captions import describe
from exclip_widget.demo.retrieval import held_out_scenes
from exclip_widget.demo.scenes import swap_colours
from exclip_widget.evaluate import labelled
from exclip_widget.evaluate.metrics import energy
from exclip_widget.evaluate.plausibility import covers, heat_of
from exclip_widget.methods import METHODS, Banzhaf
from exclip_widget.store import Head, StoreWriter
from exclip_widget.store.asking import products

BOOK = demo.load()


def explainer(**options: Any) -> Explainer:
    return Explainer(BOOK.model, tokenizer=BOOK.tokenizer, **({"method": "exclip"} | options))


def pairs_of(count: int = 12) -> list[Pair]:
    """Return scenes with two captions each, a foil if colours can be swapped, and boxes."""
    pairs = []
    for number, scene in enumerate(held_out_scenes(count)):
        caption, said = describe(scene, random.Random(number), full=True)
        swapped = swap_colours(scene, random.Random(number))
        foil = None if swapped is None else describe(swapped, random.Random(number), full=True).caption
        masks = scene.masks(120)
        phrases = []
        for one in said:
            down, across = np.nonzero(masks[one.group])
            box = (int(across.min()), int(down.min()), int(across.max()) + 1, int(down.max()) + 1)
            phrases.append(Phrase(caption[one.start : one.end], (one.start, one.end), (box,)))
        image = scene.draw(120)
        pairs.append(
            Pair(f"{number}a", str(number), image, caption, tuple(phrases), foil, f"scenes:{number}")
        )
        pairs.append(Pair(f"{number}b", str(number), image, f"a picture of {caption}"))
    return pairs


PAIRS = pairs_of()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "scenes"
    write_store(path, explainer(), PAIRS, dtype="float32", part_bytes=200_000)
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def test_it_holds_each_input_once(folder: Path) -> None:
    store = Store(folder)
    assert store.pairs == tuple((pair.id, pair.image_id) for pair in PAIRS)
    assert sorted(store.images) == sorted({pair.image_id for pair in PAIRS})
    foils = [f"{pair.id}~foil" for pair in PAIRS if pair.foil is not None]
    assert len(foils) > 3
    assert sorted(store.captions) == sorted([*(pair.id for pair in PAIRS), *foils])
    assert len([*(folder / "images").iterdir()]) > 2  # several parts


@pytest.mark.parametrize("method", METHODS)
def test_interactions_are_those_of_the_factors(tmp_path: Path, method: str) -> None:
    """At either precision, at a late block: image factors at earlier ones take seconds."""
    options: dict[str, Any] = {"method": Banzhaf(samples=32) if method == "banzhaf" else method}
    # At the last block, gradients are zero except for pooled tokens; at any other, "exclip" takes a minute.
    layer = -1 if method == "exclip" else -2
    options |= {"text_layer": layer, "image_layer": layer}
    some, own = PAIRS[:4], explainer(**options)
    captions, images = (some[0], some[3]), (some[0], some[2])
    texts = [replace(own.text_factors(pair.caption), samples=None) for pair in captions]
    pictures = [replace(own.image_factors(pair.image), samples=None) for pair in images]
    for dtype in ("float16", "float32"):
        store = write_store(tmp_path / dtype, own, some, dtype=dtype)
        for (caption, text), (image, picture) in product(
            zip(captions, texts, strict=True), zip(images, pictures, strict=True)
        ):
            found = store.interactions(caption.id, image.image_id)
            _assert_kept(found, interactions_of(text, picture), dtype)


def _assert_kept(found: Interactions, expected: Interactions, dtype: str) -> None:
    """Compare a store's interactions with the expected ones, as exactly as its precision allows."""
    if dtype == "float32":
        names = "rows grid similarity total method text_layer image_layer steps nodes rule view origin"
        for name in names.split():
            ours, theirs = getattr(found, name), getattr(expected, name)
            if isinstance(ours, float):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)
            else:
                assert ours == theirs, name
    bound = 1e-5 if dtype == "float32" else 2e-3
    largest = np.abs(expected.values).max()
    for name in ("values", "cls", "token_terms", "patch_terms"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, atol=bound * max(largest, np.abs(theirs).max()))


def test_a_store_is_asked_without_torch(folder: Path) -> None:
    script = (
        "import sys; from exclip_widget.store import Store; "
        f"store = Store({str(folder)!r}); store.interactions('0a', '1'); store.find('0a'); "
        "store.foil_margins(); store.special_shares(); store.off_boxes(); "
        "assert not {'torch', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# ------------------------------------------------------------------------------------------- questions


def heats(store: Store, caption: str, words: Any = None) -> dict[str, np.ndarray]:
    """Return the heat map of words on every image, computed one by one."""
    return {image: store.interactions(caption, image).heat(words) for image in store.images}


@pytest.mark.parametrize("by", ["patch", "image"])
def test_regions_that_speak_to_a_phrase(folder: Path, by: str) -> None:
    store = Store(folder)
    text = store.text_factors("3a")
    words = text.rows.caption.split()[-1]  # type: ignore[union-attr]
    for chosen in (None, words):
        expected = heats(store, "3a", chosen)
        value = {key: float(heat.max() if by == "patch" else heat.sum()) for key, heat in expected.items()}
        order = sorted(value, key=lambda key: -value[key])
        found = store.find("3a", chosen, top=5, by=by)
        assert [match.image_id for match in found] == order[:5]
        for match in found:
            heat = expected[match.image_id]
            np.testing.assert_allclose(match.heat, heat, atol=1e-6)
            assert match.value == pytest.approx(value[match.image_id], abs=1e-5)
            assert match.region.flat[heat.argmax()]
            assert (heat[match.region] >= heat.max() / 2 - 1e-6).all()
            assert match.box is not None
            boxes = store.interactions("3a", match.image_id).patch_boxes[match.region]
            assert match.box == (*boxes[:, :2].min(0), *boxes[:, 2:].max(0))
        everything = store.find("3a", chosen, top=1000, by=by)
        assert [match.image_id for match in everything] == order
    # The factors of a caption from elsewhere work, too.
    own = explainer().text_factors(PAIRS[6].caption)
    assert [m.image_id for m in store.find(own, by=by)] == [m.image_id for m in store.find("3a", by=by)]


def test_heat_maps_of_a_phrase_on_all_images(folder: Path) -> None:
    store = Store(folder)
    heats = list(store.heats("0a", [2, 3]))
    assert [key for key, _ in heats] == list(store.images)
    for key, heat in heats:
        expected = store.interactions("0a", key).heat([2, 3])
        np.testing.assert_allclose(heat, expected, rtol=1e-4, atol=1e-6)
    best = store.find("0a", [2, 3], top=1)[0]
    assert best.value == pytest.approx(max(heat.max() for _, heat in heats))
    with pytest.raises(ParameterError, match=r"\[\] is a list; expected the id of a caption, a string"):
        store.interactions([], "x")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no caption 'none'"):
        store.heats("none")  # raised at once, not only when the first one is requested


def test_what_a_store_knows_besides_factors(folder: Path) -> None:
    store = Store(folder)
    texts = store.texts()
    assert all(texts[pair.id] == pair.caption for pair in PAIRS)
    foils = {pair.id: pair.foil for pair in PAIRS if pair.foil is not None}
    assert {owner: texts[foil] for foil, owner in store.foils} == foils
    views = store.views()
    assert tuple(views) == store.images
    assert all(view is not None and view.size == (120, 120) for view in views.values())


def test_products_of_half_precision_are_exact() -> None:
    """Every finite float16 number is widened exactly, including subnormal ones."""
    every = np.arange(2**16).astype(np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    found = products(every[:, None], np.array([0.01], np.float32))
    np.testing.assert_array_equal(found, every.astype(np.float32) * np.float32(0.01))
    random = np.random.default_rng(0)
    values, query = random.normal(0, 0.01, (5000, 64)), random.normal(0, 0.01, 64).astype(np.float32)
    half = values.astype(np.float16)
    np.testing.assert_allclose(products(half, query), half.astype(np.float32) @ query, atol=1e-8)


def test_a_phrase_of_something_else_is_refused(folder: Path) -> None:
    store = Store(folder)
    with pytest.raises(ParameterError, match="no caption 'x'; it has"):
        store.find("x")
    with pytest.raises(ParameterError, match="method 'similarity', and the store 'exclip'"):
        store.find(explainer(method="similarity").text_factors("a boat"))
    with pytest.raises(ParameterError, match="text_layer"):
        store.find(explainer(text_layer=0).text_factors("a boat"))
    with pytest.raises(ParameterError, match="text_reference 'a thing', and the store None"):
        store.find(explainer(text_reference="a thing").text_factors("a boat"))
    assert store.find(explainer(image_reference="blur").text_factors("a boat"))
    with pytest.raises(ParameterError, match="phrase is a Factors"):
        store.find(store.image_factors("0"))
    with pytest.raises(ParameterError, match="phrase is an int"):
        store.find(3)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="by='mean'"):
        store.find("0a", by="mean")
    with pytest.raises(ParameterError, match="top=0"):
        store.find("0a", top=0)
    with pytest.raises(ParameterError, match="'zebra'"):
        store.find("0a", "zebra")
    with pytest.raises(ParameterError, match="no image"):
        store.interactions("0a", "x")


def test_foils_that_win(folder: Path) -> None:
    store = Store(folder)
    expected = {
        pair.id: store.interactions(f"{pair.id}~foil", pair.image_id).similarity
        - store.interactions(pair.id, pair.image_id).similarity
        for pair in PAIRS
        if pair.foil is not None
    }
    found = store.foil_margins(top=100)
    assert [one.caption_id for one in found] == sorted(expected, key=lambda key: -expected[key])
    for one in found:
        assert one.value == pytest.approx(expected[one.caption_id], abs=1e-6)
    assert store.foil_margins(top=2) == found[:2]


def test_what_special_tokens_carry(folder: Path) -> None:
    store = Store(folder)
    expected = {}
    for caption, image in store.pairs:
        parts = store.interactions(caption, image).receipt().parts
        words, special = parts["selection"] + parts["rest"], parts["special"] + parts["class"]
        expected[caption] = abs(special) / (abs(special) + abs(words))
    found = store.special_shares(top=100)
    assert {one.caption_id for one in found} == set(expected)
    for one in found:
        assert one.value == pytest.approx(expected[one.caption_id], abs=1e-4)
    assert [one.value for one in found] == sorted((one.value for one in found), reverse=True)


def test_what_outlier_patches_carry(tmp_path: Path) -> None:
    model = with_long_patches((30, 77), block=-2)
    own = Explainer(model, tokenizer=BOOK.tokenizer, method="exclip", steps=2)
    store = write_store(tmp_path / "store", own, PAIRS[:4])
    expected = {}
    for caption, image in store.pairs:
        result = store.interactions(caption, image)
        assert np.flatnonzero(result.outliers).tolist() == [30, 77]
        of_all, of_outliers = result.between(), result.between(None, result.outliers)
        expected[caption] = abs(of_outliers) / (abs(of_outliers) + abs(of_all - of_outliers))
    found = store.outlier_shares(top=100)
    assert {one.caption_id: one.value for one in found} == pytest.approx(expected, abs=1e-4)
    assert [one.value for one in found] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-4)
    assert all(expected.values())
    # A store written by an earlier version lacks this column, but everything else can be read.
    for part in (tmp_path / "store" / "images").glob("part-*"):
        table = pq.read_table(part)
        pq.write_table(table.drop_columns(["outliers"]), part)
    older = Store(tmp_path / "store")
    assert older.special_shares(top=100) == store.special_shares(top=100)
    assert older.image_factors(PAIRS[0].image_id).outliers is None
    assert older.interactions(*older.pairs[0]).outliers is None
    with pytest.raises(ParameterError, match=r"outlier patches of image '0'; write it again"):
        older.outlier_shares()


def test_words_whose_heat_is_off_their_boxes(folder: Path) -> None:
    """The values agree with the scores of `evaluate`."""
    store, own = Store(folder), explainer()
    expected = []
    for pair in PAIRS:
        if not pair.phrases:
            continue
        known, result = labelled(pair), store.interactions(pair.id, pair.image_id)
        expected += [
            (pair.id, 1 - energy(heat_of(result, mention), cover))
            for mention, cover in covers(own, known, result)
        ]
    found = store.off_boxes(top=1000)
    assert sorted((one.caption_id, round(one.value, 3)) for one in found) == sorted(
        (key, round(value, 3)) for key, value in expected
    )
    places = {(pair.id, phrase.span): phrase.text for pair in PAIRS for phrase in pair.phrases}
    assert all(one.words == places[one.caption_id, one.span] for one in found)


# ------------------------------------------------------------------------------------------- resuming


def ids_in_files(folder: Path, kind: str) -> Counter[str]:
    parts = sorted((folder / kind).glob("part-*.parquet"))
    return Counter(key for part in parts for key in pq.read_table(part, columns=["id"])["id"].to_pylist())


WRITER = """
import sys, time
sys.path[:0] = {tests!r}
from exclip_widget import write_store
from store_test import PAIRS, explainer

import exclip_widget.filling
exclip_widget.filling.PAIRS_TOGETHER = 2

from exclip_widget.store import writer
write_part = writer.write_part

def slowly(*arguments, **options):  # so that who kills it comes in time
    written = write_part(*arguments, **options)
    time.sleep(0.5)
    return written

writer.write_part = slowly
write_store({folder!r}, explainer(), PAIRS, part_bytes=1)
"""


@pytest.mark.parametrize("parts", [1, 4])
def test_a_writer_that_is_killed_leaves_each_input_once(tmp_path: Path, parts: int) -> None:
    folder = tmp_path / "store"
    (tmp_path / "store_test.py").write_text(Path(__file__).read_text())
    script = WRITER.format(tests=[str(tmp_path), str(Path(__file__).parents[1])], folder=str(folder))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script], stdout=subprocess.PIPE, env=environment
    )
    until = time.monotonic() + 120
    while len(list((folder / "images").glob("part-*"))) < parts and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    there = ids_in_files(folder, "images")
    assert parts <= len(there) < len({pair.image_id for pair in PAIRS})
    Store(folder)  # an incomplete store can be opened

    class Counting(Explainer):
        explained = 0

        def image_factors(self, images: Any, **options: Any) -> Any:
            Counting.explained += len(images)
            return super().image_factors(images, **options)

    own = Counting(BOOK.model, tokenizer=BOOK.tokenizer, method="exclip")
    store = write_store(folder, own, PAIRS)
    assert Counting.explained == len({pair.image_id for pair in PAIRS}) - len(there)  # only the missing ones
    assert store.pairs == tuple((pair.id, pair.image_id) for pair in PAIRS)
    for kind, expected in (("images", store.images), ("captions", store.captions)):
        counts = ids_in_files(folder, kind)
        assert set(counts.values()) == {1}
        assert set(counts) == set(expected)
    again = write_store(folder, own, PAIRS)
    assert again.pairs == store.pairs
    assert Counting.explained == len({pair.image_id for pair in PAIRS}) - len(there)


def test_an_error_keeps_what_was_done(tmp_path: Path) -> None:
    def breaking() -> Any:
        yield from PAIRS[:64]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        write_store(tmp_path / "store", explainer(), breaking())
    few = [pair for _ in range(3) for pair in PAIRS]  # each input repeats, but is stored once
    store = write_store(tmp_path / "store", explainer(), few)
    assert store.pairs == tuple((pair.id, pair.image_id) for pair in PAIRS)
    assert set(ids_in_files(tmp_path / "store", "captions").values()) == {1}


def test_what_two_writers_have_written_counts_once(copied: Path) -> None:
    before = Store(copied)
    for kind in ("images", "captions"):
        for number, part in enumerate(sorted((copied / kind).glob("part-*"))):
            shutil.copy(part, part.with_name(f"part-9{number:05d}-other.parquet"))
    after = Store(copied)
    assert (after.pairs, after.images, after.captions) == (before.pairs, before.images, before.captions)
    for ask in ("foil_margins", "special_shares", "outlier_shares", "off_boxes"):
        assert getattr(after, ask)(top=1000) == getattr(before, ask)(top=1000)
    found, expected = after.find("0a", top=1000), before.find("0a", top=1000)
    assert [match.image_id for match in found] == [match.image_id for match in expected]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("method", {"method": "similarity"}),
        ("image_layer", {"image_layer": 1}),
        ("text_layer", {"text_layer": 1}),
        ("method.steps", {"steps": 3}),
        ("image_reference", {"image_reference": "blur"}),
        ("image_reference", {"image_reference": np.zeros((96, 96, 3), np.uint8)}),
        ("text_reference", {"text_reference": "a thing"}),
        ("dtype", {}),
        ("weights", {}),
    ],
)
def test_a_store_is_continued_as_it_was_begun(copied: Path, name: str, options: dict[str, Any]) -> None:
    own = explainer(**options)
    if name == "weights":
        model = demo.load().model
        model.visual.ln_post.weight.data[0] += 1e-3
        own = Explainer(model, tokenizer=BOOK.tokenizer, method="exclip")
    before = sorted(path.name for path in copied.rglob("*"))
    with pytest.raises(ParameterError, match=rf"copied' was made with {name}="):
        write_store(copied, own, PAIRS, dtype="float16" if name == "dtype" else "float32")
    assert sorted(path.name for path in copied.rglob("*")) == before


def other_weights() -> Explainer:
    """Return an explainer of another checkpoint of the model, whose embeddings are as wide."""
    model = demo.load().model
    with torch.no_grad():
        model.visual.ln_post.weight.mul_(1.01)
    return Explainer(model, tokenizer=BOOK.tokenizer, method="exclip")


def test_phrases_by_another_model_are_not_searched_for(folder: Path) -> None:
    """Not even if their factors are as wide; and if the model is unknown, the width shows."""
    store = Store(folder)
    phrase = other_weights().text_factors("red boat")
    narrow = explainer().text_factors("red boat")
    shorter = {"values": narrow.values[:, 1:], "embedding": narrow.embedding[1:]}
    narrow = replace(narrow, change=None, reference=None, origin=None, **shorter)
    for ask in (store.find, lambda given: list(store.heats(given))):
        with pytest.raises(ParameterError, match=r"have weights '[0-9a-f]{32}', and the store '"):
            ask(phrase)
        with pytest.raises(ParameterError, match=r"have \d+ dimensions, and the store's \d+; expected"):
            ask(narrow)
    with pytest.raises(ParameterError, match="different models, with weights"):
        interactions_of(phrase, store.image_factors("0"))
    (found,) = interactions_of([explainer().text_factors("red boat")], [store.image_factors("0")])
    assert found[0].origin == explainer().explain(PAIRS[0].image, "red boat").origin


def test_a_recipe_is_the_same_in_every_process() -> None:
    script = (
        "import json; from exclip_widget import Explainer, demo; book = demo.load(); "
        "print(json.dumps(Explainer(book.model, tokenizer=book.tokenizer, method='exclip').recipe()))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == explainer().recipe()


# ---------------------------------------------------------------------------------------------- faults


def test_inputs_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    faults: list[Fault] = []
    long = "boat " * 200
    broken = [
        Pair("x", "gone", str(tmp_path / "gone.jpg"), "a boat", source="a.csv:7"),
        Pair("y", "0", PAIRS[0].image, long, source="a.csv:8"),
        Pair("z", "0", PAIRS[0].image, "a red boat", foil=long, source="a.csv:9"),
    ]
    store = write_store(
        tmp_path / "store", explainer(), [*PAIRS[:2], *broken, *PAIRS[2:4]], on_error=faults.append
    )
    assert [fault.source for fault in faults] == ["a.csv:7", "a.csv:8", "a.csv:9"]
    assert "there is no image" in faults[0].reason
    assert [caption for caption, _ in store.pairs] == ["0a", "0b", "z", "1a", "1b"]


def test_an_id_of_two_captions_is_refused(tmp_path: Path, copied: Path) -> None:
    two = [PAIRS[0], replace(PAIRS[2], id=PAIRS[0].id)]
    with pytest.raises(ParameterError, match=r"id '0a' is that of .* expected one caption per id"):
        write_store(tmp_path / "store", explainer(), two)
    with pytest.raises(ParameterError, match="id '0a' has another caption in store"):
        write_store(copied, explainer(), two[1:], dtype="float32")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(PAIRS[0].image, "a boat")], r"pairs has a tuple \(.*; expected Pair, as the readers of"),
        ({"image": PAIRS[0].image, "caption": "a boat"}, r"pairs has a str \('image'\); expected Pair"),
        (5, "pairs is an int; expected an iterable of Pair"),
    ],
    ids=["tuples", "dict", "int"],
)
def test_what_is_not_a_pair_is_refused(tmp_path: Path, pairs: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        write_store(tmp_path / "store", explainer(), pairs)


@pytest.mark.parametrize("part_bytes", ["a", 0, 2.5])
def test_the_size_of_a_part_is_a_whole_number(tmp_path: Path, part_bytes: Any) -> None:
    with pytest.raises(
        ParameterError, match=f"part_bytes={part_bytes!r} is not a whole number of at least 1"
    ):
        write_store(tmp_path / "store", explainer(), [], part_bytes=part_bytes)


def test_a_caption_that_is_not_text_is_a_fault(tmp_path: Path) -> None:
    faults: list[Fault] = []
    for caption in (["a", "boat"], {"text": "a boat"}, None):
        pairs = [replace(PAIRS[0], caption=caption, foil=None, source="a.csv:7")]  # type: ignore[arg-type]
        assert not write_store(tmp_path / "store", explainer(), pairs, on_error=faults.append).pairs
    assert [fault.source for fault in faults] == ["a.csv:7"] * 3
    assert all("expected a string" in fault.reason for fault in faults)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"id": "\udcff.png"}, r"id '\\udcff.png'"),
        ({"image_id": "\udcff.png"}, r"image_id '\\udcff.png'"),
        ({"caption": "a \udcff boat", "phrases": ()}, r"caption of id '0a' 'a \\udcff boat'"),
        ({"foil": "a \udcff boat"}, r"caption of id '0a~foil' 'a \\udcff boat'"),
    ],
)
def test_text_that_is_not_unicode_is_refused_before_anything_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], name: str
) -> None:
    monkeypatch.delattr(Explainer, "text_factors")
    monkeypatch.delattr(Explainer, "image_factors")
    with pytest.raises(ParameterError, match=rf"^{name} cannot be stored, .*'\\udcff'; replace such"):
        write_store(tmp_path / "store", explainer(), [replace(PAIRS[0], **change)])
    assert not [*(tmp_path / "store").rglob("part-*")]


def test_ids_that_are_not_text_are_refused(tmp_path: Path) -> None:
    for change in ({"id": 7}, {"image_id": 7}):
        with pytest.raises(ParameterError, match="id 7 is an int; expected a string"):
            write_store(tmp_path / "store", explainer(), [replace(PAIRS[0], **change)])
    with StoreWriter(tmp_path / "store", Head(explainer().recipe())) as writer:
        factors = explainer().text_factors("a boat")
        for name in ("image_id", "foil_of"):
            with pytest.raises(ParameterError, match=rf"^{name} '\\udcff' cannot be stored"):
                writer.add_caption("0", factors, **{name: "\udcff"})  # type: ignore[arg-type]


def test_a_source_may_be_any_file_name(tmp_path: Path) -> None:
    pair = replace(PAIRS[0], source="caf\udce9.csv:7")
    assert write_store(tmp_path / "store", explainer(), [pair]).captions[0] == "0a"
    (part,) = (tmp_path / "store" / "captions").iterdir()
    assert pq.read_table(part)["source"][0].as_py() == r"caf\udce9.csv:7"


def test_folders_that_are_no_stores(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(FileError, match=r"there is no store in .*store\.json"):
        Store(tmp_path / "nothing")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("hello")
    with pytest.raises(FileError, match="is neither a store nor empty"):
        write_store(other, explainer(), [])
    with pytest.raises(FileError, match="cannot be a store"):
        write_store(other / "notes.txt", explainer(), [])
    head = copied / "store.json"
    good = json.loads(head.read_text())
    for text, reason in (
        ("", "not the head of a store"),
        ("[]", "not the head of a store"),
        ("[" * 100_000, "not the head of a store"),
        (json.dumps(good | {"format": "other"}), "it names format 'other'"),
        (json.dumps(good | {"version": 2}), "has version 2"),
        (json.dumps(good | {"dtype": "int8"}), "dtype='int8'"),
        (json.dumps(good | {"recipe": {}}), "the recipe has no 'model'"),
        (json.dumps(good | {"recipe": good["recipe"] | {"seed": [1]}}), "'seed' of the recipe is a list"),
        (
            json.dumps(good | {"recipe": good["recipe"] | {"method": "other"}}),
            "method='exclip', and store.json says 'other'",
        ),
    ):
        head.write_text(text)
        with pytest.raises(FileError, match=reason):
            Store(copied)


def damaged(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    if kind == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no parquet":
        path.write_bytes(b"hello" * 1000)
    elif kind == "another table":
        pq.write_table(pq.read_table(path).select(["id"]).replace_schema_metadata(None), path)
    else:
        table = pq.read_table(path)
        pq.write_table(table.drop_columns([kind]), path)


@pytest.mark.parametrize("folder_of", ["images", "captions"])
@pytest.mark.parametrize("kind", ["cut off", "empty", "no parquet", "another table", "values"])
def test_a_damaged_part_is_one_error(copied: Path, folder_of: str, kind: str) -> None:
    part = sorted((copied / folder_of).glob("part-*"))[0]
    damaged(part, kind)
    with pytest.raises(FileError, match=rf"{part.name}.*cannot be read: .*; delete it"):
        Store(copied)
    with pytest.raises(FileError, match=part.name):
        write_store(copied, explainer(), PAIRS, dtype="float32")
    part.unlink()
    store = write_store(copied, explainer(), PAIRS, dtype="float32")
    assert sorted(store.pairs) == sorted((pair.id, pair.image_id) for pair in PAIRS)


def test_numbers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    head = Head(explainer().recipe(), "float16")
    factors = explainer().text_factors("a boat")
    with StoreWriter(tmp_path / "store", head) as writer:
        large = replace(factors, values=factors.values * np.float32(1e9))
        with np.errstate(over="ignore"), pytest.raises(ParameterError, match="not finite in float16"):
            writer.add_caption("1", large)
        with pytest.raises(ParameterError, match="are a caption's"):
            writer.add_image("1", factors)
        with pytest.raises(ParameterError, match="method='frozen'; expected 'exclip'"):
            writer.add_caption("1", replace(factors, method="frozen"))
        with pytest.raises(ParameterError, match=r"have weights='[0-9a-f]{32}'; expected '"):
            writer.add_caption("1", other_weights().text_factors("a boat"))
        writer.add_caption("1", factors)
    store = Store(tmp_path / "store")
    assert store.captions == ("1",)
    assert store.pairs == ()
    assert isinstance(store.text_factors("1"), Factors)
    with pytest.raises(ParameterError, match="dtype='int8'"):
        Head(explainer().recipe(), "int8")


def test_rows_whose_factors_are_damaged(copied: Path) -> None:
    """The table itself is intact, but its contents are not."""
    part = sorted((copied / "images").glob("part-*"))[0]
    table = pq.read_table(part)
    key = table["id"][0].as_py()
    for name, values in (
        ("values", [b"123"] * len(table)),
        ("first", [-1] * len(table)),
        ("rows", [10_000] * len(table)),
    ):
        field = table.schema.field(name)
        index = table.schema.get_field_index(name)
        pq.write_table(table.set_column(index, field, pa.array(values, field.type)), part)
        store = Store(copied)
        with pytest.raises(FileError, match=part.name):
            store.image_factors(key)
        with pytest.raises(FileError, match=part.name):
            store.find("0a")


@pytest.mark.parametrize("kind", ["images", "captions"])
def test_a_changed_bit_is_noticed(copied: Path, kind: str) -> None:
    """It gives another number, which nothing but a checksum shows."""
    store = Store(copied)
    image, caption = store.images[0], store.captions[0]
    factors = store.image_factors(image) if kind == "images" else store.text_factors(caption)
    row = factors.values[1].astype(store.head.dtype).tobytes()
    (part,) = (path for path in (copied / kind).glob("part-*") if row in path.read_bytes())
    whole = bytearray(part.read_bytes())
    whole[whole.index(row)] ^= 1
    part.write_bytes(whole)
    store = Store(copied)
    asked: list[Callable[[], object]] = [lambda: store.find(caption), lambda: [*store.heats(caption)]]
    asked += [lambda: store.interactions(caption, image), store.foil_margins, store.off_boxes]
    if kind == "images":
        asked += [lambda: store.image_factors(image), store.outlier_shares]
    else:
        asked += [lambda: store.text_factors(caption), store.special_shares]
    for ask in asked:
        with pytest.raises(FileError, match=rf"{part.name}.*CRC"):
            ask()


def not_unicode(path: Path, name: str) -> None:
    """Spoil the first row of a column of text."""
    table = pq.read_table(path)
    index, field = table.schema.get_field_index(name), table.schema.field(name)
    column = pa.array([b"\xff", *table[name].to_pylist()[1:]], pa.binary())
    _, ends, data = column.buffers()
    spoilt = pa.Array.from_buffers(pa.string(), len(column), [None, ends, data])
    pq.write_table(table.set_column(index, field, spoilt), path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("images", "id"),
        ("images", "digest"),
        ("captions", "id"),
        ("captions", "caption"),
        ("captions", "source"),
    ],
)
def test_a_part_whose_text_is_damaged(copied: Path, kind: str, name: str) -> None:
    part = sorted((copied / kind).glob("part-*"))[0]
    first = pq.read_table(part, columns=["id"])["id"][0].as_py()
    not_unicode(part, name)
    damage = rf"{part.name}.*cannot be read: 'utf-?8' codec.*; delete it"
    if name == "id":
        with pytest.raises(FileError, match=damage):
            Store(copied)
        return
    store = Store(copied)
    asked: list[Any] = [store.foil_margins, store.special_shares, store.outlier_shares, store.off_boxes]
    if kind == "images":
        asked += [store.views, lambda: store.find("0a"), lambda: store.image_factors(first)]
        asked += [lambda: [*store.heats("0a")]]
    else:
        asked += [lambda: store.text_factors(first), lambda: store.interactions(first, "0")]
    for ask in asked:
        with pytest.raises(FileError, match=damage):
            ask()


def test_an_empty_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", explainer(), [])
    assert (store.captions, store.images, store.pairs) == ((), (), ())
    assert store.foil_margins() == store.special_shares() == store.off_boxes() == []
    assert store.outlier_shares() == []
    assert store.find(explainer().text_factors("a boat")) == []
