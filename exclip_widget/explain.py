"""Explain a similarity: from a model, a picture and a caption to their token-patch interactions.

The method is exCLIP (Möller, Tilli, Vu and Padó, "Explaining Caption-Image Interactions in CLIP Models
with Second-Order Attributions", TMLR 2025, Eq. 9 and 10), factorised: the widths of both towers are summed
before the two sides meet, so that the interactions are a product of token factors and patch factors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import index
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .caption import Tokenizer, read_caption
from .defaults import find_preprocess, find_tokenizer
from .errors import ModelError, ParameterError
from .interactions import Interactions
from .picture import Picture, Preprocess, open_picture, preprocessed
from .quadrature import quadrature
from .references import reference_caption, reference_picture
from .towers import evaluating, find_towers
from .trunk import Path

T = TypeVar("T")

_turn = threading.RLock()

LARGEST = 2**25
"""Most numbers that the nodes integrated in one turn may take; 2^25 floats are 128 MiB."""


class Explanation:
    """One pair made ready: everything read and checked, nothing computed yet.

    Takes what `explain` takes.

    Attributes
    ----------
    caption : Caption
        The caption as its tokens.
    image : PIL.Image.Image
        The picture, RGB, as a whole.
    preprocess : callable
        From the picture to what the model sees of it.
    """

    def __init__(
        self,
        model: Any,
        image: Picture,
        caption: str,
        *,
        preprocess: Preprocess | None = None,
        tokenizer: Tokenizer | None = None,
        text_layer: int = -1,
        image_layer: int = -1,
        steps: int = 10,
        rule: str = "gauss-legendre",
    ) -> None:
        self._quadrature = quadrature(rule, steps)
        self._rule = rule
        self._model = model
        self._text, self._image = find_towers(model)
        self._text_layer = _layer("text_layer", text_layer, len(self._text.trunk.blocks))
        self._image_layer = _layer("image_layer", image_layer, len(self._image.trunk.blocks))
        self.preprocess = _callable("preprocess", preprocess) or find_preprocess(self._image)
        self._tokenizer = _callable("tokenizer", tokenizer) or find_tokenizer(self._text)
        self.image = open_picture(image)
        self.caption = read_caption(caption, self._tokenizer, self._text)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Tokens, rows and columns of the interactions."""
        return (len(self.caption.tokens), *self._image.grid)

    def refine(self, frames: int = 1) -> Iterator[Interactions]:
        """Yield estimates, each better than the one before; the last one is the result.

        There are `frames` of them (no more than there are nodes), or as many as memory makes
        necessary. Each adds nodes to those of the one before it, so all of them cost no more than the
        last alone.
        """
        with _computing(self._model):
            text, image = self._text_path(), self._image_path()
            (text_from, text_to), (image_from, image_to) = text.ends(), image.ends()
            norms = text_to.norm() * image_to.norm()
            similarity = float(text_to @ image_to / norms)
            total = float((text_to - text_from) @ (image_to - image_from) / norms)
            nodes, weights = (torch.from_numpy(part).to(norms) for part in self._quadrature)
            factors = text.integrate_tangents(nodes, weights)
        fits = max(1, LARGEST // image.numbers_per_node(len(factors)))
        summed, weighed, done = torch.zeros(()), 0.0, 0
        for turn in _turns(len(nodes), frames, fits):
            with _computing(self._model):
                part = image.integrate_cotangents(nodes[turn], weights[turn], factors)
                summed = part + summed.to(part)
                weighed += float(weights[turn].sum())
                done += len(turn)
                matrix = (summed / (weighed * norms)).float().cpu().numpy()
            yield self._interactions(matrix, similarity, total, done)

    def _text_path(self) -> Path:
        tower, layer = self._text, self._text_layer
        reference = reference_caption(tower, self._tokenizer, layer)[: len(self.caption.ids)]
        tokens = _finite("text", tower.tokens(self.caption.ids, layer), layer)
        return tower.trunk.path(layer, reference, tokens, row=len(tokens) - 1)

    def _image_path(self) -> Path:
        tower, layer = self._image, self._image_layer
        pixels = preprocessed(self.image, self.preprocess, tower.size)
        tokens = _finite("image", tower.tokens(pixels, layer), layer)
        return tower.trunk.path(layer, reference_picture(tower, layer), tokens, row=0)

    def _interactions(self, matrix: np.ndarray, similarity: float, total: float, nodes: int) -> Interactions:
        return Interactions(
            caption=self.caption.text,
            tokens=self.caption.tokens,
            spans=self.caption.spans,
            words=self.caption.words,
            values=matrix[:, 1:].reshape(self.shape).copy(),
            cls=matrix[:, 0].copy(),
            similarity=similarity,
            total=total,
            steps=len(self._quadrature.nodes),
            nodes=nodes,
            rule=self._rule,
        )


def explain(
    model: Any,
    image: Picture,
    caption: str,
    *,
    preprocess: Preprocess | None = None,
    tokenizer: Tokenizer | None = None,
    text_layer: int = -1,
    image_layer: int = -1,
    steps: int = 10,
    rule: str = "gauss-legendre",
) -> Interactions:
    """Which tokens of `caption` speak to which patches of `image`, and how strongly.

    Parameters
    ----------
    model : torch.nn.Module
        An open_clip or OpenAI `clip` model with a vision transformer. It stays exactly as it is.
    image : PIL image, numpy array or path
        The picture; `open_picture` says what arrays may hold.
    caption : str
        The caption.
    preprocess, tokenizer : callable, optional
        As the model's library gives them; needed where they cannot be told from the model.
    text_layer, image_layer : int
        Block at whose input a tower is cut, from 0, or negative from the end. The last, -1, is the
        default and costs about a forward pass; earlier ones are differentiated automatically.
    steps : int
        Nodes of the quadrature along the path from reference to input; 10 by default.
    rule : {"gauss-legendre", "midpoint", "right"}
        Its rule; `"right"` is that of exclip and of the paper.

    Returns
    -------
    Interactions
        Token-patch interactions in units of cosine similarity, with their completeness residual.

    Raises
    ------
    ModelError, PictureError, CaptionError, ParameterError
        Where an input cannot be used: the message names it and says what was expected.
    """
    explanation = Explanation(
        model,
        image,
        caption,
        preprocess=preprocess,
        tokenizer=tokenizer,
        text_layer=text_layer,
        image_layer=image_layer,
        steps=steps,
        rule=rule,
    )
    *_, result = explanation.refine()
    return result


def _callable(name: str, given: T) -> T:
    if given is not None and not callable(given):
        raise ParameterError(f"{name}={given!r} cannot be called; expected what the model's library gives")
    return given


def _layer(name: str, layer: int, layers: int) -> int:
    """Index of a block, from 0, where negative ones count from the end."""
    try:
        number = index(layer)
    except TypeError:
        number = layers
    if isinstance(layer, bool) or not -layers <= number < layers:
        raise ParameterError(
            f"{name}={layer!r} is not a block of the tower: it has {layers}, 0 to {layers - 1} or, from "
            f"the end, -1 to {-layers}"
        )
    return number % layers


def _finite(name: str, tokens: Tensor, layer: int) -> Tensor:
    if not torch.isfinite(tokens).all():
        raise ModelError(f"activations of the {name} tower are NaN or infinite at the input of block {layer}")
    return tokens


def _turns(nodes: int, frames: int, most: int) -> list[np.ndarray]:
    """Node numbers in turns of at most `most`: a few first, for an early estimate, then ever more."""
    # Multiples of the golden ratio, modulo one, spread every prefix evenly over the path.
    order = np.argsort(np.arange(nodes) * 0.618033988749895 % 1)
    cut = np.arange(1, min(frames, nodes))
    growing = np.maximum(cut, np.ceil(nodes * (cut / min(frames, nodes)) ** 2).astype(int))
    return [
        turn[start : start + most] for turn in np.split(order, growing) for start in range(0, len(turn), most)
    ]


@contextmanager
def _computing(model: nn.Module) -> Iterator[None]:
    """The state torch must be in, whatever the caller's is; entered anew for every piece of work.

    One at a time: a model's modes are its own, and the worker threads of several widgets may share it.
    """
    with _turn, ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in {parameter.device.type for parameter in model.parameters()}:
            stack.enter_context(torch.autocast(device, enabled=False))
        yield
