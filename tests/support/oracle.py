"""Independent float64 oracle: every definition computed the slow way, for any family.

It shares no code with the engine. A hook cuts an encoder at the input of a module, and the encoder runs in
full, on the full context. Inputs are batched only if each gives the same result as it does alone. Jacobians
are taken one embedding component and one node at a time, and every interaction is the paper's sum over both
inner widths. Every site of the input counts: patches, class tokens and padding. None of the engine's
algebraic shortcuts (factors, one row instead of all, the cut at EOT) is used, so an error in them can't hide.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

if TYPE_CHECKING:
    from support.zoo.families import Family, Inputs

Encode = Callable[["Inputs"], Tensor]

TOGETHER = 32
"""How many hidden states may go through an encoder at a time."""


@dataclass(frozen=True)
class CutTruth:
    """The values that a method's definition gives for one caption and one image."""

    values: np.ndarray
    """One number for each pair of a text site and an image site, (text sites, image sites)."""
    similarity: float
    """Cosine of the two embeddings."""
    total: float = float("nan")
    """What all interactions sum to when the integrals are exact."""
    cancelled: float = 0.0
    """How large an entry could have been if nothing had cancelled within it."""


@dataclass(frozen=True)
class Truth:
    """The same for a CLIP model, with the image's patches arranged in their grid."""

    values: np.ndarray
    """Interactions of tokens with patches, (tokens, rows, columns)."""
    cls: np.ndarray
    """Interactions of tokens with the class token, (tokens,)."""
    total: float
    """What all interactions sum to when the integrals are exact."""
    similarity: float
    """Cosine of the two embeddings."""


@functools.cache
def gauss_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights on [-1, 1], computed only once: hundreds of them take a second."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    for one in (nodes, weights):
        one.setflags(write=False)
    return nodes, weights


