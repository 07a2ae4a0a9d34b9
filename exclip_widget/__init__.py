"""Which words of a caption speak to which patches of a picture, in CLIP-like models."""

from importlib.metadata import PackageNotFoundError, version

from . import demo
from .errors import CaptionError, ExclipError, ModelError, ParameterError, PictureError
from .explainer import Explainer, explain
from .models.dual_encoder import DualEncoder
from .results.factors import Factors
from .results.interactions import Interactions, interactions_of
from .widget.widget import ExplainWidget

try:
    __version__ = version("exclip-widget")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = [
    "CaptionError",
    "DualEncoder",
    "ExclipError",
    "ExplainWidget",
    "Explainer",
    "Factors",
    "Interactions",
    "ModelError",
    "ParameterError",
    "PictureError",
    "demo",
    "explain",
    "interactions_of",
]
