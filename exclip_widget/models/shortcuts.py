"""Shortcuts: handwritten code in place of a tower's own pass, used only if both give the same embedding.

Inspection shows whether everything that a shortcut replaces is as its library wrote it. In case inspection
misses something, the two are also compared on an input, once for each state of the model.
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
    """Return whether a shortcut gives the library's own embedding.

    Parameters
    ----------
    root : nn.Module
        The module that the shortcut belongs to.
    name : str
        Which of the module's shortcuts it is.
    state : tuple or None
        The outline of everything that the library's own pass runs. The two are compared again if it changes,
        and every time if it is None.
    short, own : callable
        Return the embedding of the same input from the shortcut, and from the library's own pass.
    tolerance : float
        Largest relative difference between the two, if that is more than rounding.
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
        return False  # if it is the library's own fault, its pass will raise it again
    if found.shape != expected.shape:
        return False
    # A model in half precision rounds at every step; a shortcut in float32 does not.
    tolerance = max(tolerance, 16 * torch.finfo(expected.dtype).eps)
    found, expected = found.double(), expected.double()
    return bool((found - expected).norm() <= tolerance * expected.norm())
