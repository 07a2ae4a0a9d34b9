"""Methods of explanation: each is one function from a side to its factors. Interactions are their product."""

from typing import Any

from ..results.interactions import Estimate, product, residual
from .banzhaf import Banzhaf
from .base import Method
from .gradient import GradientActivation
from .integrated_jacobians import IntegratedJacobians
from .similarity import TokenSimilarity

METHODS: dict[str, Any] = {
    method.name: method for method in (IntegratedJacobians, TokenSimilarity, GradientActivation, Banzhaf)
}
"""Every method by the name that users call it."""

__all__ = [
    "METHODS",
    "Banzhaf",
    "Estimate",
    "GradientActivation",
    "IntegratedJacobians",
    "Method",
    "TokenSimilarity",
    "product",
    "residual",
]
