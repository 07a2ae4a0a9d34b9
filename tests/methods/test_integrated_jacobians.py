"""exCLIP's own option: a tolerance for the residual."""

from __future__ import annotations

import pytest
from support.explaining import found

from exclip_widget.methods.integrated_jacobians import MOST_STEPS


@pytest.mark.parametrize("tolerance", [0.1, 1e-2, 1e-3])
@pytest.mark.parametrize("layer", [-1, 0])
def test_tolerance_is_met(tolerance: float, layer: int) -> None:
    result = found(tolerance=tolerance, text_layer=layer, image_layer=layer)
    assert result.residual <= tolerance
    assert result.steps in (5, 10, 20, 40, 80, 160, 320)


def test_a_smaller_tolerance_takes_more_steps() -> None:
    loose, tight = (found(tolerance=t, text_layer=0, image_layer=0) for t in (0.5, 1e-4))
    assert loose.steps < tight.steps


def test_a_tolerance_that_cannot_be_met_is_told_of() -> None:
    with pytest.warns(UserWarning, match=rf"residual is .* with {MOST_STEPS} nodes.*tolerance=1e-15"):
        result = found("one block", tolerance=1e-15)
    assert result.steps == MOST_STEPS
