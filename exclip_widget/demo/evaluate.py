"""Score the picture-book model and all explanations of it: `python -m exclip_widget.demo.evaluate`.

Prints the tables of `docs/evaluation.md`, computed on scenes and collages that were never used in training.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import torch

from ..evaluate import baselines
from ..evaluate.faithfulness import MaskedPair, mask_pair
from ..evaluate.pairs import LabelledPair
from ..evaluate.plausibility import Baseline
from ..evaluate.report import Report, Trial, as_figure, as_markdown, make_report
from ..explainer import Explainer
from .labelled import collages, held_out_pairs
from .picture_book import load_model
from .retrieval import colour_binding, recall_at_1

SCENES, MASKED, COLLAGES = 300, 16, 24
"""Number of scenes, of scenes to mask, and of collages for each number of objects."""


@dataclass(frozen=True)
class Row:
    """A row of the tables: an explanation with its options, or a baseline."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    baseline: Baseline | None = None
    most: int | None = None


EXCLIP = {"method": "exclip"}

ROWS = (
    Row("chance, of both signs", {"method": "similarity"}, baselines.chance()),
    Row("blob in the middle", {"method": "similarity"}, baselines.blob),
    Row("the truth", {"method": "similarity"}, baselines.oracle),
    Row(
        "exclip, text 0, image 2, N = 20", EXCLIP | {"text_layer": 0, "image_layer": 2, "steps": 20}, most=12
    ),
    Row(
        "exclip, text 0, image 0, N = 20", EXCLIP | {"text_layer": 0, "image_layer": 0, "steps": 20}, most=12
    ),
    Row("banzhaf, 512 masks", {"method": "banzhaf"}, most=8),
    Row("frozen, text 0, image 0", {"method": "frozen", "text_layer": 0, "image_layer": 0}, most=150),
    Row("frozen, text 0, image 1", {"method": "frozen"}, most=150),
    Row("frozen, text 0, image 1, length=True", {"method": "frozen", "length": True}, most=150),
    Row("frozen, text 0, image 2", {"method": "frozen", "text_layer": 0, "image_layer": 2}, most=150),
    Row("exclip, last block of both", EXCLIP),
    Row("exclip, text 0, image last", EXCLIP | {"text_layer": 0, "image_layer": -1}),
    Row("gradient, last block but one", {"method": "gradient"}),
    Row("similarity", {"method": "similarity"}),
)


@cache
def _explainer(**options: Any) -> Explainer:
    model, tokenizer, _ = load_model()
    return Explainer(model, tokenizer=tokenizer, **options)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _mask(pair: LabelledPair, seed: int) -> MaskedPair:
    return mask_pair(_explainer(), pair, seed=seed)


def _score(number: int, masked: list[MaskedPair], scenes: int) -> Report:
    """Return the scores of a row. Rows are passed by number, since not every baseline can be pickled."""
    row = ROWS[number]
    several = [collages(max(1, COLLAGES * scenes // SCENES), objects) for objects in (1, 2, 3, 4)]
    return make_report(
        row.name,
        _explainer(**row.options),
        Trial(held_out_pairs(scenes), several, masked),
        baseline=row.baseline,
        most=row.most,
    )


def reports(scenes: int = SCENES) -> list[Report]:
    """Return the scores of every row, computed in parallel on all processors."""
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        masked = list(pool.map(_mask, held_out_pairs(min(MASKED, scenes)), range(MASKED)))
        # Start the slow rows first, without changing their order in the tables.
        order = sorted(range(len(ROWS)), key=lambda number: ROWS[number].most is None)
        found = dict(zip(order, pool.map(partial(_score, masked=masked, scenes=scenes), order), strict=True))
    return [found[number] for number in range(len(ROWS))]


def main() -> None:
    """Print the scores quoted in the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of scenes to score (%(default)s)")
    parser.add_argument("--figure", metavar="FILE", help="plot the scores to a file: .svg, .pdf or .png")
    arguments = parser.parse_args()
    model, tokenizer, _ = load_model()
    to_caption, to_picture = recall_at_1(model, tokenizer)
    print(f"R@1 of 256: picture to caption {to_caption:.3f}, caption to picture {to_picture:.3f}")
    of_caption, of_picture = colour_binding(model, tokenizer)
    print(f"colours exchanged: right caption {of_caption:.3f}, right picture {of_picture:.3f}\n")
    sys.stdout.flush()
    found = reports(arguments.scenes)
    print(as_markdown(found))
    if arguments.figure:
        as_figure(found).savefig(arguments.figure)


if __name__ == "__main__":
    main()
