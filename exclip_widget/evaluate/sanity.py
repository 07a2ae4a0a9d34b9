"""Sanity checks: explanations must depend on the model, and be robust to changes that it hardly notices."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..checks import positive_number, random_seed, whole_number
from ..errors import ParameterError
from ..explainer import Explainer
from ..models.dual_encoder import DualEncoder
from .metrics import rank_correlation
from .pairs import LabelledPair

Model = TypeVar("Model", bound="nn.Module | DualEncoder")


def randomisation(
    model: Model, make_explainer: Callable[[Model], Explainer], pair: LabelledPair, *, seed: int = 0
) -> list[float]:
    """Explain a pair while the model's weights are randomised, layer by layer from the last to the first.

    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. The entries of each weight are shuffled,
    first in the last layer of both towers, then also in the one before it, and so on.

    Parameters
    ----------
    model : torch.nn.Module or DualEncoder
        The model, in any wrapper that `explain` accepts. A copy is randomised.
    make_explainer : callable
        Makes an explainer of a model: ``lambda model: Explainer(model, ...)``.
    pair : LabelledPair
        The image and the caption.
    seed : int
        Random seed of the shuffling.

    Returns
    -------
    list of float
        Rank correlations with the original model's interactions after randomising 0, 1, ... layers. The
        first is 1; if explanations depend on the weights, the others approach 0.

    Raises
    ------
    ParameterError
        If `seed` is out of range, or `make_explainer` explains `model` rather than the copy that it gets.
    """
    generator = torch.Generator().manual_seed(random_seed(seed))
    explainer = make_explainer(deepcopy(model))
    _require_copy(explainer.model, model)
    first = explainer.explain(pair.image, pair.caption).values
    found = [rank_correlation(first, first)]
    texts, images = explainer.layer_names
    for number in range(1, max(len(texts), len(images)) + 1):
        for names in (texts, images):
            if number <= len(names):
                _shuffle(explainer.model.get_submodule(names[-number]), generator)
        found.append(rank_correlation(explainer.explain(pair.image, pair.caption).values, first))
    return found


def _require_copy(explained: nn.Module, model: nn.Module | DualEncoder) -> None:
    """Require that what is randomised shares no weight with the user's model."""
    own = model.model if isinstance(model, DualEncoder) else model
    if not {*explained.parameters()}.isdisjoint(own.parameters()):
        raise ParameterError(
            "make_explainer explains the model itself; expected an explainer of the copy that it is given, "
            "as lambda model: Explainer(model, ...)"
        )


@torch.no_grad()
def _shuffle(module: nn.Module, generator: torch.Generator) -> None:
    """Shuffle the entries of each weight of a module."""
    for weight in module.parameters():
        order = torch.randperm(weight.numel(), generator=generator, device="cpu").to(weight.device)
        weight.copy_(weight.flatten()[order].reshape(weight.shape))


def stability(
    explainer: Explainer, pair: LabelledPair, *, noise: float = 2.0, repeats: int = 4, seed: int = 0
) -> float:
    """Return how similar explanations remain if an image hardly changes.

    This is the mean rank correlation between the interactions of the image and those of the same image with
    Gaussian noise added; 1 means no change. The model hardly notices the noise, so any loss is due to the
    explanation.

    Parameters
    ----------
    explainer : Explainer
        Explains pairs.
    pair : LabelledPair
        The image and the caption.
    noise : float
        Standard deviation of the noise, on the scale of 0 to 255.
    repeats : int
        Number of noisy images.
    seed : int
        Random seed of the noise.
    """
    noise, repeats = positive_number("noise", noise), whole_number("repeats", repeats)
    rng = np.random.default_rng(random_seed(seed))
    first = explainer.explain(pair.image, pair.caption).values
    pixels = np.asarray(pair.image.convert("RGB"), np.float64)
    found = []
    for _ in range(repeats):
        noisy = np.clip(np.rint(pixels + rng.normal(0, noise, pixels.shape)), 0, 255).astype(np.uint8)
        values = explainer.explain(Image.fromarray(noisy), pair.caption).values
        found.append(rank_correlation(values, first))
    return float(np.mean(found))
