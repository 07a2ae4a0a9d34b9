"""Results: what an explanation consists of, as plain numbers. Importable without torch."""

from .factors import Factors, Samples
from .interactions import Interactions, interactions_of
from .rows import Grid, Tokens

__all__ = ["Factors", "Grid", "Interactions", "Samples", "Tokens", "interactions_of"]
