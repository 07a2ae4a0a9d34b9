"""Metrics on cases computed by hand: what a perfect, a random and an inverted map must score."""

from __future__ import annotations

import numpy as np
import pytest

from exclip_widget.evaluate.metrics import (
    area,
    correlation,
    energy,
    explained,
    hit,
    interval,
    present_after,
    rank_correlation,
    recognition,
)

COVER = np.zeros((4, 6))
COVER[1, 1:4] = 1.0
COVER[2, 1] = 0.1
CHANCE = COVER.mean()
RNG = np.random.default_rng(0)


def test_hit() -> None:
    perfect = COVER + 0.01 * np.arange(24).reshape(4, 6) * COVER
    assert hit(perfect, COVER)
    assert not hit(-perfect, COVER)
    edge = np.zeros((4, 6))
    edge[2, 1] = 1  # only a tenth of this patch shows the object
    assert not hit(edge, COVER)
    guesses = [hit(RNG.standard_normal(COVER.shape), COVER) for _ in range(4000)]
    assert np.mean(guesses) == pytest.approx(3 / 24, abs=0.02)


def test_energy() -> None:
    assert energy((COVER >= 1).astype(float), COVER) == 1
    assert energy(-COVER, COVER) == 0
    assert energy(np.where(COVER >= 1, -1.0, 1.0), COVER) == pytest.approx(0.1 / 21)
    # 3 of the 10 positive units; negative values do not count.
    heat = np.zeros((4, 6))
    heat[1, 1], heat[0, 0], heat[3, 3] = 3, 7, -50
    assert energy(heat, COVER) == pytest.approx(0.3)
    guesses = [energy(RNG.standard_normal(COVER.shape), COVER) for _ in range(2000)]
    assert np.mean(guesses) == pytest.approx(CHANCE, abs=0.005)
    assert energy(np.ones(COVER.shape), COVER) == pytest.approx(CHANCE)


def test_recognition() -> None:
    quadrants = np.zeros((4, 4, 4))
    for number in range(4):
        top, left = 2 * (number // 2), 2 * (number % 2)
        quadrants[number, top : top + 2, left : left + 2] = 1
    assert recognition(2 * quadrants - 1, quadrants) == 1
    assert recognition(1 - 2 * quadrants, quadrants) == 0
    # A positive map that ignores the word, and random maps of both signs.
    same = np.broadcast_to(RNG.random((4, 4)), (4, 4, 4))
    assert recognition(same, quadrants) == pytest.approx(0.25)
    guesses = [recognition(RNG.standard_normal((4, 4, 4)), quadrants) for _ in range(500)]
    assert np.mean(guesses) == pytest.approx(0.5, abs=0.01)
    # Pooled before the ratio: (1 + 3) correct out of (1 + 1 + 3 + 5).
    one, other = np.zeros((2, 4, 4))
    one[0, 0], one[3, 3], other[0, 0], other[0, 3] = 1, 1, -3, -5
    assert recognition(np.stack([one, other]), quadrants[:2]) == pytest.approx(4 / 10)
    assert np.isnan(recognition(np.zeros((1, 4, 4)), quadrants[:1]))


def test_correlation() -> None:
    actual = np.array([1.0, 2.0, 4.0])
    assert correlation(3 * actual - 7, actual) == pytest.approx(1)
    assert correlation(-actual, actual) == pytest.approx(-1)
    assert correlation(np.array([1.0, 2.0, 3.0]), actual) == pytest.approx(3 / np.sqrt(2 * 14 / 3))
    assert np.isnan(correlation(np.ones(3), actual))
    assert np.isnan(correlation(np.full(7, 0.1), np.arange(7.0)))  # whose mean is rounded
    guesses = [correlation(RNG.standard_normal(8), RNG.standard_normal(8)) for _ in range(4000)]
    assert np.mean(guesses) == pytest.approx(0, abs=0.02)


def test_explained() -> None:
    actual = np.array([1.0, 2.0, 3.0])
    assert explained(actual, actual) == 1
    assert explained(np.full(3, 2.0), actual) == 0
    assert explained(actual[::-1], actual) == -3  # a squared error of 8 against a total of 2
    assert explained(actual + 1, actual) == -0.5  # a wrong offset counts
    assert np.isnan(explained(actual, np.ones(3)))
    assert np.isnan(explained(np.zeros(64), np.full(64, 0.1)))


def test_rank_correlation() -> None:
    values = np.array([[3.0, -1.0], [0.5, 8.0]])
    assert rank_correlation(np.exp(values), values) == pytest.approx(1)
    assert rank_correlation(-values, values) == pytest.approx(-1)
    # Ties share their rank: 0, 1.5, 1.5, 3 against 0, 1, 2, 3.
    tied = rank_correlation(np.array([0.0, 1.0, 1.0, 2.0]), np.arange(4.0))
    assert tied == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert np.isnan(rank_correlation(np.array([1.0, np.nan, 2.0]), np.arange(3.0)))


def test_area() -> None:
    assert area([1.0, 1.0, 1.0]) == 1
    assert area([1.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert area([0.0, 1.0, 1.0]) == pytest.approx(0.75)


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(300):
        low, high = interval(np.random.default_rng(seed).standard_normal(40), resamples=300, seed=seed)
        inside += low <= 0 <= high
    assert 0.90 <= inside / 300 <= 0.98


def test_interval_of_scores_that_belong_together_is_wider() -> None:
    scores = np.repeat(RNG.standard_normal(10), 8)
    alone, together = interval(scores), interval(scores, np.repeat(np.arange(10), 8))
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])


def test_interval_leaves_out_what_is_no_number() -> None:
    assert interval(np.array([1.0, np.nan, 1.0])) == (1, 1)
    assert np.isnan(interval(np.array([np.nan]))).all()


def test_present_after() -> None:
    present = present_after([2, 0, 3], 4, steps=3)
    assert present.tolist() == [
        [True, True, True, True],
        [True, True, False, True],
        [False, True, False, True],
        [False, True, False, False],
    ]
