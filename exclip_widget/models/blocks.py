"""Blocks of a transformer: the list of modules in it through which tokens go one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set

from torch import nn

from ..errors import ModelError, with_article


def find_blocks(
    side: str, root: nn.Module, paths: Iterable[str] = (), without: Iterable[nn.Module] = ()
) -> list[nn.Module]:
    """Return a tower's blocks, from the first to the last.

    Anybody may have wrapped or replaced some of them, and a block may itself hold lists of modules, such as
    experts or adapters.

    Parameters
    ----------
    side : {"text", "image"}
        What the tower encodes.
    root : nn.Module
        The tower.
    paths : iterable of str
        Where its library keeps the blocks in `root`. If there is a list at one of them, it is taken.
    without : iterable of nn.Module
        Modules in `root` that are not part of the tower.

    Raises
    ------
    ModelError
        If there are none.
    """
    for path in paths:
        found = _at(root, path)
        if isinstance(found, nn.ModuleList) and len(found):
            return list(found)
    stacks = [list(found) for found in _stacks(root, {id(module) for module in without})]
    if not stacks:
        raise no_layers(side, root)
    return max(stacks, key=len)


def no_layers(side: str, tower: nn.Module) -> ModelError:
    """Return the error that a tower has no layers to cut at."""
    kind = f"{type(tower).__module__}.{type(tower).__qualname__}"
    return ModelError(
        f"no layers were found in the {side} tower, {with_article(kind)}; wrap the model in DualEncoder, "
        f"with {side}_layers="
    )


def _at(root: nn.Module, path: str) -> object:
    """Return what is at a path in `root`; None if there is nothing."""
    found: object = root
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _stacks(module: nn.Module, without: Set[int]) -> Iterator[nn.ModuleList | nn.Sequential]:
    """Yield the outermost stacks of blocks in a module: none that a member of another list holds."""
    if id(module) in without:
        return
    if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module):
        shared = Counter(kind for member in module for kind in _kinds(member))
        in_most = max(shared.values(), default=0)
        # A sequence of unlike modules, or of one, may be a whole tower, such as an embedding and an encoder.
        may_be_a_tower = isinstance(module, nn.Sequential) and in_most <= 1
        if in_most == len(module) and not may_be_a_tower:
            yield module
        if not may_be_a_tower:
            return
    for child in module.children():
        yield from _stacks(child, without)


def _kinds(member: nn.Module) -> set[type[nn.Module]]:
    """Return the classes in a member of a list by which it may be known as a block.

    They have parts of their own, as blocks and attention have, but not a single layer. A block that somebody
    has wrapped or replaced usually still has a part in common with the others.
    """
    return {
        type(part)
        for part in member.modules()
        if type(part) not in (nn.ModuleList, nn.ModuleDict, nn.Sequential) and any(part.children())
    }
