"""The definition of method "frozen", implemented by running an encoder again with its gates held.

One pass records every gate, operation by operation, below autograd. Later passes, on other inputs, read from
that list instead of computing the gates again. Such a pass is affine, so a token's part is what is lost
when that token alone is replaced by the reference's. No derivative is taken, and nothing is shared with the
engine, which classifies the nodes of autograd's graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from support.oracle import Cut, CutTruth, gauss_legendre

aten = torch.ops.aten

GATES = {
    aten._softmax,
    *([aten._safe_softmax] if hasattr(aten, "_safe_softmax") else []),  # since torch 2.5
    aten.sigmoid,
    aten.hardsigmoid,
    aten.erf,
    aten.rsqrt,
    aten.sqrt,
    aten.linalg_vector_norm,
}
"""Operations whose output is held, whatever the input."""
ACTIVATIONS = {aten.gelu, aten.silu, aten.tanh, aten.hardswish, aten.mish, aten.elu, aten.relu}
"""Activation functions y = x g, of which g = y / x is held."""


class Held(TorchDispatchMode):
    """Mode that records the gates in the first pass, and reads them in all later ones.

    With `gated_units`, SiLU is multiplied by another signal and is held as the gate of that signal.
    """

    def __init__(self, *, gated_units: bool = False) -> None:
        super().__init__()
        self.gated_units = gated_units
        self.gates: list[Any] = []
        self.written = False
        self.place = 0

    def gate(self, compute: Callable[[], Any]) -> Any:
        if self.written:
            self.place += 1
            return self.gates[self.place - 1]
        self.gates.append(compute())
        return self.gates[-1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket
        in_place = name.__name__.endswith("_") and not name.__name__.startswith("__")
        plain = getattr(aten, name.__name__.rstrip("_")) if in_place else name
        if plain in GATES or (plain is aten.silu and self.gated_units):
            result = self.gate(lambda: func(*args, **kwargs).clone())
            return args[0].copy_(result) if in_place else result.clone()
        if plain in ACTIVATIONS:
            before = args[0].clone()
            share = self.gate(lambda: torch.nan_to_num(func(args[0].clone(), *args[1:], **kwargs) / before))
            return args[0].copy_(before * share) if in_place else before * share
        if name is aten.native_layer_norm:
            x, shape, weight, bias, eps = args
            axes = tuple(range(-len(shape), 0))
            centred = x - x.mean(axes, keepdim=True)
            scale = self.gate(lambda: (centred.pow(2).mean(axes, keepdim=True) + eps).rsqrt())
            y = centred * scale
            y = y if weight is None else y * weight
            return (y if bias is None else y + bias), x.mean(axes, keepdim=True), scale
        if name is aten.max_pool2d_with_indices:
            _, places = self.gate(lambda: func(*args, **kwargs))
            x = args[0].flatten(2).gather(2, places.flatten(2))
            return x.reshape(places.shape), places
        if name is aten.amax:
            x, axis = args[0], args[1]
            largest = self.gate(lambda: (x == func(x, axis, True)).double())
            return (x * largest).sum(axis, *args[2:]) / largest.sum(axis, *args[2:])
        if name is aten.logsumexp:
            x, axis = args[0], args[1]
            weights = self.gate(lambda: (x - func(x, axis, True)).exp())
            rest = self.gate(lambda: func(*args, **kwargs) - (weights * x).sum(axis, *args[2:]))
            return (weights * x).sum(axis, *args[2:]) + rest
        return func(*args, **kwargs)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run one pass."""
        self.place = 0
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), self:
            yield
        if self.written:
            assert self.place == len(self.gates)
        self.written = True


