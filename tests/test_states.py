"""Generated states of models and inputs: each explanation agrees with the model or is a clear error.

A run draws a few hundred cases; `EXCLIP_FUZZ=10000 pytest tests/test_states.py` draws that many, and
`EXCLIP_FUZZ_SEED` draws others. A failure prints the seed of its case; `EXCLIP_FUZZ_CASE` reruns it.
"""

from __future__ import annotations

import copy
import math
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
from PIL import Image
from support.snapshots import unchanged
from support.states import STATES, WRAPPERS, NotHereError
from support.zoo.families import FAMILIES, Family, family
from support.zoo.inputs import scene
from torch import nn

from exclip_widget import ExclipError, Interactions, explain

COUNT = int(os.environ.get("EXCLIP_FUZZ", "240"))
SEED = os.environ.get("EXCLIP_FUZZ_SEED", "0")
CHUNK = 20
CASES = [f"{SEED}-{number}" for number in range(COUNT)]
if "EXCLIP_FUZZ_CASE" in os.environ:
    CASES = [os.environ["EXCLIP_FUZZ_CASE"]]

CAPTIONS = ("a red boat", "boat", "a small house left of two red boats")
TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 6e-2}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and restore its modes afterwards."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def own_similarity(this: Family, model: nn.Module, image: Image.Image, caption: str) -> float:
    """Return the cosine similarity from the library's own two calls."""
    with evaluating(model):
        dtype = next(model.parameters()).dtype
        pixels = this.pixels(image)
        pixels = (
            pixels.to(dtype)
            if isinstance(pixels, torch.Tensor)
            else {
                name: value.to(dtype) if value.is_floating_point() else value
                for name, value in pixels.items()
            }
        )
        embeddings = this.encode_image(model, pixels), this.encode_text(model, this.ids(caption))
        return float(torch.cosine_similarity(*(found.double() for found in embeddings)))


class Case:
    """A random case: a model, the changes made to it, and the inputs to explain."""

    def __init__(self, seed: str) -> None:
        self.draw = draw = random.Random(seed)
        self.name = draw.choice(sorted(FAMILIES))
        self.family = family(self.name)
        self.model = copy.deepcopy(self.family.model)
        self.image = Image.fromarray(
            scene(draw.randrange(4), (draw.randrange(20, 70), draw.randrange(20, 70)))
        )
        self.caption = draw.choice(CAPTIONS[:2] if self.name == "own" else CAPTIONS)
        self.wrap = draw.choice(WRAPPERS)
        self.done = [self.name]
        self.options: dict[str, Any] = {
            "method": draw.choice(("exclip",) * 4 + ("frozen",) * 3 + ("similarity", "gradient", "banzhaf"))
        }
        if self.options["method"] == "exclip":
            self.options["tolerance"] = 0.1
        if self.options["method"] == "banzhaf":
            self.options["samples"] = 8
        for side, layers in (("text", self.family.text_layers), ("image", self.family.image_layers)):
            choice = draw.choice((None, None, 0, -1, draw.randrange(len(layers))))
            self.options[f"{side}_layer"] = choice

    def change(self, most: int) -> None:
        for state in self.draw.sample(STATES, self.draw.randint(0, most)):
            with suppress(NotHereError):
                self.done.append(state(self.model, self.draw))

    def explained(self) -> Interactions | str:
        """Return the interactions, or the error message."""
        given = self.family.explained(self.model)
        given = self.wrap(given) if given is self.model else given
        with unchanged(self.model):
            try:
                return explain(given, self.image, self.caption, **self.options, **self.family.options)
            except ExclipError as refusal:
                return str(refusal)

    def check(self) -> str | None:
        """Return what is wrong, or None."""
        try:
            own = own_similarity(self.family, self.model, self.image, self.caption)
        except Exception:
            return None  # the model itself does not run
        found = self.explained()
        if isinstance(found, str):
            return None if found.strip() and "\n" not in found else f"not a one-line message: {found!r}"
        dtype = next(self.model.parameters()).dtype
        if not math.isfinite(own):
            return f"similarity {found.similarity}: not finite, and not refused"
        if not abs(own - found.similarity) <= TOLERANCE.get(dtype, 1e-3):
            return f"similarity {found.similarity:.5f}, the model's own {own:.5f}"
        missing = abs(found.total) * found.residual
        # If large terms cancel to a total near zero, the relative residual means little.
        is_complete = found.residual <= 0.1 or missing <= 0.01
        if found.method in ("exclip", "frozen") and not is_complete and not self.converges(found):
            return f"residual {found.residual:.3g} with {found.steps} nodes, total {found.total:.3g}"
        return None

    def converges(self, found: Interactions) -> bool:
        """Return whether more nodes bring less of a residual: some hooks make a path that bends sharply."""
        if found.method != "exclip":
            return False
        del self.options["tolerance"]
        self.options["steps"] = 4 * found.steps
        finer = self.explained()
        return not isinstance(finer, str) and finer.residual <= 0.5 * found.residual


def run(seed: str) -> str | None:
    case = Case(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.change(2)
            wrong = case.check()
            if wrong is None and case.draw.random() < 0.5:
                case.done.append("explained; then")
                case.change(1)
                wrong = case.check()
    except Exception as error:
        wrong = f"{type(error).__name__}: {str(error)[:200]}"
    if wrong is None:
        return None
    return f"{seed}: {'; '.join(case.done)}; {case.options}\n    {wrong}"


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(CASES), CHUNK))
def test_right_or_refused(start: int) -> None:
    wrong = [found for seed in CASES[start : start + CHUNK] if (found := run(seed)) is not None]
    assert not wrong, "\n" + "\n".join(wrong)
