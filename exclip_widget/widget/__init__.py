"""The widgets."""

from .gallery import ExplainGallery
from .widget import ExplainWidget

__all__ = ["ExplainGallery", "ExplainWidget"]
