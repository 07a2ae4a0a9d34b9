"""The definition, computed the slow way: a float64 double loop over the paper's Eq. 9 and 10.

Nothing is shared with the engine. Every encoder is run in full, on the full context and in
float64, with the input of one block replaced; its Jacobian is taken one embedding component
and one node at a time; every interaction is the paper's sum over both inner widths. What the
engine gains by algebra (factors, one row instead of all, the cut at EOT) is absent here, so an
error in that algebra cannot hide.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

Encode = Callable[[], Tensor]


@dataclasses.dataclass(frozen=True)
class Truth:
    """What the definition gives for one caption and one picture."""

    values: np.ndarray
    """Interactions of tokens and patches, (tokens, rows, columns)."""
    cls: np.ndarray
    """Interactions of tokens and the class token, (tokens,)."""
    total: float
    """What all interactions sum to when the integrals are exact."""
    similarity: float
    """Cosine of the two embeddings."""


@dataclasses.dataclass(frozen=True)
class _Side:
    """One encoder explained: Eq. 9's integrated Jacobian and what it is multiplied with."""

    jacobian: Tensor
    """(embedding, sequence, width)."""
    difference: Tensor
    """x - r at the input of the block, (sequence, width)."""
    embedding: Tensor
    at_reference: Tensor
    """The embedding at the start of the path."""


