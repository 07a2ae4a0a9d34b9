"""Options that `explain` and `batch` share: the model, and the method to explain it with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .loading import PICTURE_BOOK, load

if TYPE_CHECKING:
    from ..explainer import Explainer

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL = (
    click.option(
        "--model",
        metavar="NAME",
        help="A model of open_clip, also as hf-hub:NAME or local-dir:FOLDER. By default picture-book, the "
        "small model that ships with the package.",
    ),
    click.option("--pretrained", metavar="TAG", help="Weights of an open_clip model: a tag or a file."),
    click.option(
        "--processor",
        metavar="NAME",
        help="A model of Hugging Face transformers with its processor: a name on the hub, or a folder. If "
        "--model is given too, the model is loaded from there instead.",
    ),
    click.option(
        "--device", default="cpu", show_default=True, help="Device to run the model on, such as cuda."
    ),
)

METHOD = (
    click.option(
        "--method",
        metavar="NAME",
        default="frozen",  # methods.DEFAULT_METHOD, but without importing torch
        show_default=True,
        help="frozen, exclip, similarity, gradient or banzhaf.",
    ),
    click.option("--layer", metavar="LAYER", help="Layer of both towers: an index, a name or 'output'."),
    click.option("--text-layer", metavar="LAYER", help="Layer of the text tower, given in the same way."),
    click.option("--image-layer", metavar="LAYER", help="Layer of the image tower, given in the same way."),
    click.option("--steps", type=int, metavar="N", help="Quadrature nodes for exclip; 10 by default."),
    click.option(
        "--rule",
        metavar="NAME",
        help="Quadrature rule for exclip: arc-length, gauss-legendre, midpoint or right.",
    ),
    click.option(
        "--rank",
        type=int,
        metavar="N",
        help="Number of directions of the caption's factors to pull back; all by default.",
    ),
    click.option(
        "--tolerance",
        type=float,
        help="Accuracy to reach, instead of --rank with frozen or --steps with exclip.",
    ),
    click.option("--length", is_flag=True, default=None, help="Hold the embedding's length with frozen."),
    click.option("--samples", type=int, metavar="N", help="Number of masks for banzhaf."),
    click.option("--p", type=float, help="Probability that a mask of banzhaf keeps a token or patch."),
    click.option("--masks", metavar="NAME", help="What a mask of banzhaf does to a token: replace or hide."),
    click.option("--seed", type=int, default=0, show_default=True, help="Random seed."),
    click.option("--text-reference", metavar="CAPTION", help="Caption that paths start at."),
    click.option(
        "--image-reference",
        metavar="IMAGE",
        default="zeros",
        show_default=True,
        help="Image that paths start at: zeros, mean, blur, noise or a file.",
    ),
)

LAYERS = ("text_layer", "image_layer")


def explaining(command: Command) -> Command:
    """Add the options of the model and of the method to a command."""
    for option in reversed(MODEL + METHOD):
        command = option(command)
    return command


def name_of(given: Mapping[str, Any]) -> str:
    """Return the name of the model that the options ask for."""
    return str(given.get("model") or given.get("processor") or PICTURE_BOOK)


def explainer_of(given: Mapping[str, Any]) -> Explainer:
    """Return the explainer that the options ask for.

    Raises
    ------
    ExclipError
        If one of them cannot be used.
    """
    from ..explainer import Explainer

    if name_of(given) == PICTURE_BOOK and given.get("model") is None:
        click.echo(f"no --model was given: using {PICTURE_BOOK}, the small model that ships", err=True)
    options = {name: value for name, value in given.items() if value is not None}
    names = ("model", "pretrained", "processor", "device")
    model, inputs = load(**{name: options.pop(name, None) for name in names})
    if (both := options.pop("layer", None)) is not None:
        options = dict.fromkeys(LAYERS, both) | options
    for layer in LAYERS:
        if re.fullmatch(r"[+-]?\d{1,9}", options.get(layer, "")):
            options[layer] = int(options[layer])
    return Explainer(model, **inputs, **options)
