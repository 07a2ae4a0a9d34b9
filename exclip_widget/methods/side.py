"""Sides, which methods explain: a caption or an image at a layer of its tower, with its reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..errors import ModelError
from ..inputs.caption import Caption
from ..models.activation_cache import cached_activations, cached_embedding
from ..models.fingerprint import Fingerprint
from ..models.patch_places import Covered, patch_of_pixels
from ..models.shortcuts import agrees
from ..models.token_sources import NONE
from ..models.tower import TextTower, Tower
from ..models.towers import Towers
from ..paths.autograd import CutPath, Path
from ..paths.cut import (
    FAULTS,
    Activation,
    Cut,
    Layer,
    embed_each,
    embedding_of,
    is_out_of_memory,
    read_activations,
)
from ..paths.hidden_tokens import only_attending_to
from ..paths.last_block import LastBlockPath
from ..results.rows import Grid, Rows
from .around import change_around, with_other_words


@dataclass(frozen=True, eq=False)
class Side:
    """One input at one layer.

    Attributes
    ----------
    name : {"text", "image"}
        Which side of the pair it is.
    layer : Layer
        Where the tower is cut.
    tokens, reference : Tensor
        Activations at the layer, of the input and of the reference, (tokens, width), at least float32.
    row_index : Tensor
        The row of the result that each token belongs to, (tokens,).
    rows : Tokens or Grid
        What the rows are.
    covered : (float, float)
        How much of the height and of the width of an image its patches cover.
    run : callable
        Maps tokens at the layer, (batch, tokens, width), to embeddings, (batch, embed).
    inputs, reference_inputs : Tensor
        What the tower receives for the input and for the reference: ids, (1, ids), or pixels,
        (1, 3, height, width).
    encode : callable
        Maps such inputs, (batch, ...), to embeddings, (batch, embed).
    differentiable : callable
        Returns a version of `run` that autograd can differentiate in the dtype of `tokens`.
    last_block_path : callable or None
        Maps a reference to the path through the tower's last block, if the layer is the input of that block.
    reference_embedding : callable
        Returns the whole tower's embedding of the reference, (embed,).
    around : callable
        Returns how the embedding changes around the layer from the reference to the input, (embed,), while
        the tokens there are the reference's; None if it does not. See `change_around`.
    """

    name: str
    layer: Layer
    tokens: Float[Tensor, "tokens width"]
    reference: Float[Tensor, "tokens width"]
    row_index: Int[Tensor, " tokens"]
    rows: Rows
    covered: Covered
    run: Callable[[Tensor], Tensor]
    inputs: Tensor
    reference_inputs: Tensor
    encode: Callable[[Tensor], Tensor]
    differentiable: Callable[[], Cut]
    last_block_path: Callable[[Tensor], Path] | None
    reference_embedding: Callable[[], Float[Tensor, " embed"]]
    around: Callable[[], Float[Tensor, " embed"] | None]

    def path(self, start: Float[Tensor, "tokens width"] | None = None, kind: type[CutPath] = CutPath) -> Path:
        """Return the path to the input from its reference, or from another `start`.

        The path through the last block has a class of its own; any other is of class `kind`.
        """
        start = self.reference if start is None else start
        if self.last_block_path is not None:
            return self.last_block_path(start)
        cut = self.differentiable()
        return kind(cut, start, self.tokens, self.row_index, cut.held)

    def embed_masked(self, present: Bool[Tensor, "masks tokens"]) -> Float[Tensor, "masks embed"]:
        """Return unit embeddings of the side with the reference's tokens in place of those not `present`."""
        given = torch.lerp(self.reference, self.tokens, present.to(self.tokens)[..., None])
        return F.normalize(self.run(given), dim=-1)

    def embed_hidden(self, present: Bool[Tensor, "masks tokens"]) -> Float[Tensor, "masks embed"]:
        """Return unit embeddings of the side with the tokens that are not `present` hidden.

        Hidden patches of an image take the pixels of the reference image. In a caption, no token attends to
        the hidden ones from the layer on.
        """
        if isinstance(self.rows, Grid):
            height, width = self.inputs.shape[-2:]
            patch = patch_of_pixels((height, width), (self.rows.rows, self.rows.columns), self.covered)
            kept = present[:, None, self.rows.patches][..., patch].to(self.inputs.device)
            return F.normalize(self.encode(self.inputs.where(kept, self.reference_inputs)), dim=-1)
        with only_attending_to(present):
            return F.normalize(self.run(self.tokens.expand(len(present), -1, -1)), dim=-1)


