"""`exclip-widget models`: lists what can be explained, and how to name it."""

from __future__ import annotations

from importlib import metadata
from typing import NamedTuple

import click


class Known(NamedTuple):
    """A family of models.

    Attributes
    ----------
    family : str
        What it is called.
    distribution : str
        Name of its library for pip; empty if the model ships with the package.
    install : str
        How to install the library.
    examples : str
        Examples of its models.
    name : str
        How to name one on the command line.
    """

    family: str
    distribution: str
    install: str
    examples: str
    name: str


KNOWN = (
    Known(
        "picture-book",
        "",
        "",
        "the small CLIP that ships with the package, 96 x 96 pixels",
        "(nothing), or --model picture-book",
    ),
    Known(
        "open_clip",
        "open_clip_torch",
        "pip install open_clip_torch",
        "ViT, ModifiedResNet, CoCa, SigLIP, ConvNeXt, EVA02, MobileCLIP",
        "--model ViT-B-16 --pretrained laion2b_s34b_b88k",
    ),
    Known(
        "OpenAI's clip",
        "open_clip_torch",
        "pip install open_clip_torch",
        "its ViT and ModifiedResNet, via open_clip",
        "--model ViT-B-32-quickgelu --pretrained openai",
    ),
    Known(
        "transformers",
        "transformers",
        "pip install 'exclip-widget[hf]'",
        "CLIPModel, SiglipModel, Siglip2Model",
        "--processor openai/clip-vit-base-patch32",
    ),
    Known(
        "your own",
        "exclip-widget",
        "",
        "two callables and the layers to cut at",
        "from Python: DualEncoder",
    ),
)


@click.command(short_help="List what can be explained.", epilog="\b\nExamples:\n  exclip-widget models")
def models() -> None:
    """List what can be explained, how to name it, and whether its library is installed.

    Models are loaded by their own library, which may download them.
    """
    rows = [(known.family, known.name, _installed(known), known.examples) for known in KNOWN]
    header = ("family", "on the command line", "library", "examples")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(3)]
    for row in (header, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[3]]))


def _installed(known: Known) -> str:
    if not known.distribution:
        return "ships"
    try:
        return f"{known.distribution} {metadata.version(known.distribution)}"
    except metadata.PackageNotFoundError:
        return f"missing: {known.install}"