def nodes_and_weights(
    rule: str, steps: int, embedding_at: Callable[[float], Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """The quadrature rules, written here a second time on purpose."""
    if rule == "right":
        return np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)
    if rule == "midpoint":
        return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    if rule == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    if rule == "arc-length":
        return _along_the_curve(*nodes_and_weights("gauss-legendre", steps, embedding_at), embedding_at)
    raise ValueError(rule)


def _along_the_curve(
    nodes: np.ndarray, weights: np.ndarray, embedding_at: Callable[[float], Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre in the length of the curve, whose speed is a polynomial's exponential."""
    with torch.no_grad():
        curve = [embedding_at(part / 12) for part in range(13)]
    moved = np.array([float((b - a).norm()) for a, b in itertools.pairwise(curve)])
    centres = (np.arange(12) + 0.5) / 12
    powers, logarithms = np.vander(centres - 0.5, 6), np.log(12 * moved / moved.sum() + 0.1)
    coefficients = np.linalg.lstsq(powers, logarithms, rcond=None)[0]

    def speed(at: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(np.vander(at - 0.5, 6) @ coefficients))

    edges = np.linspace(0, 1, 200_001)
    lengths = np.append(0, np.cumsum(speed(edges[:-1] + 1 / 400_000)) / 200_000)
    where = np.interp(nodes * lengths[-1], lengths, edges)
    return where, weights * lengths[-1] / speed(where)


def in_float64(model: nn.Module) -> nn.Module:
    """Copy a model into float64 and out of training.

    Both packages' own LayerNorm may compute in float32 whatever it is given; torch's does not.
    Checkpoints would run the blocks again in the backward pass, when nothing is replaced any more.
    """
    double = copy.deepcopy(model).double().eval()
    for module in double.modules():
        package = type(module).__module__.partition(".")[0]
        if isinstance(module, nn.LayerNorm) and package in ("clip", "open_clip"):
            module.__class__ = nn.LayerNorm
        if hasattr(module, "grad_checkpointing"):
            module.grad_checkpointing = False
    return double


def blocks_of(model: nn.Module) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The residual blocks of the caption tower and of the picture tower."""
    text = model.text if hasattr(model, "text") else model
    return text.transformer.resblocks, model.visual.transformer.resblocks


def _run_from(block: nn.Module, hidden: Tensor, encode: Encode) -> Tensor:
    """Run an encoder with the input of ``block`` replaced."""
    handle = block.register_forward_pre_hook(lambda _, args: (hidden, *args[1:]))
    try:
        output = encode()
    finally:
        handle.remove()
    # Some towers also return their tokens, after the embedding.
    return (output[0] if isinstance(output, tuple) else output)[0]


def _input_of(block: nn.Module, encode: Encode) -> Tensor:
    """Run an encoder and return what ``block`` was given."""
    seen: list[Tensor] = []
    handle = block.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    try:
        with torch.no_grad():
            encode()
    finally:
        handle.remove()
    return seen[0]


def _explain_side(block: nn.Module, encode: Encode, encode_reference: Encode, rule: str, steps: int) -> _Side:
    """Eq. 9 for one encoder, one embedding component and one node at a time."""
    x = _input_of(block, encode)
    r = _input_of(block, encode_reference)
    d = x - r
    jacobian: Tensor | None = None
    points = nodes_and_weights(rule, steps, lambda a: _run_from(block, r + a * d, encode))
    for node, weight in zip(*points, strict=True):
        hidden = (r + float(node) * d).requires_grad_()
        embedding = _run_from(block, hidden, encode)
        rows = [torch.autograd.grad(component, hidden, retain_graph=True)[0] for component in embedding]
        here = float(weight) * torch.stack(rows)
        jacobian = here if jacobian is None else jacobian + here
    assert jacobian is not None
    with torch.no_grad():
        embedding, at_reference = _run_from(block, x, encode), _run_from(block, r, encode)
    # OpenAI's blocks take (sequence, 1, width), open_clip's (1, sequence, width).
    batch = 1 if x.shape[1] == 1 else 0
    assert x.shape[batch] == 1
    return _Side(jacobian.squeeze(1 + batch), d.squeeze(batch), embedding, at_reference)


def reference_ids(ids: Tensor) -> Tensor:
    """``<sot> <pad> <eot>`` and padding, with the ids that open and close the caption itself."""
    reference = torch.zeros_like(ids)
    reference[0, 0] = ids[0, 0]
    reference[0, 2] = ids.max()
    return reference


def explain_slowly(
    model: nn.Module,
    picture: Tensor,
    ids: Tensor,
    *,
    rule: str,
    steps: int,
    layers: tuple[int, int] = (-1, -1),
) -> Truth:
    """Eq. 10 for a preprocessed picture (3, height, width) and the ids of a caption (1, context).

    ``layers`` are the blocks of the caption's and the picture's tower whose inputs are explained.
    The start of the caption's path is the hidden state of the reference caption, pooled where the
    caption itself is pooled: only the block's input moves along the path, not the ids.
    """
    double = in_float64(model)
    text_block, image_block = (blocks[layer] for blocks, layer in zip(blocks_of(double), layers, strict=True))
    y = picture[None].double()
    text = _explain_side(
        text_block,
        lambda: double.encode_text(ids),
        lambda: double.encode_text(reference_ids(ids)),
        rule,
        steps,
    )
    image = _explain_side(
        image_block,
        lambda: double.encode_image(y),
        lambda: double.encode_image(torch.zeros_like(y)),
        rule,
        steps,
    )
    norms = text.embedding.norm() * image.embedding.norm()

    tokens = int(ids.argmax()) + 1
    sequence = image.difference.shape[0]
    interactions = np.empty((tokens, sequence))
    for s in range(tokens):
        for p in range(sequence):
            product = text.jacobian[:, s].T @ image.jacobian[:, p]
            interactions[s, p] = text.difference[s] @ product @ image.difference[p] / norms

    size = double.visual.conv1.kernel_size
    rows, columns = y.shape[2] // size[0], y.shape[3] // size[1]
    gained = (text.embedding - text.at_reference) @ (image.embedding - image.at_reference)
    return Truth(
        values=interactions[:, 1:].reshape(tokens, rows, columns),
        cls=interactions[:, 0],
        total=float(gained / norms),
        similarity=float(text.embedding @ image.embedding / norms),
    )


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation over all entries, relative to the largest entry."""
    assert found.shape == expected.shape, f"{found.shape} is not {expected.shape}"
    return float(np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max())


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Fail with one number instead of two arrays."""
    error = relative_error(found, expected)
    assert error <= tolerance, f"relative error {error:.2g} is above {tolerance:.0e}"