def text_sides(
    towers: Towers, layers: Sequence[Layer], captions: Sequence[Caption], reference: Int[Tensor, " ids"]
) -> list[list[Side]]:
    """Return each caption at each of `layers`, from one pass if possible.

    Captions and `reference` are equally long. Each takes a pass of its own if the tower runs code other than
    its library's, which might mix the inputs of a batch.
    """
    # Cloned, because autograd may refuse tensors made in a mode of the caller's, such as inference mode.
    batch = [caption.ids.clone() for caption in captions]
    tower = towers.text
    sources = tower.sources(batch[0], captions[0].word_ids())
    sides: list[list[Side]] = [[] for _ in captions]
    for at in _read_text(tower, layers, torch.stack([*batch, reference])):
        *each, start = at.tokens
        for caption, ids, tokens, of_caption in zip(captions, batch, each, sides, strict=True):
            trimmed = tower.trimmed and len(tokens) == tower.context_length
            length = tower.context_length if trimmed else len(ids)
            inputs, empty = (F.pad(one, (0, length - len(one))) for one in (ids, reference))
            others = None
            if tower.may_go_around:
                others = with_other_words(inputs, caption.word_ids(), empty, tower.vocabulary)[None]
            read = _placed(caption, sources, at.layer, len(tokens), trimmed)
            kept, rows, row_index = len(read.row_index), read.rows, read.row_index.clone()
            of_caption.append(
                _side(
                    towers,
                    "text",
                    at,
                    state=tower.state,
                    inputs=inputs[None],
                    reference_inputs=empty[None],
                    others=others,
                    tokens=tokens,
                    reference=start[:kept],
                    row_index=row_index,
                    rows=rows,
                )
            )
    return sides


def _read_text(
    tower: TextTower, layers: Sequence[Layer], ids: Int[Tensor, "captions ids"]
) -> list[Activation]:
    if tower.is_own:
        return read_activations(layers, tower.encode, ids)
    passes = [read_activations(layers, tower.encode, one) for one in torch.split(ids, 1)]
    return [replace(at[0], tokens=torch.cat([one.tokens for one in at])) for at in zip(*passes, strict=True)]


def _placed(
    caption: Caption, sources: Int[Tensor, " first"] | None, layer: Layer, count: int, trimmed: bool
) -> Caption:
    """Return a caption for the `count` tokens at a layer; without those after it if they are `trimmed`.

    Raises
    ------
    ModelError
        If there are fewer tokens than the caption has, and it is unclear which of them are left.
    CaptionError
        If the tower drops the caption's last word.
    """
    if sources is not None and trimmed:
        return caption.placed(sources[: int((sources >= 0).nonzero().max()) + 1])
    if trimmed:
        return caption
    if sources is not None and count >= len(sources):
        return caption.placed(F.pad(sources, (0, count - len(sources)), value=NONE))
    # A custom model may append tokens that its DualEncoder does not declare.
    appended = count - len(caption.row_index)
    if appended < 0:
        raise ModelError(
            f"layer {layer.name!r} holds {count} tokens for a caption of {len(caption.row_index)}; choose a "
            "layer before tokens are dropped or merged"
        )
    return caption.with_appended(appended)


