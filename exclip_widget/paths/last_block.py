r"""The path through the last block of a tower, at a cost that hardly grows with the number of nodes.

Only the pooled row (an image's CLS, a caption's end-of-text) leaves the last block. Token `s` reaches it
only through its own key and value, and the pooled row itself also through the query and the residual
stream. So nothing is computed for rows that are then discarded.

Notation, for one node ``a`` of the path ``x(a) = r + a d``:

- LayerNorm is linear up to its scale: with centred, weighted ``r`` and ``d``, ``z = (r + a d) / sigma(a)``
  and ``sigma(a)^2`` is a quadratic in ``a``. Keys and values of ``r`` and ``d`` are projected once; every
  node only mixes them: ``k(a) = c (k_r + a k_d)`` with ``c = 1 / sigma(a)``.
- The derivative of ``z`` in the direction ``d`` is ``alpha d + beta r`` with
  ``beta = -c^3 (m_rd + a m_dd)`` and ``alpha = c + a beta``, where ``m`` are the mean products in sigma.
- Biases (LayerNorm's and the projection's) shift every key equally, which leaves attention weights unchanged,
  and shift every value equally, which moves the output but none of its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .autograd import Nodes
from .onednn import fast_products

Rows = Callable[[Tensor], Tensor]
"""A function of rows, (..., width), that treats each separately."""


@dataclass(frozen=True)
class Norm:
    """LayerNorm at some rows, and its derivative there.

    The derivative is ``v -> weight (v - mean(v) - x mean(x v)) / sigma``, where ``x`` is the output before
    the weights.
    """

    weight: Float[Tensor, " width"]
    eps: float

    def at(
        self, rows: Float[Tensor, "nodes width"]
    ) -> tuple[Float[Tensor, "nodes width"], Float[Tensor, " nodes"]]:
        """Return ``x`` and ``1 / sigma`` at each row."""
        centred = _centred(rows)
        scale = (centred.square().mean(-1) + self.eps).rsqrt()
        return centred * scale[:, None], scale


def _centred(rows: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
    return rows - rows.mean(-1, keepdim=True)


def _without(
    vectors: Float[Tensor, "vectors nodes width"], x: Float[Tensor, "nodes width"]
) -> Float[Tensor, "vectors nodes width"]:
    """Return ``v - x mean(x v)`` for each of `vectors` at each node."""
    along = torch.einsum("vnw,nw->vn", vectors, x) / x.shape[-1]
    return vectors - along[..., None] * x


@dataclass(frozen=True)
class Tail:
    """What follows attention, in parts: ``norm_2(row + down(activation(up(norm_1(row))))) @ projection``.

    Its linear maps are the same at all nodes. So those at its end are applied only once, to sums over nodes,
    and only one large product remains for each node: the one with `up`.

    Attributes
    ----------
    whole : callable
        All of it, from the pooled row after attention to the embedding.
    norm_1, norm_2 : Norm
        LayerNorm before the perceptron and after the block.
    inner : callable
        From the row to the activation's input, (..., inner).
    up : Tensor
        Weights of the perceptron's first linear map.
    activation : callable
        The perceptron's activation function, element by element.
    down, down_bias : Tensor
        Its second linear map, layer scale included.
    projection : Tensor or None
        From the last LayerNorm to the embedding, (width, embed).
    """

    whole: Rows
    norm_1: Norm
    inner: Rows
    up: Float[Tensor, "inner width"]
    activation: Rows
    down: Float[Tensor, "width inner"]
    down_bias: Float[Tensor, " width"]
    norm_2: Norm
    projection: Float[Tensor, "width embed"] | None

    def __call__(self, rows: Float[Tensor, "*nodes width"]) -> Float[Tensor, "*nodes embed"]:
        """Return the embeddings of pooled rows."""
        return self.whole(rows)

    def push_forward(
        self,
        rows: Float[Tensor, "nodes width"],
        tangents: Float[Tensor, "tokens nodes width"],
        weights: Nodes,
    ) -> Float[Tensor, "tokens embed"]:
        """Return the sum over nodes of `weights` times the derivatives at `rows` in directions `tangents`."""
        at = self._at(rows)
        moved = _without(_centred(tangents), at.x_1)
        moved *= at.scale_1[:, None] * self.norm_1.weight
        moved = moved @ self.up.T
        moved *= at.slope
        shares = weights * at.scale_2
        along = torch.einsum("snw,nw->sn", tangents, at.x_2) + torch.einsum("sni,ni->sn", moved, at.down_x_2)
        summed = torch.einsum("n,snw->sw", shares, tangents)
        summed = summed + torch.einsum("n,sni->si", shares, moved) @ self.down.T
        summed = _centred(summed) - (along * shares / summed.shape[-1]) @ at.x_2
        weighted = summed * self.norm_2.weight
        return weighted if self.projection is None else weighted @ self.projection

    def pull_back(
        self, rows: Float[Tensor, "nodes width"], cotangents: Float[Tensor, "cotangents embed"]
    ) -> Float[Tensor, "cotangents nodes width"]:
        """Return the pull-back of `cotangents` to each of `rows`."""
        at = self._at(rows)
        back = cotangents if self.projection is None else cotangents @ self.projection.T
        back = _centred(back * self.norm_2.weight)
        along = (back @ at.x_2.T / back.shape[-1])[..., None]
        inner = (back @ self.down)[:, None] - along * at.down_x_2
        inner *= at.slope * at.scale_2[:, None]
        inner = _without(_centred((inner @ self.up) * self.norm_1.weight), at.x_1) * at.scale_1[:, None]
        return (back[:, None] - along * at.x_2) * at.scale_2[:, None] + inner

    def _at(self, rows: Float[Tensor, "nodes width"]) -> _TailAt:
        with torch.enable_grad():
            inner = self.inner(rows).detach().requires_grad_()
            active = self.activation(inner.clone())  # some work in place
            (slope,) = torch.autograd.grad(active.sum(), inner)
        x_1, scale_1 = self.norm_1.at(rows)
        x_2, scale_2 = self.norm_2.at(rows + active.detach() @ self.down.T + self.down_bias)
        return _TailAt(x_1, scale_1, slope, x_2, scale_2, x_2 @ self.down)


@dataclass(frozen=True)
class _TailAt:
    """A tail at some rows: both norms there, the activation's slope, and ``x_2 @ down``."""

    x_1: Float[Tensor, "nodes width"]
    scale_1: Float[Tensor, " nodes"]
    slope: Float[Tensor, "nodes inner"]
    x_2: Float[Tensor, "nodes width"]
    scale_2: Float[Tensor, " nodes"]
    down_x_2: Float[Tensor, "nodes inner"]


