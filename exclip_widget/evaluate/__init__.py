"""A yardstick for explanations: whether they lie on what words name, and predict what the model does.

Three kinds of scores, none of which stands for another:

- `plausibility`: whether a word's map lies on what the word names (`hit`, `energy`, `recognition`);
- `faithfulness` and `deletion_curves`: whether interactions predict the similarity if parts are masked;
- `randomisation` and `stability`: whether explanations depend on the weights, and only on what matters.

`baselines` are printed beside each score: chance, a blob in the middle, and maps that know the truth.
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
