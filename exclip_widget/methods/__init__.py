"""Methods of explanation: each is one function from a side to its factors. Interactions are their product."""

from typing import Any

from .banzhaf import Banzhaf
from .gradient import GradientActivation
from .integrated_jacobians import IntegratedJacobians, residual
from .method import Estimate, Method, product
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