class HeldCut:
    """An encoder cut at a module, with its gates held at its input."""

    def __init__(self, cut: Cut, *, gated_units: bool = False) -> None:
        self.cut = cut
        self._held = Held(gated_units=gated_units)
        # Record the gates of the input as often as hidden states go through together.
        self.embedding = self.run_each([cut.x] * cut.together)[0]

    def run(self, hidden: Tensor) -> Tensor:
        """Return the embedding of other tokens, with the gates of the input."""
        return self.run_each([hidden])[0]

    def run_each(self, hidden: Sequence[Tensor]) -> Tensor:
        """Return the embedding for each of ``hidden``, (number, embedding)."""
        together = self.cut.together
        found = []
        for start in range(0, len(hidden), together):
            part = list(hidden[start : start + together])
            filled = [*part, *[self.cut.x] * (together - len(part))]
            with self._held.running():
                # Without a gradient, modules would take their fused fast path.
                embeddings = self.cut.run_each([one.detach().clone().requires_grad_() for one in filled])
            found.append(embeddings.detach()[: len(part)])
        return torch.cat(found)

    def parts(self) -> Tensor:
        """Return what is lost when each site alone is replaced by the reference's, (sites, embedding)."""
        sites = len(self.cut.by_site(self.cut.x))
        alone = ~torch.eye(sites, dtype=torch.bool)
        return self.embedding - self.run_each([self.cut.masked(present) for present in alone])


@dataclass(frozen=True, kw_only=True)
class HeldTruth(CutTruth):
    """Definition with own terms: products of one side's parts with the other side's held reference."""

    text_terms: np.ndarray
    """(text sites,)"""
    image_terms: np.ndarray
    """(image sites,)"""
    reference_term: float


def frozen(text: Cut, image: Cut, *, gated_units: bool = False, length: bool = False) -> HeldTruth:
    """Return the interactions of both sides' parts. A side's parts and one constant sum to its embedding.

    Without `length`, the image's parts act on the direction of its embedding, through the derivative of the
    direction, averaged over the path from the reference's embedding, which is computed without held gates. In
    interactions, the derivative at the end of the path has a weight of three fifths. An own term is a part's
    whole contribution minus its interactions.
    """
    sides = [HeldCut(side, gated_units=gated_units) for side in (text, image)]
    parts = [side.parts() for side in sides]
    f, g = (side.embedding for side in sides)
    norms = f.norm() * g.norm()
    for side, part in zip(sides, parts, strict=True):
        # The pass is affine, so the losses of single sites add up to the loss of all sites together.
        together = side.embedding - side.run(side.cut.r)
        np.testing.assert_allclose(part.sum(0), together, atol=1e-9 * float(side.embedding.norm()))
    values = (parts[0] @ parts[1].T / norms).numpy()
    starts = [side.run(side.cut.r) for side in sides]
    text_terms = (parts[0] @ starts[1] / norms).numpy()
    image_terms = (parts[1] @ starts[0] / norms).numpy()
    if not length:
        start = image.run(image.r).detach()
        in_all = parts[1] @ _mean_gradient(f / f.norm(), start, g)
        for row, text in enumerate(parts[0] / f.norm()):
            of_pair = 0.4 * _mean_gradient(text, start, g) + 0.6 * _gradient(text, g[None])[0]
            values[row] = (parts[1] @ of_pair).numpy()
        text_terms = (parts[0] @ g / norms).numpy() - values.sum(1)
        image_terms = in_all.numpy() - values.sum(0)
    similarity = float(f @ g / norms)
    return HeldTruth(
        values,
        similarity=similarity,
        total=float(values.sum()),
        text_terms=text_terms,
        image_terms=image_terms,
        reference_term=similarity - float(values.sum() + text_terms.sum() + image_terms.sum()),
    )


def _gradient(text: Tensor, images: Tensor) -> Tensor:
    """Return the gradient of ``text . g / |g|`` at each of several embeddings g, with autograd."""
    at = images.clone().requires_grad_()
    (gradients,) = torch.autograd.grad((at @ text / at.norm(dim=1)).sum(), at)
    return gradients


def _mean_gradient(text: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return the mean of these gradients over the straight path from one embedding to another."""
    places, weights = gauss_legendre(400)
    path = start + torch.from_numpy((1 + places) / 2)[:, None] * (end - start)
    return torch.from_numpy(weights / 2) @ _gradient(text, path)
