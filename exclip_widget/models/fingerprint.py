"""Fingerprints of a module's state: equal only if nothing about it has changed.

They cover all of a module's attributes and every byte of its weights, because autograd's version counters
miss changes through `.data` and NumPy, and a sum misses permutations. If a module has an attribute that
cannot be described, or does not run its library's own code, changes cannot be detected, and there is no
fingerprint.
"""

from __future__ import annotations

import enum
import functools
import itertools
import operator
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from ..paths.cut import FAULTS, is_out_of_memory
from .as_written import LIBRARIES, TENSORS, are_as_written, class_data, is_library_function

Fingerprint = tuple[object, ...]


def fingerprint(modules: Iterable[nn.Module]) -> Fingerprint | None:
    """Return a fingerprint of modules' code, settings and weights; None if changes cannot be detected."""
    described = _describe(modules)
    return None if described is None else (described[0], _hash_tensors(described[1]))


def outline(modules: Iterable[nn.Module]) -> Fingerprint | None:
    """Return a fingerprint that reads no weights, so it misses changes to them that autograd does not count.

    It reads masks and other small buffers, because their values decide how a model may be run.
    """
    described = _describe(modules)
    if described is None:
        return None
    text, tensors = described
    small = [tensor for tensor in tensors if _is_small_buffer(tensor)]
    places = tuple((tensor.data_ptr(), version_of(tensor)) for tensor in tensors)
    return text, places, _hash_tensors(small)


def digest(tensor: Tensor) -> bytes:
    """Return a hash of a tensor's values, shape and dtype."""
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    # One thread, so that the hash of an image is the same on every machine.
    return f"{whole.dtype} {tuple(whole.shape)} ".encode() + _hash_tensors([whole], most_threads=1)


def weights_fingerprint(module: nn.Module) -> str:
    """Return a hash of a module's weights and buffers with their names, the same in every process.

    It shows whether factors from two processes belong together. It covers neither code nor settings. Types
    other than float32 are named in it, such as ``"…-float16"``, because a model that is loaded in another
    precision has other weights.
    """
    state, kinds = xxhash.xxh3_128(), set()
    held = itertools.chain(module.named_parameters(), module.named_buffers())
    # A compiled module has the weights of the module that it compiles.
    for name, tensor in sorted({name.replace("_orig_mod.", ""): tensor for name, tensor in held}.items()):
        parts = [tensor.detach()] if tensor.layout is torch.strided else _parts(tensor)
        for part in parts:
            plain = part.dequantize() if part.is_quantized else part
            whole = plain.cpu().contiguous().reshape(-1)
            state.update(f"{name} {whole.dtype} {tuple(part.shape)} ".encode())
            state.update(whole.view(torch.uint8).numpy().data)
            kinds |= {str(whole.dtype).removeprefix("torch.")} if whole.is_floating_point() else set()
    return "-".join((state.hexdigest(), *sorted(kinds - {"float32"})))


def known_weights(module: nn.Module, *, again: bool = False) -> str | None:
    """Return `weights_fingerprint`, computed again only if the weights seem to have changed, or if asked.

    A change shows in where they are in memory, in autograd's count of changes and, if they were changed
    through `.data` or NumPy, in one value of each tensor: training and averaging change all values. So all
    weights are read only once for each of their states.

    None if the weights cannot be hashed, such as those in tensors of some other library's class.
    """
    try:
        state = _weights_outline(module)
        known = _known_weights.get(module)
        if again or known is None or known[0] != state:
            known = _known_weights[module] = state, weights_fingerprint(module)
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
        return None
    return known[1]


_known_weights: WeakKeyDictionary[nn.Module, tuple[object, str]] = WeakKeyDictionary()


def _weights_outline(module: nn.Module) -> tuple[object, ...]:
    """Return what changes with a module's weights, except for single values changed without autograd."""
    places: list[object] = []
    values: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        plain = tensor.detach()
        for part in [plain] if plain.layout is torch.strided else _parts(plain):
            places.append((name, part.data_ptr(), version_of(tensor), _layout(part)))
            if part.numel() and not part.is_quantized:
                offset = part.storage_offset() + _place(part.shape, part.stride())
                values.setdefault((part.dtype, part.device), []).append(part.as_strided((1,), (1,), offset))
    found = [torch.cat(some).cpu().view(torch.uint8).numpy().tobytes() for some in values.values()]
    return places, found


