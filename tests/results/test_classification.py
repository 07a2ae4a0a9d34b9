"""Classification: probabilities from a softmax or a sigmoid, and the order of captions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exclip_widget import ModelError
from exclip_widget.results import Classification, Logits

SIMILARITIES = np.array([0.2, -0.1, 0.31, 0.2], dtype=np.float32)
CAPTIONS = ("a boat", "a car", "a fish", "a house")


def test_softmax_is_over_all_captions() -> None:
    powers = [math.exp(100 * float(one)) for one in SIMILARITIES]
    expected = [power / sum(powers) for power in powers]
    np.testing.assert_allclose(Logits(100).probabilities(SIMILARITIES), expected, rtol=1e-12)
    assert Logits(100).rule == "softmax"


def test_sigmoid_is_of_each_by_itself() -> None:
    logits = Logits(scale=50, bias=-12.5)
    expected = [1 / (1 + math.exp(12.5 - 50 * float(one))) for one in SIMILARITIES]
    np.testing.assert_allclose(logits.probabilities(SIMILARITIES), expected, rtol=1e-12)
    np.testing.assert_array_equal(
        logits.probabilities(SIMILARITIES[1:2]), logits.probabilities(SIMILARITIES)[1:2]
    )
    assert logits.rule == "sigmoid"


@pytest.mark.parametrize("bias", [None, -3.0, 3.0])
def test_no_scale_overflows(bias: float | None) -> None:
    found = Logits(1e6, bias).probabilities(SIMILARITIES)
    assert np.isfinite(found).all()
    assert found[2] == pytest.approx(1)


@pytest.mark.parametrize(
    ("scale", "bias", "named"),
    [(math.nan, None, "scale"), (math.inf, None, "scale"), (0, None, "scale"), (9, math.nan, "bias")],
)
def test_what_makes_no_probabilities_is_refused(scale: float, bias: float | None, named: str) -> None:
    with pytest.raises(ModelError, match=f"logit_{named}="):
        Logits(scale, bias)


def test_order_keeps_equal_ones_as_they_were_given() -> None:
    found = Classification(CAPTIONS, SIMILARITIES, Logits(10))
    assert found.order.tolist() == [2, 0, 3, 1]
    assert (found.best, len(found)) == ("a fish", 4)
    assert [line.split("  ")[0].strip() for line in str(found).splitlines()] == [
        CAPTIONS[index] for index in found.order
    ]
    assert repr(found) == "Classification(4 captions, best 'a fish' at 0.3100)"


def test_without_a_scale_there_are_similarities_alone() -> None:
    found = Classification(CAPTIONS, SIMILARITIES)
    assert found.probabilities is found.rule is None
    assert "%" not in str(found)
    assert str(found).splitlines()[0].split() == ["a", "fish", "+0.3100"]
