"""Results: what an explanation consists of, as plain numbers. Importable without torch."""

from .classification import Classification, Logits
from .factors import Factors, Samples
from .interactions import Interactions, interactions_of
from .origin import Origin, View
from .rows import Grid, Tokens
from .second_order import SecondOrder, second_order_of

__all__ = [
    "Classification",
    "Factors",
    "Grid",
    "Interactions",
    "Logits",
    "Origin",
    "Samples",
    "SecondOrder",
    "Tokens",
    "View",
    "interactions_of",
    "second_order_of",
]
