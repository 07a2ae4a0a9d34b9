"""What can be wrong with an input, one class for each kind of input."""


class ExclipError(Exception):
    """Base of every error that this package raises about its inputs."""


class CaptionError(ExclipError, ValueError):
    """The caption is not text, is empty, or does not fit the model's context."""


class PictureError(ExclipError, ValueError):
    """The picture is missing, unreadable, empty, or of a form that has no one reading."""


class ModelError(ExclipError, TypeError):
    """The model is of a kind, or in a state, that cannot be explained."""


class ParameterError(ExclipError, ValueError):
    """A parameter such as `steps`, `rule` or a layer is out of its range."""
