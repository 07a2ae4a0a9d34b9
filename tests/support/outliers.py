"""A tower with artificial outlier patches."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from exclip_widget import demo


def with_long_patches(patches: tuple[int, ...], block: int = 0) -> nn.Module:
    """Return a copy of the demo model in which these patches leave a block twenty times as long."""
    model = copy.deepcopy(demo.load().model)

    def lengthen(*given: Tensor) -> Tensor:
        longer = given[-1].clone()
        longer[:, [1 + patch for patch in patches]] *= 20
        return longer

    model.visual.transformer.resblocks[block].register_forward_hook(lengthen)
    return model
