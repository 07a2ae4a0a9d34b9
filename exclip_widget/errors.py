"""Errors about inputs, one class for each kind of input."""


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