@functools.cache
def _place(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Return where in a tensor's memory to look for a change: not at an edge, which may be padding."""
    return sum(int(length * GOLDEN) * step for length, step in zip(shape, stride, strict=True))


GOLDEN = 0.618
"""Where in a tensor, along each of its axes, to look for a change."""


class _IndescribableError(Exception):
    """Raised for a value whose changes could not be detected."""


def _describe(modules: Iterable[nn.Module]) -> tuple[object, list[Tensor]] | None:
    """Return a description of all attributes of modules, and the tensors whose bytes complete it."""
    modules = list(modules)
    if not are_as_written(modules, installed=True):
        return None
    describer = _Describer(modules)
    try:
        return (_surroundings(), [describer.module(module) for module in modules]), describer.tensors
    except _IndescribableError:
        return None


def _surroundings() -> object:
    """Return the settings that affect the results of torch's own functions: device, precision, backends."""
    return (
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
        *_float32_precision(),
    )


def _float32_precision() -> list[object]:
    """Return torch's settings of the precision in which float32 tensors are multiplied.

    Its newer settings, one for each backend and operation, show the older ones as well. The older ones
    raise an error on being read once a newer one has been set.
    """
    if not hasattr(torch.backends, "fp32_precision"):  # before torch 2.9
        return [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32]
    return [operator.attrgetter(place)(torch.backends) for place in _FLOAT32_PRECISIONS]


_FLOAT32_PRECISIONS = [
    f"{backend}fp32_precision"
    for backend in (
        *("", "cuda.matmul.", "cudnn.", "cudnn.conv.", "cudnn.rnn."),
        *("mkldnn.", "mkldnn.matmul.", "mkldnn.conv.", "mkldnn.rnn."),
    )
]


# ------------------------------------------------------------------------------------- descriptions

_PLAIN = {type(None), bool, int, str, bytes, torch.dtype, torch.device, torch.memory_format, torch.layout}

_NOT_OF_THE_STATE = {
    "_modules",  # described by themselves
    "training",  # explanations are computed in evaluation mode
    "_compiled_call_impl",  # and without compiled code
    "_is_full_backward_hook",
    "_non_persistent_buffers_set",
    # Hooks that run in a pass are checked in `as_written`, and others do not run in one.
    *(name for name in vars(nn.Module()) if "hook" in name),
}


class _Describer:
    """Describes values so that descriptions are equal only if the values are, and collects their tensors."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.tensors: list[Tensor] = []
        self._modules = {id(module) for module in modules}
        self._objects: dict[int, int] = {}
        self._classes: dict[type, object] = {}

    def module(self, module: nn.Module) -> object:
        """Return a description of a module's class and attributes."""
        kind, children = type(module), [(name, id(child)) for name, child in module._modules.items()]
        if kind not in self._classes:
            self._classes[kind] = self._attributes(class_data(kind), set())
        own = self._attributes(vars(module), _NOT_OF_THE_STATE)
        return id(module), kind, self._classes[kind], children, own

    def _attributes(self, values: dict[str, Any], without: set[str]) -> object:
        return [(name, self._value(value)) for name, value in values.items() if name not in without]

    def _value(self, value: Any) -> object:
        kind = type(value)
        if kind in _PLAIN:
            return kind, value
        if kind in TENSORS:
            return self._tensor(value)
        if isinstance(value, dict):
            if all(type(key) is str for key in value):
                return kind, [(key, self._value(held)) for key, held in value.items()]
            return kind, [(self._value(key), self._value(held)) for key, held in value.items()]
        if isinstance(value, (tuple, list)):
            return kind, [self._value(held) for held in value]
        if isinstance(value, nn.Module):
            if id(value) in self._modules:
                return id(value)
            raise _IndescribableError
        return self._other(value)

    def _other(self, value: Any) -> object:
        kind = type(value)
        if kind in (float, complex):
            return kind, repr(value)  # NaN is not equal to itself
        if kind in (set, frozenset):
            return kind, sorted(map(repr, map(self._value, value)))
        if isinstance(value, (enum.Enum, torch.Size)):
            return kind, repr(value)
        if isinstance(value, type):
            return value
        if kind is functools.partial and not vars(value):
            return kind, [self._value(part) for part in (value.func, value.args, value.keywords)]
        if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            return kind, value.dtype.str, value.shape, value.tobytes()
        if callable(value) and is_library_function(value):
            return value
        package = kind.__module__.partition(".")[0]
        if package not in LIBRARIES or not hasattr(value, "__dict__") or hasattr(kind, "__slots__"):
            raise _IndescribableError
        if id(value) in self._objects:
            return self._objects[id(value)]
        self._objects[id(value)] = len(self._objects)
        return kind, self._attributes(vars(value), set())

    def _tensor(self, tensor: Tensor) -> object:
        if tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested:
            self.tensors.append(tensor)
            return _layout(tensor)
        parts = _parts(tensor)
        self.tensors += parts
        return tensor.layout, tensor.shape, [_layout(part) for part in parts]


_SPARSE_PARTS = {
    torch.sparse_coo: (Tensor._indices, Tensor._values),
    torch.sparse_csr: (Tensor.crow_indices, Tensor.col_indices, Tensor.values),
    torch.sparse_bsr: (Tensor.crow_indices, Tensor.col_indices, Tensor.values),
    torch.sparse_csc: (Tensor.ccol_indices, Tensor.row_indices, Tensor.values),
    torch.sparse_bsc: (Tensor.ccol_indices, Tensor.row_indices, Tensor.values),
}


def _parts(tensor: Tensor) -> list[Tensor]:
    """Return the dense tensors that make up a sparse one."""
    if tensor.is_quantized or tensor.is_nested or tensor.layout not in _SPARSE_PARTS:
        raise _IndescribableError
    return [part(tensor.detach()) for part in _SPARSE_PARTS[tensor.layout]]


def _layout(tensor: Tensor) -> tuple[object, ...]:
    """Return how a dense tensor reads its memory."""
    return (
        tensor.dtype,
        tensor.device,
        tensor.shape,
        tensor.stride(),
        tensor.storage_offset(),
        tensor.is_neg() or tensor.is_conj(),
    )


_SMALL = 2**19
"""Largest storage, in bytes, of a buffer that an outline reads."""


def _is_small_buffer(tensor: Tensor) -> bool:
    # Statistics of normalisation, with one dimension, are weights in all but name.
    is_weight = isinstance(tensor, nn.Parameter) or tensor.dim() < 2
    return not is_weight and tensor.untyped_storage().nbytes() <= _SMALL


def version_of(tensor: Tensor) -> int:
    """Return autograd's count of changes; -1 if it keeps none, as of values made in inference mode."""
    try:
        return tensor._version
    except RuntimeError:
        return -1


# ------------------------------------------------------------------------------------------- bytes

_CHUNK = 2**22
"""Bytes that are hashed at a time."""


def _hash_tensors(tensors: list[Tensor], *, most_threads: int = 2) -> bytes:
    """Return a hash of all bytes in the storages of dense tensors, in order."""
    storages = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.device.type != "meta":
            storages[storage.data_ptr(), storage.nbytes()] = storage  # two may start at one address
    chunks: list[np.ndarray] = []
    hashes: list[bytes] = []
    for storage in storages.values():
        whole = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        if whole.is_cpu:
            memory = whole.numpy()
            chunks += [memory[at : at + _CHUNK] for at in range(0, len(memory), _CHUNK)]
        else:
            hashes.append(_hash_on_device(whole))
    # Split between two threads: xxhash releases the GIL, and one thread does not saturate the memory bus.
    threads = most_threads if torch.get_num_threads() > 1 and len(chunks) > 8 else 1
    shares = [chunks[first::threads] for first in range(threads)]
    hashes += map(_hash_chunks, shares) if threads == 1 else _pool().map(_hash_chunks, shares)
    return b"".join(hashes)


def _hash_chunks(chunks: list[np.ndarray]) -> bytes:
    state = xxhash.xxh3_128()
    for chunk in chunks:
        state.update(chunk.data)
    return state.digest()


_pools: list[ThreadPoolExecutor] = []


def _pool() -> ThreadPoolExecutor:
    if not _pools:
        _pools.append(ThreadPoolExecutor(2, thread_name_prefix="exclip-hash"))
    return _pools[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # its threads do not exist in the child


def _hash_on_device(memory: Tensor) -> bytes:
    """Return a hash of bytes on an accelerator, computed there: a sum of numbers mixed with their indices."""
    sums = []
    for chunk in torch.split(memory, 2**26):
        padded = torch.nn.functional.pad(chunk, (0, -len(chunk) % 4))
        mixed = padded.view(torch.int32).long()
        mixed = mixed + 0x9E3779B97F4A7C1 * torch.arange(1, len(mixed) + 1, device=chunk.device)
        for shift, factor in ((33, -0xAE502812AA7333), (29, -0x3B314601E57A13AD)):
            mixed = (mixed ^ (mixed >> shift)) * factor
        sums.append(torch.stack([mixed.sum(), (mixed ^ (mixed >> 32)).sum()]))
    return torch.stack(sums).cpu().numpy().tobytes()
