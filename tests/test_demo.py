"""The picture book: its truth is true, its model is what it is said to be, and training resumes."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exclip_widget import demo, explain
from exclip_widget.demo import scenes, train
from exclip_widget.demo.captions import describe, vocabulary
from exclip_widget.demo.picture_book import WEIGHTS, PictureBookTokenizer
from exclip_widget.demo.pointing import pointing_game
from exclip_widget.demo.retrieval import colour_binding, held_out_scenes, recall_at_1
from exclip_widget.demo.things import COLOURS, KINDS, draw_thing, plural

SEEDS = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def book() -> demo.PictureBook:
    return demo.load()


@pytest.mark.parametrize("kind", KINDS)
def test_every_thing_is_of_its_colour(kind: str) -> None:
    """More of it is in the colour that a caption names than in any other of the palette."""
    for colour in COLOURS:
        sprite = np.asarray(draw_thing(kind, colour, 96)).astype(float)
        pixels = sprite[sprite[..., 3] > 200][:, :3]
        shares = {name: (np.abs(pixels - rgb).max(1) < 12).mean() for name, rgb in COLOURS.items()}
        assert max(shares, key=shares.__getitem__) == colour
        assert shares[colour] > 0.2


@given(SEEDS)
def test_scenes_stay_in_their_bounds(seed: int) -> None:
    scene = scenes.sample_scene(random.Random(seed))
    assert 1 <= sum(group.count for group in scene.groups) <= 4
    assert len({group.kind for group in scene.groups}) == len(scene.groups)
    masks = scene.masks(96)
    assert masks.shape == (len(scene.groups), 96, 96)
    assert masks.sum(0).max() <= 1, "a pixel shows one thing"
    assert scene == scenes.sample_scene(random.Random(seed))
    for mask, (left, top, right, bottom) in zip(masks, scene.boxes(96), strict=True):
        assert mask[top:bottom, left:right].sum() == mask.sum()


@given(SEEDS, st.booleans())
def test_captions_are_true(seed: int, full: bool) -> None:
    """Every phrase names its group, and a relation holds for the drawn pixels, not only for the plan."""
    rng = random.Random(seed)
    scene = scenes.sample_scene(rng)
    text, mentions = describe(scene, rng, full=full)
    assert sorted(mention.group for mention in mentions) == list(range(len(scene.groups)))
    for mention in mentions:
        group = scene.groups[mention.group]
        words = text[mention.start : mention.end].split()
        assert words[-2] == group.colour
        assert words[-1] == (group.kind if group.count == 1 else plural(group.kind))
        assert words[0] == {1: words[0], 2: "two", 3: "three", 4: "four"}[group.count]
        assert ("big" in words) <= (group.size >= scenes.BIG)
        assert ("small" in words) <= (group.size <= scenes.SMALL)
    if len(mentions) > 1:
        link = text[mentions[0].end : mentions[1].start].strip()
        first, second = (scene.groups[mention.group] for mention in mentions[:2])
        axis = {"left of": 0, "right of": 0, "above": 1, "below": 1}.get(link)
        if axis is not None:
            low, high = (first, second) if link in ("left of", "above") else (second, first)
            assert max(p[axis] for p in low.places) < min(p[axis] for p in high.places)
    assert set(text.split()) <= set(vocabulary())


@given(SEEDS)
def test_twins_differ_in_their_captions(seed: int) -> None:
    scene, twin, caption, other = train.twins(random.Random(seed))
    assert scene != twin
    assert caption != other


def test_tokenizer_splits_as_clip_does() -> None:
    ours, clip = PictureBookTokenizer(), open_clip.SimpleTokenizer()
    rows = [row for word in vocabulary() for row in ours.encode(word)]
    assert len(rows) == sum(len(clip.encode(word)) for word in vocabulary())
    assert set(range(2, ours.vocab_size - 2)) == set(rows), "no row that the book never uses"
    assert ours.encode("antidisestablishmentarianism") == [1] * len(
        clip.encode("antidisestablishmentarianism")
    )
    ids = ours(["a red boat"])[0]
    assert ids.argmax() == 4
    assert ids[0] == ours.sot_token_id
    assert not ids[5:].any()


def test_weights_are_small_and_whole(book: demo.PictureBook) -> None:
    assert Path(str(WEIGHTS)).stat().st_size < 8e6
    assert all(torch.isfinite(weight).all() for weight in book.model.parameters())
    assert book.model.token_embedding.num_embeddings == book.tokenizer.vocab_size
    assert not book.model.training


def test_pages_are_what_they_say(book: demo.PictureBook) -> None:
    """Each page's caption names just its groups, and the model prefers it to every other page's."""
    for page in book.pages:
        for group in page.scene.groups:
            noun = group.kind if group.count == 1 else plural(group.kind)
            assert f"{group.colour} {noun}" in page.caption
        assert page.image.size == (480, 480)
    for page in book.pages:
        scores = [
            explain(book.model, page.image, other.caption, tokenizer=book.tokenizer).similarity
            for other in book.pages
        ]
        assert book.pages[int(np.argmax(scores))].caption == page.caption


def test_the_model_reaches_what_the_documentation_says(book: demo.PictureBook) -> None:
    assert min(recall_at_1(book.model, book.tokenizer)) >= 0.95
    assert min(colour_binding(book.model, book.tokenizer)) >= 0.85


def test_explanations_point_at_what_words_speak_of(book: demo.PictureBook) -> None:
    """Far above the share of the picture that the things cover: what guessing would reach."""
    last = pointing_game(book.model, book.tokenizer, layers=(-1, -1), scenes=30)
    assert last.hit > 2 * last.chance
    assert last.energy > 2 * last.chance
    first = pointing_game(book.model, book.tokenizer, layers=(0, 0), scenes=6)
    assert first.hit > 2 * first.chance


def test_held_out_scenes_have_one_answer_each() -> None:
    found = [{(g.colour, g.kind) for g in scene.groups} for scene in held_out_scenes(40)]
    assert len(found) == 40
    assert not any(a <= b for i, a in enumerate(found) for j, b in enumerate(found) if i != j)


def test_training_resumes_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cut off after its first checkpoint ends with the weights of one that was not."""
    monkeypatch.setattr(train, "RECIPE", train.Recipe(batch=4, warmup=1))
    monkeypatch.setattr(train, "colour_binding", lambda *_: (0.0, 0.0))
    monkeypatch.setattr(train, "DataLoader", lambda data, **_: map(data.__getitem__, range(len(data))))

    def run(name: str, seed: int = 1, checkpoints: int = 3) -> bytes:
        evaluations = iter([(0.0, 0.0)] * checkpoints)
        monkeypatch.setattr(train, "recall_at_1", lambda *_: next(evaluations))
        train.train(tmp_path / name, seed=seed, steps=3, every=1)
        return (tmp_path / name / "picture_book.safetensors").read_bytes()

    whole = run("whole")
    with pytest.raises(StopIteration):
        run("parts", checkpoints=1)
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 1
    assert run("parts") == whole
    with pytest.raises(SystemExit, match="seed 1"):
        run("parts", seed=2)


def test_command_line_tells_its_options() -> None:
    command = [sys.executable, "-m", "exclip_widget.demo.train", "--help"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "--seed" in printed
