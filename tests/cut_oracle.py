"""The definitions for any family, computed the slow way in float64, and shared with no engine.

An encoder is cut at the input of a module by a hook and run in full, one picture or caption at a time.
Jacobians are taken one embedding component and one node at a time, and every interaction is the paper's
sum over both inner widths. Here every site of the input counts: patches, class tokens and padding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from families import Family, Inputs
from oracle import in_float64, nodes_and_weights
from PIL import Image
from torch import Tensor, nn

Encode = Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class CutTruth:
    """What a method's definition gives for one caption and one picture."""

    values: np.ndarray
    """One number for every text site and image site, (text sites, image sites)."""
    similarity: float
    """Cosine of the two embeddings."""
    total: float = float("nan")
    """What all interactions sum to when the integrals are exact."""
    cancelled: float = 0.0
    """How large an entry could have been had nothing cancelled within it."""


@dataclass(frozen=True)
class Cut:
    """An encoder cut at the input of one module, in float64.

    ``x`` and ``r`` are the hidden states there of the input and of its reference, as the module is
    given them.
    """

    module: nn.Module
    encode: Callable[[], Tensor]
    x: Tensor
    r: Tensor
    sites_last: bool
    """Whether sites are rows and columns behind a width, (1, width, rows, columns)."""

    def run(self, hidden: Tensor) -> Tensor:
        """The embedding when the module is given ``hidden`` in place of what it would be given."""
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
        assert embedding.shape[0] == 1
        return embedding[0]

    def embedding_at(self, node: float) -> Tensor:
        """The embedding at a point of the path from reference to input."""
        return self.run(self.r + node * (self.x - self.r))

    def by_site(self, hidden: Tensor) -> Tensor:
        """(sites, width) of something that has the shape of the module's input."""
        if self.sites_last:
            return hidden[0].flatten(1).T
        if hidden.ndim == 4:
            return hidden[0].flatten(0, 1)
        # OpenAI's blocks take (sequence, 1, width), all others (1, sequence, width).
        return hidden.squeeze(0 if hidden.shape[0] == 1 else 1)

    def everywhere(self, site: int) -> Tensor:
        """The input with one site's vector at every site."""
        vector = self.by_site(self.x)[site]
        if self.sites_last:
            return vector[None, :, None, None].expand(self.x.shape).clone()
        return vector.expand(self.x.shape).clone()

    def masked(self, present: Tensor) -> Tensor:
        """The input where a site is present, the reference where it is absent; (sites,), bool."""
        if self.sites_last:
            kept = present.reshape(self.x.shape[2:])[None, None]
        elif self.x.ndim == 4:
            kept = present.reshape(self.x.shape[1:3])[None, :, :, None]
        else:
            kept = present[:, None] if self.x.shape[0] == 1 else present[:, None, None]
        return self.r + kept.double() * (self.x - self.r)

    def jacobian(self, hidden: Tensor) -> Tensor:
        """(embedding, sites, width) at one point, one component at a time."""
        hidden = hidden.detach().clone().requires_grad_()
        embedding = self.run(hidden)
        rows = [torch.autograd.grad(component, hidden, retain_graph=True)[0] for component in embedding]
        return torch.stack([self.by_site(row) for row in rows])


def _double(inputs: Inputs) -> Inputs:
    if isinstance(inputs, dict):
        return {name: _double(tensor) for name, tensor in inputs.items()}
    return inputs.double() if inputs.is_floating_point() else inputs


def _black(pixels: Inputs) -> Inputs:
    """The reference picture: zeros after preprocessing, of the same shape and masked alike."""
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


def cut_both(
    family: Family, image: Image.Image, caption: str, *, text_layer: str, image_layer: str
) -> tuple[Cut, Cut]:
    """Both encoders of a float64 copy of a family's model, cut at the named modules."""
    double: Any = in_float64(copy.deepcopy(family.model))
    ids, pixels = family.ids(caption), _double(family.pixels(image))
    modules = dict(double.named_modules())
    text = _cut(
        lambda given: family.encode_text(double, given),
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


# ------------------------------------------------------------------------------- the four methods


def exclip(text: Cut, image: Cut, *, rule: str, steps: int) -> CutTruth:
    """Eq. 9 and 10 of Möller et al. (TMLR 2025)."""
    jacobians, differences, gains = [], [], []
    for side in (text, image):
        integrated: Any = 0
        for node, weight in zip(*nodes_and_weights(rule, steps, side.embedding_at), strict=True):
            here = side.jacobian(side.r + float(node) * (side.x - side.r))
            integrated = integrated + float(weight) * here
        jacobians.append(integrated)
        differences.append(side.by_site(side.x - side.r))
        with torch.no_grad():
            gains.append(side.run(side.x) - side.run(side.r))
    f, g = _embeddings(text, image)
    norms = f.norm() * g.norm()
    values = np.empty([len(difference) for difference in differences])
    for s in range(values.shape[0]):
        for p in range(values.shape[1]):
            product = jacobians[0][:, s].T @ jacobians[1][:, p]
            values[s, p] = differences[0][s] @ product @ differences[1][p] / norms
    return CutTruth(values, float(f @ g / norms), float(gains[0] @ gains[1] / norms))


def gradient(text: Cut, image: Cut) -> CutTruth:
    """Gradient times activation on either side, joined in the embedding.

    Where a site is normalised before anything else reads it, its length does not matter, and its
    gradient is at right angles to it: zero in exact numbers, and noise in others.
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
    """Cosine of what two sites would be embedded as if each stood everywhere in its own input."""
    alone = []
    with torch.no_grad():
        for side in (text, image):
            sites = len(side.by_site(side.x))
            alone.append([side.run(side.everywhere(site)) for site in range(sites)])
    f, g = _embeddings(text, image)
    values = [[float(torch.cosine_similarity(t, p, dim=0)) for p in alone[1]] for t in alone[0]]
    return CutTruth(np.array(values), float(torch.cosine_similarity(f, g, dim=0)))


def banzhaf_exact(
    text: Cut, image: Cut, text_players: Sequence[int], image_players: Sequence[int]
) -> CutTruth:
    """Banzhaf interactions of single tokens and patches, from the value of every coalition.

    The game is the cosine when only some players are present; an absent one holds its reference, and
    sites that do not play are always present. An interaction is the second difference, averaged over
    all coalitions of the other players. Sites that do not play have NaN.
    """
    embeddings = []
    with torch.no_grad():
        for side, players in ((text, text_players), (image, image_players)):
            sites = len(side.by_site(side.x))
            rows = []
            for coalition in range(2 ** len(players)):
                present = torch.ones(sites, dtype=torch.bool)
                for bit, player in enumerate(players):
                    present[player] = bool(coalition >> bit & 1)
                embedding = side.run(side.masked(present))
                rows.append(embedding / embedding.norm())
            embeddings.append(torch.stack(rows))
    game = embeddings[0] @ embeddings[1].T
    # The value of every coalition: one axis of length two for every player, the last one first.
    game = game.reshape([2] * (len(text_players) + len(image_players)))
    values = np.full([len(side.by_site(side.x)) for side in (text, image)], np.nan)
    for t, token in enumerate(text_players):
        for p, patch in enumerate(image_players):
            with_token, with_patch = len(text_players) - 1 - t, game.ndim - 1 - p
            difference = game.diff(dim=with_token).diff(dim=with_patch)
            values[token, patch] = float(difference.mean())
    return CutTruth(values, float(game.flatten()[-1]))