@dataclass(frozen=True)
class LastBlock:
    """Weights of the last residual attention block, and what follows it, for the pooled row.

    Attributes
    ----------
    norm_weight, norm_bias : Tensor
        LayerNorm before attention.
    norm_eps : float
        Its epsilon.
    in_weight, in_bias : Tensor
        Query, key and value projections.
    out_weight, out_bias : Tensor
        Output projection, layer scale included.
    heads : int
        Number of attention heads.
    tail : Tail or callable
        The pooled row after attention, (..., width), to the embedding, (..., embed): second half of the
        block, final LayerNorm and projection.
    """

    norm_weight: Float[Tensor, " width"]
    norm_bias: Float[Tensor, " width"]
    norm_eps: float
    in_weight: Float[Tensor, "3 width width"]
    in_bias: Float[Tensor, "3 width"]
    out_weight: Float[Tensor, "width width"]
    out_bias: Float[Tensor, " width"]
    heads: int
    tail: Tail | Rows


@dataclass(frozen=True)
class Projected:
    """Tokens at the block's input, and their projections, computed once for all nodes.

    Biases are left out, so that everything is linear in the tokens. `query` is that of the pooled row alone.
    """

    tokens: Float[Tensor, "tokens width"]
    centred: Float[Tensor, "tokens width"]
    query: Float[Tensor, "heads head_width"]
    key: Float[Tensor, "tokens heads head_width"]
    value: Float[Tensor, "tokens heads head_width"]


