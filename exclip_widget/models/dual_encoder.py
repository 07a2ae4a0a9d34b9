"""User-defined models: two callables, and the modules to cut at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from ..checks import finite_number, positive_number, whole_number
from ..errors import ModelError, ParameterError, named_type
from ..paths.cut import Layer
from ..results.classification import Logits
from .as_written import is_as_written
from .family import Family
from .stems import patch_size_of
from .tower import ANY_VOCABULARY, ImageTower, TestRun, TextTower

Encode = Callable[[Tensor], object]


class DualEncoder:
    """Any model with a text and an image encoder, described so that it can be explained.

    Parameters
    ----------
    model : torch.nn.Module
        The model that contains both.
    encode_text, encode_image : callable
        From token ids (batch, tokens), and from pixels (batch, 3, height, width), to embeddings
        (batch, embed). They run `model`. Up to the layer of a cut, they may be given a batch of one.
    text_layers, image_layers : sequence of str
        Paths of the modules in `model`, from first to last, at whose input each encoder can be cut. The
        first tensor that they take, by itself or in a list or tuple, must be (batch, tokens, width),
        (tokens, batch, width) or (batch, width, rows, columns).
    context_length : int
        Largest number of tokens in a caption.
    padded : bool
        Whether captions must be padded to that length, and the padding is read. If not, captions are
        passed without padding.
    grid : (int, int), optional
        Rows and columns of patches, if they are neither as many as fit into the image side by side nor a grid
        with its proportions.
    extra_tokens : int, optional
        Number of tokens before the patches, such as a class token. By default it is inferred.
    channels_last : bool, optional
        Whether feature maps are (batch, rows, columns, width) rather than (batch, width, rows, columns). By
        default this is inferred from their shape and the image's.
    logit_scale : float, optional
        Factor by which the model multiplies similarities, such as 100 in CLIP. Without it, captions are
        ranked by their similarities and have no probabilities.
    logit_bias : float, optional
        What the model then adds, if it judges each caption by itself, as SigLIP does.

    Raises
    ------
    ParameterError
        If a path names no module, an encoder is not callable, a grid is not two whole numbers, or there is a
        bias without a scale.
    ModelError
        If `model` is not a module.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        encode_text: Encode,
        encode_image: Encode,
        text_layers: Sequence[str],
        image_layers: Sequence[str],
        context_length: int = 77,
        padded: bool = False,
        grid: tuple[int, int] | None = None,
        extra_tokens: int | None = None,
        channels_last: bool | None = None,
        logit_scale: float | None = None,
        logit_bias: float | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ModelError(f"model is {named_type(model)}; expected a torch.nn.Module")
        for name, encode in (("encode_text", encode_text), ("encode_image", encode_image)):
            if not callable(encode):
                raise ParameterError(f"{name}={encode!r} is not callable; expected a function of a tensor")
        self.logits = _logits(logit_scale, logit_bias)
        self.model = model
        self._encode_text = encode_text
        self._encode_image = encode_image
        self._text_layers = _layers(model, "text_layers", text_layers, None)
        self._image_layers = _layers(model, "image_layers", image_layers, channels_last)
        self._context_length = context_length
        self._padded = padded
        self._grid = None if grid is None else _grid(grid)
        self._extra_tokens = extra_tokens
        # Remembered: a test run takes many passes up to the layer, which may be a late one.
        self._test_runs: dict[object, TestRun] = {}

    def __repr__(self) -> str:
        texts, images = len(self._text_layers), len(self._image_layers)
        return f"DualEncoder({type(self.model).__name__}: {texts} text layers, {images} image layers)"

    def __deepcopy__(self, memo: dict[int, Any]) -> DualEncoder:
        """Return a description of a copy of the model.

        Raises
        ------
        ParameterError
            If an encoder is a function, which would still run the model itself.
        """
        for name, encode in self.functions.items():
            if isinstance(encode, FunctionType):
                raise ParameterError(
                    f"{name} is a function, which a copy would still run on the model itself; expected a "
                    "method of the model, or a functools.partial that is given the model"
                )
        other = memo[id(self)] = object.__new__(type(self))
        vars(other).update(copy.deepcopy(vars(self), memo))
        return other

    @property
    def functions(self) -> dict[str, Encode]:
        """The two encoders that it was given, by parameter name."""
        return {"encode_text": self._encode_text, "encode_image": self._encode_image}

    def towers(self) -> tuple[TextTower, ImageTower]:
        """Return the text tower and the image tower."""
        example, grid = next(self.model.parameters()), self._grid
        # Positions may have an embedding too, but there are more token ids.
        rows = [part.num_embeddings for part in self.model.modules() if isinstance(part, nn.Embedding)]
        return (
            TextTower(
                side="text",
                root=self.model,
                encode=lambda ids: self._encode_text(ids.to(example.device)),
                layers=self._text_layers,
                context_length=self._context_length,
                vocabulary=max(rows, default=ANY_VOCABULARY),
                padded=self._padded,
                end_of=lambda ids: len(ids) - 1,
            ),
            ImageTower(
                side="image",
                root=self.model,
                encode=lambda pixels: self._encode_image(pixels.to(example)),
                layers=self._image_layers,
                encoder_code=_code_of(self._encode_image, self.model),
                size=None,
                grid_of=None if grid is None else lambda *_: grid,
                extra_tokens=self._extra_tokens,
                patch=patch_size_of(self.model.modules()),
                is_described=True,
                test_runs=self._test_runs,
            ),
        )


