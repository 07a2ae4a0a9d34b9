"""Import OpenAI's ``clip`` without its warning."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # The PyPI stand-in of OpenAI's package imports the deprecated pkg_resources.
    warnings.simplefilter("ignore")
    import clip
    import clip.model

__all__ = ["clip"]
