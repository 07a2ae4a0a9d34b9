"""Which words of a caption speak to which patches of a picture, in CLIP-like models."""

from importlib.metadata import PackageNotFoundError, version

from . import demo
from .errors import CaptionError, ExclipError, ModelError, ParameterError, PictureError
from .explain import explain
from .interactions import Interactions
from .widget import ExplainWidget

try:
    __version__ = version("exclip-widget")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = [
    "CaptionError",
    "ExclipError",
    "ExplainWidget",
    "Interactions",
    "ModelError",
    "ParameterError",
    "PictureError",
    "demo",
    "explain",
]
