"""Checks that factors belong together, because a product of any two vectors of one width looks plausible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from ..errors import ModelError, ParameterError, named_type
from .factors import Factors
from .origin import Difference, Origin
from .rows import Tokens


def as_texts(given: Any) -> list[Factors]:
    """Return the factors of captions as a list.

    Raises
    ------
    ParameterError
        If there are none, or something else is among them.
    """
    if isinstance(given, Factors) or not isinstance(given, Iterable):
        raise ParameterError(
            f"texts is {named_type(given)}; expected a list of what Explainer.text_factors returns"
        )
    texts = list(given)
    if not texts:
        raise ParameterError("texts is empty; expected factors of at least one caption")
    require_side("text", texts)
    return texts


def require_side(side: str, given: Iterable[Any]) -> None:
    """Refuse anything but factors of one side, `"text"` or `"image"`.

    Raises
    ------
    ParameterError
        If there is anything else.
    """
    for one in given:
        if isinstance(one, Factors):
            found = "text" if isinstance(one.rows, Tokens) else "image"
            if found == side:
                continue
            what = f"{found} factors"
        else:
            what = named_type(one)
        raise ParameterError(f"{side}s has {what}; expected {side} factors of Explainer.{side}_factors")


def require_same_kind(texts: Sequence[Factors], images: Sequence[Factors]) -> None:
    """Refuse factors whose products are no interactions.

    Raises
    ------
    ParameterError
        If they are of different methods or models, of a method with different options, or of a model with
        different weights.
    """
    kinds = {(one.method, one.values.shape[1]) for one in (*texts, *images)}
    if len(kinds) > 1:
        found = ", ".join(f"{method!r} with {width} dimensions" for method, width in sorted(kinds))
        raise ParameterError(f"factors are of different methods or models: {found}")
    origins = [*dict.fromkeys(one.origin for one in (*texts, *images) if one.origin is not None)]
    # Sorted so that those with known weights are neighbours.
    for first, other in pairwise(sorted(origins, key=lambda one: one.weights or "")):
        if difference := first.difference_of_models(other):
            name, ours, theirs = difference
            raise ParameterError(
                f"factors are of different models, with {name} {ours!r} and {theirs!r}; expected captions "
                "and images explained with one"
            )
    for first, other in pairwise(one for one in origins if one.options):
        if difference := first.difference_of_options(other):
            _, ours, theirs = difference
            raise ParameterError(
                f"factors are of method {texts[0].method!r} with options {ours} and {theirs}; expected "
                "captions and images explained with the same"
            )


def require_made_by(texts: Sequence[Factors], method: str, layer: str, origin: Origin) -> None:
    """Refuse factors of captions that an explainer did not make, or one like it.

    Parameters
    ----------
    texts : sequence of Factors
        The factors.
    method, layer : str
        The explainer's method, and its text layer.
    origin : Origin
        The origin of factors that the explainer makes of captions.

    Raises
    ------
    ParameterError
        If another method, layer, model or reference made one of them, the method had other options, or the
        model other weights. The message gives its index.
    """
    for index, text in enumerate(texts):
        for name, found, expected in _differences(text, method, layer, origin):
            raise ParameterError(
                f"texts[{index}] has {name} {found!r}, and the explainer {expected!r}; expected what "
                "text_factors of the same explainer returns"
            )


def _differences(text: Factors, method: str, layer: str, origin: Origin) -> Iterator[Difference]:
    if text.method != method:
        yield "method", text.method, method
    if text.layer != layer:
        yield "text layer", text.layer, layer
    if text.origin is not None:
        ours = text.origin
        for compare in (ours.difference_of_models, ours.difference_of_options, ours.difference_of_references):
            if found := compare(origin):
                yield found


def require_width(texts: Sequence[Factors], width: int) -> None:
    """Refuse factors of captions that have other dimensions than an image's embedding.

    Raises
    ------
    ModelError
        If one of them has.
    """
    for text in texts:
        require_same_width(text.values.shape[1], width)


def require_same_width(captions: int, images: int) -> None:
    """Require that captions and images are embedded in equally many numbers.

    Raises
    ------
    ModelError
        If they are not.

    Examples
    --------
    >>> require_same_width(512, 768)
    Traceback (most recent call last):
    ...
    exclip_widget.errors.ModelError: captions are embedded in 512 numbers and images in 768; expected ...
    """
    if captions != images:
        raise ModelError(
            f"captions are embedded in {captions} numbers and images in {images}; expected the same for "
            "both, so that they have a similarity: check that factors are of one model, and that its "
            "encoders still end in the projections that they were trained with, such as open_clip's "
            "visual.proj and text_projection"
        )
