"""Captions of the picture book describe their scenes correctly."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from exclip_widget.demo import scenes
from exclip_widget.demo.captions import describe, vocabulary
from exclip_widget.demo.things import plural

SEEDS = st.integers(0, 2**31)


@given(SEEDS, st.booleans())
def test_captions_are_true(seed: int, full: bool) -> None:
    """Every phrase names its group, and a relation holds for the places of all things in both groups."""
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
