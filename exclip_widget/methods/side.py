"""Sides: a caption or a picture made ready at a layer of its tower, with its reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ..inputs.caption import Caption
from ..models.activation_cache import passing_kept
from ..models.family import Towers
from ..models.tower import Tower
from ..paths.autograd import CutPath, Path
from ..paths.cut import Cut, Form, Layer, passing
from ..paths.last_block import LastBlockPath
from ..results.rows import Grid, Labels, Tokens


@dataclass(frozen=True)
class Side:
    """One input at one layer.

    Attributes
    ----------
    name : {"text", "image"}
        Which side it is.
    layer : Layer
        Where the tower is cut.
    tokens, reference : Tensor
        Tokens of the input and of the reference there, (tokens, width), at least float32.
    owners : Tensor
        Which row of the explanation each token counts for, (tokens,).
    labels : Tokens or Grid
        What the rows are.
    run : callable
        From tokens there, (batch, tokens, width), to embeddings, (batch, embed).
    differentiable : callable
        Gives `run` such that autograd can go through it in the dtype of `tokens`.
    by_hand : callable or None
        Gives the path from a reference by hand, where the layer is the tower's last block.
    """

    name: str
    layer: Layer
    tokens: Tensor
    reference: Tensor
    owners: Tensor
    labels: Labels
    run: Callable[[Tensor], Tensor]
    differentiable: Callable[[], Callable[[Tensor], Tensor]]
    by_hand: Callable[[Tensor], Path] | None

    def path(self, reference: Tensor | None = None) -> Path:
        """The path to the input from its reference, or from another one."""
        start = self.reference if reference is None else reference
        if self.by_hand is not None:
            return self.by_hand(start)
        return CutPath(self.differentiable(), start, self.tokens, self.owners)

    def masked(self, present: Tensor) -> Tensor:
        """Unit embeddings, (masks, embed), with the reference's tokens where `present` is not.

        `present` is bool, (masks, tokens).
        """
        given = torch.lerp(self.reference, self.tokens, present.to(self.tokens)[..., None])
        return F.normalize(self.run(given), dim=-1)


def text_sides(towers: Towers, layers: Sequence[Layer], caption: Caption, reference: Tensor) -> list[Side]:
    """The caption at each of `layers`; `reference` is ids of its length."""
    tower = towers.text
    ids = caption.ids.clone()  # read in a mode of the caller's, which autograd may not take
    both = torch.stack([ids, reference])
    sides = []
    for at in passing(layers, tower.encode, both):
        labels, owners = labelled(caption, at.tokens.shape[1] - len(ids))
        side = partial(_side, towers, "text", ids[None], at.layer, at.form)
        sides.append(side(at.tokens[0], at.tokens[1], owners, labels))
    return sides


def image_sides(towers: Towers, layers: Sequence[Layer], pixels: Tensor, reference: Tensor) -> list[Side]:
    """The picture at each of `layers`; `pixels` and `reference` are (1, 3, height, width)."""
    tower = towers.image
    sides = []
    for at, start in zip(*passing_kept(tower, layers, pixels, reference), strict=True):
        count = at.tokens.shape[1]
        grid = Grid(*tower.patches(at.layer, at.form, count, pixels))
        side = partial(_side, towers, "image", pixels, at.layer, at.form)
        sides.append(side(at.tokens[0], start.tokens[0], torch.arange(count), grid))
    return sides


def labelled(caption: Caption, extra: int) -> tuple[Tokens, Tensor]:
    """Rows of a caption whose tower appends `extra` tokens of its own, and which token counts for which."""
    tokens, spans, words, owners = (
        list(caption.tokens),
        list(caption.spans),
        list(caption.words),
        caption.owners.clone(),
    )
    if extra > 0:
        row = len(tokens) - (tokens[-1] == "<pad>")
        tokens.insert(row, "<cls>")
        spans.insert(row, None)
        words.insert(row, -1)
        owners = torch.cat([owners + (owners >= row), owners.new_full((extra,), row)])
    return Tokens(caption.text, tuple(tokens), tuple(spans), tuple(words)), owners


def _side(
    towers: Towers,
    name: str,
    inputs: Tensor,
    layer: Layer,
    form: Form,
    tokens: Tensor,
    reference: Tensor,
    owners: Tensor,
    labels: Labels,
) -> Side:
    dtype = torch.promote_types(tokens.dtype, torch.float32)  # half is too coarse to differentiate in
    tokens, reference = tokens.to(dtype), reference.to(dtype)
    tower: Tower = getattr(towers, name)
    cut = Cut(tower.encode, inputs, layer, form)

    def differentiable() -> Callable[[Tensor], Tensor]:
        exact: Tower = getattr(towers.computing_in(dtype), name)
        same = next(found for found in (*exact.layers, exact.layer("output")) if found.name == layer.name)
        return Cut(exact.encode, inputs.to(dtype) if inputs.is_floating_point() else inputs, same, form)

    def by_hand(start: Tensor) -> Path:
        assert tower.shortcut is not None
        return LastBlockPath(tower.shortcut.block(dtype), start, tokens, tower.shortcut.row % len(tokens))

    is_last = layer == tower.layers[-1] and tower.shortcut is not None and len(owners) == len(tokens)
    return Side(
        name=name,
        layer=layer,
        tokens=tokens,
        reference=reference,
        owners=owners,
        labels=labels,
        run=lambda given: cut(given).to(dtype),
        differentiable=differentiable,
        by_hand=by_hand if is_last else None,
    )
