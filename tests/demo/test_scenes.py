"""Scenes of the picture book."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from exclip_widget.demo import scenes

SEEDS = st.integers(0, 2**31)


@given(SEEDS)
def test_scenes_stay_in_their_bounds(seed: int) -> None:
    scene = scenes.sample_scene(random.Random(seed))
    assert 1 <= sum(group.count for group in scene.groups) <= 4
    assert len({group.kind for group in scene.groups}) == len(scene.groups)
    masks = scene.masks(96)
    assert masks.shape == (len(scene.groups), 96, 96)
    assert masks.sum(0).max() <= 1, "a pixel belongs to several things"
    assert scene == scenes.sample_scene(random.Random(seed))
    for mask, (left, top, right, bottom) in zip(masks, scene.boxes(96), strict=True):
        assert mask[top:bottom, left:right].sum() == mask.sum()