def _project(block: LastBlock, tokens: Float[Tensor, "tokens width"], row: int) -> Projected:
    centred = tokens - tokens.mean(-1, keepdim=True)
    weighted = centred * block.norm_weight
    shape = (-1, block.heads, tokens.shape[1] // block.heads)
    query = (weighted[row] @ block.in_weight[0].T).reshape(shape[1:])
    with fast_products():
        key, value = (weighted @ block.in_weight[1:].flatten(0, 1).T).chunk(2, dim=-1)
    return Projected(tokens, centred, query, key.reshape(shape), value.reshape(shape))


@dataclass(frozen=True)
class Attended:
    """The pooled row's attention at each node, and its derivative in the direction of each token.

    The derivative of head `h` at node `n` in the direction of token `s` is
    ``of_reference[n,h,s] value_r[s,h] + of_step[n,h,s] value_d[s,h] - of_output[n,h,s] output[n,h]``;
    the pooled row's own token adds `by_query[n,h]`, and moves the residual stream by its own ``d``.

    Attributes
    ----------
    rows : Tensor
        The pooled row after attention.
    of_reference, of_step, of_output : Tensor
        Coefficients of the derivative, as above.
    output, by_query : Tensor
        Attention output without bias, and its derivative through the query.
    """

    rows: Float[Tensor, "nodes width"]
    of_reference: Float[Tensor, "nodes heads tokens"]
    of_step: Float[Tensor, "nodes heads tokens"]
    of_output: Float[Tensor, "nodes heads tokens"]
    output: Float[Tensor, "nodes heads head_width"]
    by_query: Float[Tensor, "nodes heads head_width"]


class LastBlockPath:
    """The straight path ``r + a d`` through the last block.

    Parameters
    ----------
    block : LastBlock
        The block.
    reference, tokens : Tensor
        Where the path starts and ends, (tokens, width).
    row : int
        Index of the pooled row.
    """

    def __init__(
        self,
        block: LastBlock,
        reference: Float[Tensor, "tokens width"],
        tokens: Float[Tensor, "tokens width"],
        row: int,
    ) -> None:
        self.block = block
        self.row = row
        self.r = _project(block, reference, row)
        self.d = _project(block, tokens - reference, row)

    def bytes_per_node(self, cotangents: int) -> int:
        """Return roughly the memory that one node takes while this many cotangents are integrated."""
        return 2 * cotangents * self.block.heads * self.r.tokens[:, 0].nbytes

    def embeddings(self, nodes: Nodes) -> Float[Tensor, "nodes embed"]:
        """Return the embeddings at `nodes`."""
        return self.block.tail(self.attend(nodes).rows)

    def attend(self, nodes: Nodes) -> Attended:
        """Return the pooled row's attention at `nodes`."""
        block, r, d, row = self.block, self.r, self.d, self.row
        a = nodes[:, None]
        m_rr, m_rd, m_dd = (
            (left.centred * right.centred).mean(-1) for left, right in ((r, r), (r, d), (d, d))
        )
        c = (m_rr + 2 * a * m_rd + a**2 * m_dd + block.norm_eps).rsqrt()
        beta = -(c**3) * (m_rd + a * m_dd)
        alpha = c + a * beta

        width = block.norm_weight.shape[0]
        head_shape = (block.heads, width // block.heads)
        shift = block.norm_bias @ block.in_weight.transpose(1, 2) + block.in_bias
        bias_query, _, bias_value = shift.reshape(3, *head_shape)
        scale = head_shape[1] ** -0.5

        def of_row(factor_r: Tensor, factor_d: Tensor) -> Tensor:
            return factor_r[:, row, None, None] * r.query + factor_d[:, row, None, None] * d.query

        def keys_with(query: Tensor, factor_r: Tensor, factor_d: Tensor) -> Tensor:
            with_r, with_d = (torch.einsum("nhk,shk->nhs", query, p.key) for p in (r, d))
            return factor_r[:, None] * with_r + factor_d[:, None] * with_d

        def mix(weights: Tensor) -> Tensor:
            by_r, by_d = weights * c[:, None], weights * (c * a)[:, None]
            mixed = torch.einsum("nhs,shk->nhk", by_r, r.value)
            return mixed + torch.einsum("nhs,shk->nhk", by_d, d.value)

        query = scale * (of_row(c, c * a) + bias_query)
        attention = keys_with(query, c, c * a).softmax(-1)
        output = mix(attention)
        by_key = attention * keys_with(query, beta, alpha)
        through_query = attention * keys_with(scale * of_row(beta, alpha), c, c * a)
        residual = r.tokens[row] + a * d.tokens[row]
        return Attended(
            rows=residual + (output + bias_value).flatten(1) @ block.out_weight.T + block.out_bias,
            of_reference=attention * beta[:, None] + by_key * c[:, None],
            of_step=attention * alpha[:, None] + by_key * (c * a)[:, None],
            of_output=by_key,
            output=output,
            by_query=mix(through_query) - through_query.sum(-1, keepdim=True) * output,
        )

    def integrate_tangents(self, nodes: Nodes, weights: Nodes) -> Float[Tensor, "tokens embed"]:
        """Return the factors ``T[s] = sum_n w_n (d emb / d x_s)(a_n) d_s``, with one tangent per token."""
        with fast_products():
            return self._integrate_tangents(nodes, weights)

    def _integrate_tangents(self, nodes: Nodes, weights: Nodes) -> Float[Tensor, "tokens embed"]:
        at = self.attend(nodes)
        heads = (
            torch.einsum("nhs,shk->snhk", at.of_reference, self.r.value)
            + torch.einsum("nhs,shk->snhk", at.of_step, self.d.value)
            - torch.einsum("nhs,nhk->snhk", at.of_output, at.output)
        )
        heads[self.row] += at.by_query
        tangents = heads.flatten(2) @ self.block.out_weight.T
        tangents[self.row] += self.d.tokens[self.row]

        if isinstance(self.block.tail, Tail):
            return self.block.tail.push_forward(at.rows, tangents, weights)
        # Forward mode as the transpose of reverse mode: the pull-back is linear in the cotangent, so its own
        # derivative pushes tangents forward. Unlike torch.func.jvp, it makes no demands on the modules.
        with torch.enable_grad():
            rows = at.rows.detach().requires_grad_()
            embedded = self.block.tail(rows)
            cotangent = torch.zeros_like(embedded, requires_grad=True)
            pulled = torch.autograd.grad(embedded, rows, cotangent, create_graph=True)[0]
            moved = torch.autograd.grad(pulled, cotangent, tangents, is_grads_batched=True)[0]
        return torch.einsum("n,sne->se", weights, moved)

    def integrate_cotangents(
        self, nodes: Nodes, weights: Nodes, cotangents: Float[Tensor, "cotangents embed"]
    ) -> Float[Tensor, "cotangents tokens"]:
        """Return the product of `cotangents` with this side's factors, without computing the factors.

        Each cotangent goes backwards through the tail once, and is multiplied there with every token's
        derivative in attention.
        """
        with fast_products():
            return self._integrate_cotangents(nodes, weights, cotangents)

    def _integrate_cotangents(
        self, nodes: Nodes, weights: Nodes, cotangents: Float[Tensor, "cotangents embed"]
    ) -> Float[Tensor, "cotangents tokens"]:
        at = self.attend(nodes)
        if isinstance(self.block.tail, Tail):
            back = self.block.tail.pull_back(at.rows, cotangents)
        else:
            with torch.enable_grad():
                rows = at.rows.detach().requires_grad_()
                embedded = self.block.tail(rows)
                each = cotangents[:, None].expand(-1, *embedded.shape)
                back = torch.autograd.grad(embedded, rows, each, is_grads_batched=True)[0]
        back = back * weights[:, None]  # (cotangents, nodes, width)
        heads = (back @ self.block.out_weight).reshape(*back.shape[:2], *at.output.shape[1:])
        with_r = torch.einsum("tnhk,shk->tnhs", heads, self.r.value)
        with_d = torch.einsum("tnhk,shk->tnhs", heads, self.d.value)
        with_output = torch.einsum("tnhk,nhk->tnh", heads, at.output)
        product = (
            torch.einsum("tnhs,nhs->ts", with_r, at.of_reference)
            + torch.einsum("tnhs,nhs->ts", with_d, at.of_step)
            - torch.einsum("tnh,nhs->ts", with_output, at.of_output)
        )
        product[:, self.row] += torch.einsum("tnhk,nhk->t", heads, at.by_query)
        product[:, self.row] += back.sum(1) @ self.d.tokens[self.row]
        return product
