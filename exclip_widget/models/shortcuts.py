"""Short cuts: code by hand in place of a tower's own pass, taken only if both give the same embedding.

Whether everything that a short cut replaces is as its library wrote it can be seen. That the two agree on an
input is asked once for each state of the model, in case something was not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..paths.cut import FAULTS, is_out_of_memory
from .fingerprint import Fingerprint

_verdicts: WeakKeyDictionary[nn.Module, dict[str, tuple[Fingerprint, bool]]] = WeakKeyDictionary()


def agrees(
    root: nn.Module,
    name: str,
    state: Fingerprint | None,
    short: Callable[[], Tensor],
    own: Callable[[], Tensor],
    tolerance: float = 1e-4,
) -> bool:
    """Return whether a short cut gives the library's own embedding.

    Parameters
    ----------
    root : nn.Module
        The module that the short cut belongs to.
    name : str
        Which of the module's short cuts it is.
    state : tuple or None
        The outline of all that the library's own pass runs. The two are compared again if it changes, and
        each time if it is None.
    short, own : callable
        Return the embedding by the short cut, and by the library's own pass, of the same input.
    tolerance : float
        Largest relative difference of the two, if that is more than rounding.
    """
    known = _verdicts.setdefault(root, {})
    if state is not None and name in known and known[name][0] == state:
        return known[name][1]
    verdict = _are_equal(short, own, tolerance)
    if state is None:
        known.pop(name, None)
    else:
        known[name] = state, verdict
    return verdict


def _are_equal(short: Callable[[], Tensor], own: Callable[[], Tensor], tolerance: float) -> bool:
    try:
        found, expected = short(), own()
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
        return False  # and the library's own pass raises it again, if it is its own
    if found.shape != expected.shape:
        return False
    # A model in half precision rounds in every step, a short cut in float32 does not.
    tolerance = max(tolerance, 16 * torch.finfo(expected.dtype).eps)
    found, expected = found.double(), expected.double()
    return bool((found - expected).norm() <= tolerance * expected.norm())