def nodes_and_weights(
    rule: str, steps: int, embedding_at: Callable[[float], Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes and weights of a quadrature rule, deliberately implemented a second time."""
    if rule == "right":
        return np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)
    if rule == "midpoint":
        return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    if rule == "gauss-legendre":
        nodes, weights = gauss_legendre(steps)
        return (nodes + 1) / 2, weights / 2
    if rule == "arc-length":
        return _along_the_curve(*nodes_and_weights("gauss-legendre", steps, embedding_at), embedding_at)
    raise ValueError(rule)


def _along_the_curve(
    nodes: np.ndarray, weights: np.ndarray, embedding_at: Callable[[float], Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Map Gauss-Legendre to the length of the curve, whose speed is fitted by a polynomial's exponential."""
    with torch.no_grad():
        curve = [embedding_at(part / 12) for part in range(13)]
    moved = np.array([float((b - a).norm()) for a, b in itertools.pairwise(curve)])
    centres = (np.arange(12) + 0.5) / 12
    powers, logarithms = np.vander(centres - 0.5, 6), np.log(12 * moved / moved.sum() + 0.1)
    coefficients = np.linalg.lstsq(powers, logarithms, rcond=None)[0]

    def speed(at: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(np.vander(at - 0.5, 6) @ coefficients))

    # Their error is of the order of 1e-8 on steep curves, below every tolerance.
    edges = np.linspace(0, 1, 50_001)
    lengths = np.append(0, np.cumsum(speed(edges[:-1] + 1 / 100_000)) / 50_000)
    where = np.interp(nodes * lengths[-1], lengths, edges)
    return where, weights * lengths[-1] / speed(where)


def in_float64(model: nn.Module) -> nn.Module:
    """Return a float64 copy of a model, in evaluation mode.

    Both packages' own LayerNorm may compute in float32 whatever its input's dtype; torch's does not.
    Gradient checkpointing would run the blocks again in the backward pass, when the hook is gone.
    """
    double = copy.deepcopy(model).double().eval()
    for module in double.modules():
        package = type(module).__module__.partition(".")[0]
        if isinstance(module, nn.LayerNorm) and package in ("clip", "open_clip"):
            module.__class__ = nn.LayerNorm
        if hasattr(module, "grad_checkpointing"):
            module.grad_checkpointing = False
    return double


@dataclass(frozen=True)
class Cut:
    """An encoder cut at the input of one module, in float64.

    ``x`` and ``r`` are the hidden states of the input and of its reference there, in the form in which the
    module receives them.
    """

    module: nn.Module
    encode: Callable[[], Tensor]
    x: Tensor
    r: Tensor
    sites_last: bool
    """Whether the sites are rows and columns that follow the width, (1, width, rows, columns)."""

    def run(self, hidden: Tensor) -> Tensor:
        """Return the embedding when the module receives ``hidden`` instead of its usual input."""
        (embedding,) = self._run(hidden)
        return embedding

    @property
    def batch_axis(self) -> int:
        """OpenAI's blocks take (sequence, 1, width), all others (1, sequence, width)."""
        return 0 if self.x.shape[0] == 1 else 1

    @functools.cached_property
    def together(self) -> int:
        """How many hidden states can go through at a time: one, if the other inputs fix the batch size."""
        try:
            with torch.no_grad():
                several = self._run(torch.cat([self.x, self.r], self.batch_axis))
        except (RuntimeError, IndexError):
            return 1
        alone = torch.stack([self.run(self.x), self.run(self.r)])
        same = several.shape == alone.shape and torch.allclose(several, alone, rtol=1e-9, atol=1e-12)
        return TOGETHER if same else 1

    def run_each(self, hidden: Sequence[Tensor]) -> Tensor:
        """Return the embedding for each of ``hidden``, (number, embedding)."""
        return torch.cat([self._run(part) for part in self._parts(hidden)])

    def _parts(self, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
        for start in range(0, len(hidden), self.together):
            yield torch.cat(list(hidden[start : start + self.together]), self.batch_axis)

    def _run(self, hidden: Tensor) -> Tensor:
        calls = []

        def replace(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            calls.append(args)
            return (hidden, *args[1:])

        handle = self.module.register_forward_pre_hook(replace)
        try:
            embedding = self.encode()
        finally:
            handle.remove()
        assert len(calls) == 1
        assert embedding.shape[0] == hidden.shape[self.batch_axis]
        return embedding

    def embedding_at(self, node: float) -> Tensor:
        """Return the embedding at a point of the path from reference to input."""
        return self.run(self.r + node * (self.x - self.r))

    def by_site(self, hidden: Tensor) -> Tensor:
        """Reshape a tensor shaped like the module's input to (sites, width)."""
        if self.sites_last:
            return hidden[0].flatten(1).T
        if hidden.ndim == 4:
            return hidden[0].flatten(0, 1)
        return hidden.squeeze(self.batch_axis)

    def everywhere(self, site: int) -> Tensor:
        """Return the input with one site's vector copied to every site."""
        vector = self.by_site(self.x)[site]
        if self.sites_last:
            return vector[None, :, None, None].expand(self.x.shape).clone()
        return vector.expand(self.x.shape).clone()

    def masked(self, present: Tensor) -> Tensor:
        """Return the input at the ``present`` sites, (sites,), bool, and the reference at the others."""
        if self.sites_last:
            kept = present.reshape(self.x.shape[2:])[None, None]
        elif self.x.ndim == 4:
            kept = present.reshape(self.x.shape[1:3])[None, :, :, None]
        else:
            kept = present[:, None] if self.x.shape[0] == 1 else present[:, None, None]
        return self.r + kept.double() * (self.x - self.r)

    def jacobian(self, hidden: Tensor) -> Tensor:
        """Return the Jacobian at one point, (embedding, sites, width), one component at a time."""
        (found,) = self.jacobians([hidden])
        return found

    def jacobians(self, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the Jacobian at each of several points, which do not affect each other."""
        for part in self._parts(hidden):
            given = part.detach().clone().requires_grad_()
            components = self._run(given).sum(0)
            rows = [torch.autograd.grad(component, given, retain_graph=True)[0] for component in components]
            for point in range(given.shape[self.batch_axis]):
                yield torch.stack([self.by_site(row.narrow(self.batch_axis, point, 1)) for row in rows])


def _double(inputs: Inputs) -> Inputs:
    if isinstance(inputs, dict):
        return {name: _double(tensor) for name, tensor in inputs.items()}
    return inputs.double() if inputs.is_floating_point() else inputs


def _black(pixels: Inputs) -> Inputs:
    """Return the reference image: zeros after preprocessing, with the same shape and mask."""
    if isinstance(pixels, dict):
        return pixels | {"pixel_values": torch.zeros_like(pixels["pixel_values"])}
    return torch.zeros_like(pixels)


def _captured(module: nn.Module, encode: Callable[[], Tensor]) -> Tensor:
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    try:
        with torch.no_grad():
            encode()
    finally:
        handle.remove()
    (hidden,) = seen
    assert hidden.dtype == torch.float64
    return hidden


def _cut(
    encode: Encode, module: nn.Module, inputs: Inputs, reference: Inputs, grid: tuple[int, int] | None
) -> Cut:
    x = _captured(module, lambda: encode(inputs))
    r = _captured(module, lambda: encode(reference))
    assert x.shape == r.shape
    return Cut(module, lambda: encode(inputs), x, r, x.ndim == 4 and tuple(x.shape[2:]) == grid)


@contextmanager
def float64_by_default() -> Iterator[None]:
    """Run a block with float64 as torch's default, in which CLIP makes its mask before transformers 5."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def cut_both(
    family: Family, image: Image.Image, caption: str, *, text_layer: str, image_layer: str
) -> tuple[Cut, Cut]:
    """Return both encoders of a float64 copy of a family's model, cut at the named modules."""
    double: Any = in_float64(family.model)
    ids, pixels = family.ids(caption), _double(family.pixels(image))
    modules = dict(double.named_modules())
    text = _cut(
        float64_by_default()(lambda given: family.encode_text(double, given)),
        modules[text_layer],
        ids,
        family.reference(ids),
        None,
    )
    grid = family.grids[family.image_layers.index(image_layer)]
    picture = _cut(
        lambda given: family.encode_image(double, given), modules[image_layer], pixels, _black(pixels), grid
    )
    return text, picture


def _embeddings(text: Cut, image: Cut) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return text.run(text.x), image.run(image.x)


def exclip(text: Cut, image: Cut, *, rule: str, steps: int, text_sites: int | None = None) -> CutTruth:
    """Compute Eq. 9 and 10 of Möller et al. (TMLR 2025), for all text sites or only the first ones."""
    jacobians, differences, gains = [], [], []
    for side in (text, image):
        integrated: Any = 0
        nodes, weights = nodes_and_weights(rule, steps, side.embedding_at)
        points = [side.r + float(node) * (side.x - side.r) for node in nodes]
        for weight, here in zip(weights, side.jacobians(points), strict=True):
            integrated = integrated + float(weight) * here
        jacobians.append(integrated)
        differences.append(side.by_site(side.x - side.r))
        with torch.no_grad():
            gains.append(side.run(side.x) - side.run(side.r))
    f, g = _embeddings(text, image)
    norms = f.norm() * g.norm()
    values = np.empty([len(differences[0][:text_sites]), len(differences[1])])
    for s in range(values.shape[0]):
        for p in range(values.shape[1]):
            product = jacobians[0][:, s].T @ jacobians[1][:, p]
            values[s, p] = differences[0][s] @ product @ differences[1][p] / norms
    return CutTruth(values, float(f @ g / norms), float(gains[0] @ gains[1] / norms))


def gradient(text: Cut, image: Cut) -> CutTruth:
    """Multiply both sides' gradient times activation, summed over the embedding.

    If a site is normalised before anything else reads it, its length does not matter, so its gradient is
    orthogonal to it: the product is zero in exact arithmetic, and noise in floating point.
    """
    factors, largest = [], 1.0
    for side in (text, image):
        jacobian, x = side.jacobian(side.x), side.by_site(side.x)
        factors.append([jacobian[:, site] @ x[site] for site in range(len(x))])
        largest *= max(float(jacobian[:, site].norm() * x[site].norm()) for site in range(len(x)))
    f, g = _embeddings(text, image)
    norms = f.norm() * g.norm()
    values = [[float(t @ p / norms) for p in factors[1]] for t in factors[0]]
    return CutTruth(np.array(values), float(f @ g / norms), cancelled=largest / float(norms))


def similarity(text: Cut, image: Cut) -> CutTruth:
    """Return the cosine of two sites' embeddings, each computed with the site's vector at every site."""
    alone = []
    with torch.no_grad():
        for side in (text, image):
            sites = len(side.by_site(side.x))
            alone.append(side.run_each([side.everywhere(site) for site in range(sites)]))
    f, g = _embeddings(text, image)
    values = [[float(torch.cosine_similarity(t, p, dim=0)) for p in alone[1]] for t in alone[0]]
    return CutTruth(np.array(values), float(torch.cosine_similarity(f, g, dim=0)))


def banzhaf_game(text: Cut, image: Cut, text_players: Sequence[int], image_players: Sequence[int]) -> Tensor:
    """Return the cosine for every coalition: one axis of length two for each player, absent first.

    An absent player is replaced by its reference, and sites that are not players are always present. The axes
    of the text's players come first, in their order, followed by those of the image's.
    """
    embeddings = []
    with torch.no_grad():
        for side, players in ((text, text_players), (image, image_players)):
            sites = len(side.by_site(side.x))
            coalitions = []
            for coalition in itertools.product((False, True), repeat=len(players)):
                present = torch.ones(sites, dtype=torch.bool)
                present[list(players)] = torch.tensor(coalition)
                coalitions.append(side.masked(present))
            rows = side.run_each(coalitions)
            embeddings.append(rows / rows.norm(dim=1, keepdim=True))
    game = embeddings[0] @ embeddings[1].T
    return game.reshape([2] * (len(text_players) + len(image_players)))


def banzhaf_effect(game: Tensor, players: Sequence[int], p: float) -> float:
    """Return the mean effect of `players` over coalitions that each other player joins with probability p."""
    for axis in players:
        game = game.diff(dim=axis)
    weights = torch.tensor([1 - p, p], dtype=game.dtype)
    for axis in range(game.ndim):
        shape = [1] * game.ndim
        shape[axis] = -1
        if axis not in players:
            game = (game * weights.reshape(shape)).sum(axis, keepdim=True)
    return float(game)


def banzhaf_exact(
    text: Cut, image: Cut, text_players: Sequence[int], image_players: Sequence[int]
) -> CutTruth:
    """Compute Banzhaf interactions of single tokens and patches from the value of every coalition.

    Sites that are not players are NaN.
    """
    game = banzhaf_game(text, image, text_players, image_players)
    values = np.full([len(side.by_site(side.x)) for side in (text, image)], np.nan)
    for t, token in enumerate(text_players):
        for p, patch in enumerate(image_players):
            values[token, patch] = banzhaf_effect(game, (t, len(text_players) + p), 0.5)
    return CutTruth(values, float(game.flatten()[-1]))


def blocks_of(model: nn.Module) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Return the residual blocks of the text tower and of the image tower."""
    text = model.text if hasattr(model, "text") else model
    return text.transformer.resblocks, model.visual.transformer.resblocks


def reference_ids(ids: Tensor) -> Tensor:
    """Return ``<sot> <pad> <eot>`` and padding, with the ids that open and close this caption."""
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
    """Compute Eq. 10 for a preprocessed image (3, height, width) and the ids of a caption (1, context).

    ``layers`` are the blocks of the caption's and the image's tower whose inputs are explained.
    The caption's path starts at the hidden state of the reference caption, pooled at the position where the
    caption itself is pooled: only the block's input moves along the path, not the ids.
    """
    double: Any = in_float64(model)
    text_block, image_block = (blocks[layer] for blocks, layer in zip(blocks_of(double), layers, strict=True))
    pixels = picture[None].double()
    text = _cut(lambda given: _first(double.encode_text(given)), text_block, ids, reference_ids(ids), None)
    image = _cut(lambda given: _first(double.encode_image(given)), image_block, pixels, _black(pixels), None)
    tokens = int(ids.argmax()) + 1
    found = exclip(text, image, rule=rule, steps=steps, text_sites=tokens)
    size = double.visual.conv1.kernel_size
    rows, columns = pixels.shape[2] // size[0], pixels.shape[3] // size[1]
    return Truth(
        values=found.values[:, 1:].reshape(tokens, rows, columns),
        cls=found.values[:, 0],
        total=found.total,
        similarity=found.similarity,
    )


def _first(output: Any) -> Tensor:
    """Return the embedding. Some towers also return their tokens after it."""
    return output[0] if isinstance(output, tuple) else output


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest deviation over all entries, relative to the largest entry."""
    assert found.shape == expected.shape, f"{found.shape} is not {expected.shape}"
    return float(np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max())


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Check the relative error, so that a failure reports one number instead of two arrays."""
    error = relative_error(found, expected)
    assert error <= tolerance, f"relative error {error:.2g} is above {tolerance:.0e}"
