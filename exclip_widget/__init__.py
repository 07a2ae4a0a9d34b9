"""Which words of a caption interact with which patches of an image, in CLIP-like models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import datasets, demo, methods, results, store
    from .errors import (
        CaptionError,
        ExclipError,
        FileError,
        ImageError,
        MissingLibraryError,
        ModelError,
        ParameterError,
    )
    from .explainer import Explainer, classify, explain, explain_layers
    from .filling import write_store
    from .masking import MaskingTest
    from .methods import Banzhaf, FrozenGates, GradientActivation, IntegratedJacobians, TokenSimilarity
    from .models.dual_encoder import DualEncoder
    from .results import Classification, Factors, Interactions, interactions_of
    from .results.page import write_page
    from .store import Store
    from .widget import ExplainGallery, ExplainWidget

__all__ = [
    "Banzhaf",
    "CaptionError",
    "Classification",
    "DualEncoder",
    "ExclipError",
    "ExplainGallery",
    "ExplainWidget",
    "Explainer",
    "Factors",
    "FileError",
    "FrozenGates",
    "GradientActivation",
    "ImageError",
    "IntegratedJacobians",
    "Interactions",
    "MaskingTest",
    "MissingLibraryError",
    "ModelError",
    "ParameterError",
    "Store",
    "TokenSimilarity",
    "classify",
    "datasets",
    "demo",
    "explain",
    "explain_layers",
    "interactions_of",
    "methods",
    "results",
    "store",
    "write_page",
    "write_store",
]

# Loaded on first use (PEP 562), so that reading results needs no torch, and explaining a model no widget.
_MODULES = {
    "errors": (
        "CaptionError",
        "ExclipError",
        "FileError",
        "ImageError",
        "MissingLibraryError",
        "ModelError",
        "ParameterError",
    ),
    "explainer": ("Explainer", "classify", "explain", "explain_layers"),
    "filling": ("write_store",),
    "masking": ("MaskingTest",),
    "methods": ("Banzhaf", "FrozenGates", "GradientActivation", "IntegratedJacobians", "TokenSimilarity"),
    "models.dual_encoder": ("DualEncoder",),
    "results": ("Classification", "Factors", "Interactions", "interactions_of"),
    "results.page": ("write_page",),
    "store": ("Store",),
    "widget": ("ExplainGallery", "ExplainWidget"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
