"""Results: what an explanation consists of, as plain numbers. Importable without torch."""

from .factors import Factors, Samples
from .interactions import Interactions, interactions_of
from .origin import Origin, View
from .rows import Grid, Tokens

__all__ = ["Factors", "Grid", "Interactions", "Origin", "Samples", "Tokens", "View", "interactions_of"]
