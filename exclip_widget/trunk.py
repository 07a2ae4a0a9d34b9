"""The trunk of a transformer tower: its blocks, the final norm and the projection of the pooled row."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cut_path import CutPath
from .last_block import LastBlock, LastBlockPath


class Path(Protocol):
    """The straight path from a reference to an input at a cut, and the embedding's derivatives along it.

    `nodes` and `weights` of a quadrature are (nodes,).
    """

    def numbers_per_node(self, cotangents: int) -> int:
        """About how many numbers one node takes while cotangents are integrated."""

    def ends(self) -> Tensor:
        """Embeddings of the reference and of the input, (2, embed)."""

    def integrate_tangents(self, nodes: Tensor, weights: Tensor) -> Tensor:
        """Factors ``T[s] = sum_n w_n (d emb / d x_s)(a_n) d_s``, (tokens, embed)."""

    def integrate_cotangents(self, nodes: Tensor, weights: Tensor, cotangents: Tensor) -> Tensor:
        """Product of `cotangents`, (cotangents, embed), with this side's factors: (cotangents, tokens)."""


@dataclass(frozen=True)
class Trunk:
    """Residual attention blocks as CLIP has them, with what turns the pooled row into an embedding.

    Attributes
    ----------
    blocks : sequence of nn.Module
        Of open_clip's or OpenAI's residual attention blocks.
    norm : nn.Module
        LayerNorm of the pooled row.
    projection : nn.Module, Tensor or None
        From the tower's width to the embedding.
    causal : bool
        Whether a token sees only those before it.
    """

    blocks: Any
    norm: nn.Module
    projection: Any
    causal: bool

    def up_to(self, layer: int, x: Tensor) -> Tensor:
        """Tokens at the input of block `layer`, from those at the input of the first, (tokens, width)."""
        return self._run(self.blocks[:layer], x[None])[0]

    def path(self, layer: int, reference: Tensor, tokens: Tensor, row: int) -> Path:
        """The path at the input of block `layer`; row `row` is the one that is pooled."""
        dtype = torch.promote_types(tokens.dtype, torch.float32)  # half is too coarse to differentiate in
        reference, tokens = reference.to(dtype), tokens.to(dtype)
        if layer == len(self.blocks) - 1:
            block = _last_block(self.blocks[layer], self._embedding_of_row(dtype), dtype)
            return LastBlockPath(block, reference, tokens, row)
        # What a block keeps for the way back: about twelve times its input, and its attention weights.
        heads = self.blocks[layer].attn.num_heads
        kept = (len(self.blocks) - layer) * (12 * tokens.numel() + 2 * heads * len(tokens) ** 2)
        return CutPath(self._run_from(layer, row, dtype), reference, tokens, kept)

    def _embedding_of_row(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        norm: Callable[[Tensor], Tensor] = exactly(self.norm, dtype)
        if self.projection is None:
            return norm
        if isinstance(self.projection, nn.Module):
            project = exactly(self.projection, dtype)
            return lambda row: project(norm(row))
        matrix = exact(self.projection, dtype)
        return lambda row: norm(row) @ matrix

    def _run_from(self, layer: int, row: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """From (batch, tokens, width) at the input of block `layer` to (batch, embed)."""
        blocks = [exactly(block, dtype) for block in self.blocks[layer:]]
        embedding_of_row = self._embedding_of_row(dtype)

        return lambda x: embedding_of_row(self._run(blocks, x)[:, row])

    def _run(self, blocks: Any, x: Tensor) -> Tensor:
        mask = torch.full(2 * x.shape[1:2], -torch.inf, dtype=x.dtype, device=x.device).triu(1)
        for block in blocks:
            attended = _attention(block.attn, block.ln_1(x), mask if self.causal else None)
            x = x + _layer_scale(block, 1)(attended)
            x = x + _layer_scale(block, 2)(block.mlp(block.ln_2(x)))
        return x


def _attention(attn: nn.MultiheadAttention, x: Tensor, mask: Tensor | None) -> Tensor:
    """Self-attention in plain operations, which can be differentiated twice; fused kernels cannot."""
    projected = F.linear(x, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (
        part.reshape(*part.shape[:2], attn.num_heads, attn.head_dim).transpose(1, 2)
        for part in projected.chunk(3, dim=-1)
    )
    logits = q @ k.transpose(-1, -2) * attn.head_dim**-0.5
    weights = (logits if mask is None else logits + mask).softmax(-1)
    return F.linear((weights @ v).transpose(1, 2).flatten(2), attn.out_proj.weight, attn.out_proj.bias)


def _layer_scale(block: Any, number: int) -> Any:
    """LayerScale of open_clip's blocks; OpenAI's have none."""
    return getattr(block, f"ls_{number}", nn.Identity())


def exactly(module: nn.Module, dtype: torch.dtype) -> Any:
    """`module` itself where it computes in `dtype`, a copy that does where it does not."""
    if all(weight.dtype == dtype and not weight.is_inference() for weight in module.parameters()):
        return module
    return copy.deepcopy(module).to(dtype)


def exact(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`weight` without its history, in `dtype`; a copy where autograd could not use it."""
    return (weight.clone() if weight.is_inference() else weight.detach()).to(dtype)


def _last_block(block: Any, embedding_of_row: Callable[[Tensor], Tensor], dtype: torch.dtype) -> LastBlock:
    def bias(tensor: Tensor | None, width: int) -> Tensor:
        return weight(attn.in_proj_weight).new_zeros(width) if tensor is None else weight(tensor)

    def weight(tensor: Tensor) -> Tensor:
        return exact(tensor, dtype)

    attn = block.attn
    width = attn.embed_dim
    out_weight, out_bias = weight(attn.out_proj.weight), bias(attn.out_proj.bias, width)
    if hasattr(_layer_scale(block, 1), "gamma"):
        gamma = weight(block.ls_1.gamma)
        out_weight, out_bias = gamma[:, None] * out_weight, gamma * out_bias
    ln_2, mlp, ls_2 = (exactly(part, dtype) for part in (block.ln_2, block.mlp, _layer_scale(block, 2)))

    def tail(row: Tensor) -> Tensor:
        return embedding_of_row(row + ls_2(mlp(ln_2(row))))

    return LastBlock(
        norm_weight=weight(block.ln_1.weight),
        norm_bias=bias(block.ln_1.bias, width),
        norm_eps=block.ln_1.eps,
        in_weight=weight(attn.in_proj_weight).reshape(3, width, width),
        in_bias=bias(attn.in_proj_bias, 3 * width).reshape(3, width),
        out_weight=out_weight,
        out_bias=out_bias,
        heads=attn.num_heads,
        tail=tail,
    )