class DualEncoderFamily(Family):
    """User-defined models."""

    models = "DualEncoder"

    def recognises(self, model: Any) -> bool:
        """Return whether the model is a `DualEncoder`."""
        return isinstance(model, DualEncoder)

    def towers(self, model: DualEncoder) -> tuple[TextTower, ImageTower]:
        """Return the model's text and image towers."""
        return model.towers()

    def logits(self, model: DualEncoder) -> Logits | None:
        """Return the logit scale and bias that the user specified; None without a scale."""
        return model.logits


def _grid(given: Any) -> tuple[int, int]:
    try:
        rows, columns = given
    except (TypeError, ValueError):
        raise ParameterError(f"grid={given!r} is not a pair; expected rows and columns of patches") from None
    return whole_number("the first of grid", rows), whole_number("the second of grid", columns)


def _logits(scale: Any, bias: Any) -> Logits | None:
    if scale is not None:
        scale = positive_number("logit_scale", scale)
    elif bias is not None:
        raise ParameterError(f"logit_bias={bias!r} needs a logit_scale; pass both")
    if bias is not None:
        bias = finite_number("logit_bias", bias)
    return None if scale is None else Logits(scale, bias)


def _code_of(encode: Encode, model: nn.Module) -> object:
    """Return `encode` if it is a library's own method of the model; None if it may read anything else."""
    name = getattr(encode, "__name__", "")
    own = getattr(encode, "__self__", None) is model and is_as_written(model, name, installed=True)
    return encode if own else None


def _layers(
    model: nn.Module, name: str, paths: Sequence[str], channels_last: bool | None
) -> tuple[Layer, ...]:
    modules = dict(model.named_modules())
    if isinstance(paths, str) or not paths or not all(isinstance(path, str) for path in paths):
        raise ParameterError(f"{name}={paths!r:.200} is not a list of module paths, such as 'blocks.0'")
    for path in paths:
        if path not in modules:
            raise ParameterError(
                f"{name} has {path!r}, which is not a module of the model: {_near(path, modules)}"
            )
    return tuple(Layer(path, modules[path], channels_last=channels_last) for path in paths)


def _near(path: str, modules: dict[str, nn.Module]) -> str:
    """Describe the children of the longest part of `path` that exists."""
    while path and path not in modules:
        path = path.rpartition(".")[0]
    children = ", ".join(repr(f"{path}.{name}".lstrip(".")) for name, _ in modules[path].named_children())
    return f"{repr(path) if path else 'it'} has {children or 'no modules'}"
