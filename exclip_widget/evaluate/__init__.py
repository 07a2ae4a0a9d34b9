"""Scores of explanations: whether heat maps lie on what words name, and predict what the model does.

There are three kinds of scores, and none can replace another:

- `plausibility`: whether a word's heat map lies on what the word names (`hit`, `energy`, `recognition`);
- `faithfulness` and `deletion_curves`: whether interactions predict the similarity when parts are masked;
- `randomisation` and `stability`: whether explanations depend on the weights, and ignore irrelevant changes.

Compare each score with those of the `baselines`: chance, a blob in the middle, and maps that know the truth.
"""

from __future__ import annotations

from ..results.regions import cover
from . import baselines, metrics
from .faithfulness import Curves, Faithfulness, MaskedPair, deletion_curves, faithfulness, mask_pair
from .pairs import LabelledPair, Mention, labelled, labelled_pair
from .plausibility import Plausibility, Score, plausibility
from .sanity import randomisation, stability

__all__ = [
    "Curves",
    "Faithfulness",
    "LabelledPair",
    "MaskedPair",
    "Mention",
    "Plausibility",
    "Score",
    "baselines",
    "cover",
    "deletion_curves",
    "faithfulness",
    "labelled",
    "labelled_pair",
    "mask_pair",
    "metrics",
    "plausibility",
    "randomisation",
    "stability",
]