def image_sides(
    towers: Towers,
    layers: Sequence[Layer],
    batch: Sequence[Float[Tensor, "1 3 height width"]],
    references: Sequence[Float[Tensor, "1 3 height width"]],
) -> list[list[Side]]:
    """Return each image at each of `layers`, from one pass or the cache; all images have the same size."""
    tower = towers.image
    (images, starts), state = cached_activations(tower, layers, batch, references)
    sides = []
    for pixels, given, found, reference in zip(batch, references, images, starts, strict=True):
        grids = [Grid(*tower.locate_patches(at.layer, at.layout, at.tokens.shape[1], pixels)) for at in found]
        shares = tower.covered(
            pixels, [(at.layer, (grid.rows, grid.columns)) for at, grid in zip(found, grids, strict=True)]
        )
        of_image = []
        for at, start, grid, covered in zip(found, reference, grids, shares, strict=True):
            (tokens,), count = at.tokens, at.tokens.shape[1]
            of_image.append(
                _side(
                    towers,
                    "image",
                    at,
                    state=state,
                    inputs=pixels,
                    reference_inputs=given,
                    tokens=tokens,
                    reference=start.tokens[0],
                    row_index=torch.arange(count, device="cpu"),
                    rows=grid,
                    covered=covered,
                )
            )
        sides.append(of_image)
    return sides


def _side(
    towers: Towers,
    name: str,
    at: Activation,
    *,
    state: Fingerprint | None,
    inputs: Tensor,
    reference_inputs: Tensor,
    others: Tensor | None = None,
    tokens: Float[Tensor, "read width"],
    reference: Float[Tensor, "tokens width"],
    row_index: Int[Tensor, " tokens"],
    rows: Rows,
    covered: Covered = (1.0, 1.0),
) -> Side:
    dtype = torch.promote_types(tokens.dtype, torch.float32)  # half is too coarse to differentiate in
    tokens, reference = tokens.to(dtype), reference.to(dtype)
    tokens, padding = tokens[: len(reference)], tokens[len(reference) :]
    layer, layout = at.layer, at.layout
    tower: Tower = getattr(towers, name)
    rest = padding if len(padding) else None
    # There is a fingerprint only of the library's own code, and of a user's encoder that calls just that.
    cut = Cut(tower.encode, inputs, layer, layout, rest, state is not None or tower.is_own)

    def differentiable() -> Cut:
        in_dtype = towers.in_dtype(dtype)
        exact: Tower = in_dtype.text.settled() if name == "text" else in_dtype.image
        same = next(found for found in (*exact.layers, exact.layer("output")) if found.name == layer.name)
        exact_inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        converted = Cut(exact.encode, exact_inputs, same, layout, rest, cut.is_own)
        if in_dtype is not towers and at.tokens.dtype == dtype:
            # Some parts compute in half precision, and may convert their inputs themselves.
            try:
                converted(tokens[None])
            except FAULTS as error:
                if is_out_of_memory(error):
                    raise
                return cut
        return converted

    def last_block_path(start: Tensor) -> Path:
        assert tower.last_block is not None
        return LastBlockPath(tower.last_block.block(dtype), start, tokens, tower.last_block.row % len(tokens))

    def short() -> Tensor:
        return last_block_path(reference).embeddings(tokens.new_ones(1))[0]

    def own() -> Tensor:
        if at.embedding is not None:
            return at.embedding[0]
        return embedding_of((tower.own_encode or tower.encode)(inputs))[0]

    def around() -> Tensor | None:
        if not tower.may_go_around:
            return None
        with torch.no_grad():
            found = change_around(cut, reference, reference_inputs, others)
        return None if found is None else found.to(dtype)

    in_order = torch.equal(row_index, torch.arange(len(tokens), device="cpu"))  # each token has its own row
    is_last = layer == tower.layers[-1] and tower.last_block is not None and in_order
    if is_last and isinstance(tower, TextTower):
        # The last block's path pools the last token. Old models pool the highest id, wherever it is.
        is_last = tower.end_of(inputs[0]) == len(tokens) - 1
    if is_last:
        is_last = agrees(towers.model, f"last block, {name}", state, short, own)
    return Side(
        name=name,
        layer=layer,
        tokens=tokens,
        reference=reference,
        row_index=row_index,
        rows=rows,
        covered=covered,
        run=lambda given: cut(given).to(dtype),
        inputs=inputs,
        reference_inputs=reference_inputs,
        encode=lambda given: embed_each(tower.encode, given, is_own=cut.is_own).to(dtype),
        differentiable=differentiable,
        last_block_path=last_block_path if is_last else None,
        reference_embedding=lambda: cached_embedding(tower, state, reference_inputs).to(dtype),
        around=around,
    )
