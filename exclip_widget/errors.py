"""Errors about inputs, one class for each kind of input, and how their messages name a value's type."""

from __future__ import annotations

import re


class ExclipError(Exception):
    """Base class of every error that this package raises about its inputs."""


class CaptionError(ExclipError, ValueError):
    """The caption is not text, is empty, or does not fit the model's context."""


class ImageError(ExclipError, ValueError):
    """The image is missing, unreadable, empty, or in a form that cannot be interpreted."""


class ModelError(ExclipError, TypeError):
    """The model is of a kind, or in a state, that cannot be explained."""


class ParameterError(ExclipError, ValueError):
    """A parameter such as `steps`, `rule` or a layer is out of range."""


class FileError(ExclipError, ValueError):
    """A file cannot be written, or its contents are not what was expected."""


class MissingLibraryError(ExclipError, ImportError):
    """An optional library that this call needs is not installed, or cannot be imported."""


def named_type(value: object) -> str:
    """Return the name of a value's type with its article.

    Examples
    --------
    >>> named_type(3), named_type("a boat"), named_type(None)
    ('an int', 'a str', 'a NoneType')
    """
    return with_article(type(value).__name__)


def with_article(name: str) -> str:
    """Return the name of a type after "a" or "an", by how it is said.

    Examples
    --------
    >>> [with_article(name) for name in ("Explainer", "ndarray", "Union", "MLP", "MultiheadAttention")]
    ['an Explainer', 'an ndarray', 'a Union', 'an MLP', 'a MultiheadAttention']
    """
    letters = r"[AEFHILMNORSX](?![a-z])"  # as in "an MLP"
    vowels = r"(?i:[aeio]|nd|un(?!i)|up)"  # not in "Union", "UserDict", "uint8"
    said_with_vowel = re.match(f"{letters}|{vowels}", name)
    return f"{'an' if said_with_vowel else 'a'} {name}"
