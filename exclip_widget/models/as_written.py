"""Whether a module runs its library's own code, and nothing else.

Only then may handwritten code stand in for a module, and only then may its results be cached. A class is its
library's own if every function that a pass can reach has the code in the library's file. An instance is as
written if, in addition, no hooks but ours watch it, none of its own attributes shadow those functions, none
of its weights is hidden by an attribute of the class, and all of them are of torch's own types: others, such
as quantised weights, bring functions that run in place of torch's. Nothing is as written while torch itself
is not; see `originals`.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import _lru_cache_wrapper, cache, cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from .installed import is_as_installed
from .originals import is_torch_itself

LIBRARIES = ("torch", "torchvision", "open_clip", "clip", "timm", "transformers", "peft")
"""Packages whose own modules are recognised."""

OUR_HOOKS = f"{__package__.partition('.')[0]}.paths.cut"
"""Module of the hooks that this package puts on a model for a single pass."""

_WATCHERS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_HELD = ("_parameters", "_buffers", "_modules")
"""Where a module holds what `nn.Module.__getattr__` finds, unless an attribute of the class hides it."""

TENSORS = {Tensor, nn.Parameter, getattr(nn, "Buffer", nn.Parameter)}
"""torch's own types of tensors and weights."""

_MACHINERY = (
    *("__call__", "_wrapped_call_impl", "_call_impl", "_slow_forward", "__getattr__"),
    *("__iter__", "__getitem__", "__len__"),
)
"""Functions that a pass calls implicitly: before `forward`, and to iterate over a container's modules."""


def are_as_written(modules: Iterable[nn.Module], *, installed: bool = False) -> bool:
    """Return whether all of `modules` run their libraries' own `forward`, with no hooks but ours.

    If `installed`, the libraries' files must also be as they were installed: what is known of a library need
    not be true of a copy that somebody has changed.
    """
    own: dict[type, _Search] = {}
    return _is_undisturbed() and all(_is_as_written(module, "forward", own, installed) for module in modules)


def is_as_written(module: nn.Module, method: str = "forward", *, installed: bool = False) -> bool:
    """Return whether a module runs its library's own `method` and all it calls, with no hooks but ours.

    `installed` is explained in `are_as_written`.
    """
    return _is_undisturbed() and _is_as_written(module, method, {}, installed)


def _is_undisturbed() -> bool:
    """Return whether nothing intervenes in all modules at once: hooks, modes, or patches of torch."""
    return not is_watched_globally() and is_torch_itself()


def _is_as_written(module: nn.Module, method: str, own: dict[type, _Search], installed: bool) -> bool:
    kind = type(module)
    if is_quantised(kind):
        return False
    if kind not in own:
        own[kind] = _searched(kind, method)
    search, state = own[kind], vars(module)
    if search.names is None or not search.names.isdisjoint(state) or is_watched(module):
        return False
    if installed and not search.is_installed:
        return False
    held = [state[name] for name in _HELD if state.get(name)]
    if not all(map(search.attributes.isdisjoint, held)) or not all(map(_are_plain, (state, *held))):
        return False
    implementation = getattr(state.get("config"), "_attn_implementation", None)
    return implementation is None or all(map(_reaches_own_functions, _registered(implementation)))


def _are_plain(values: Mapping[str, Any]) -> bool:
    """Return whether all tensors among some attributes are of torch's own types."""
    return not any(map(_is_other_tensor, map(type, values.values())))


@cache
def _is_other_tensor(kind: type) -> bool:
    return issubclass(kind, Tensor) and kind not in TENSORS


def _registered(implementation: object) -> Iterator[Any]:
    """Yield what transformers has registered under the name of an attention implementation."""
    for module, registry in _REGISTRIES:
        known: Any = getattr(sys.modules.get(module), registry, None)
        if known is not None and implementation in known:
            yield known[implementation]


_REGISTRIES = (
    ("transformers.modeling_utils", "ALL_ATTENTION_FUNCTIONS"),
    ("transformers.masking_utils", "ALL_MASK_ATTENTION_FUNCTIONS"),
)


def is_quantised(kind: type) -> bool:
    """Return whether a class is one of torch's quantised modules.

    They round activations by one scale for a whole batch, so inputs and their padding affect one another.
    """
    return "quantized" in kind.__module__


def is_of_library(module: nn.Module) -> bool:
    """Return whether a module's class is one of its library's, whatever has been done to it since."""
    return _package(type(module).__module__) in LIBRARIES


def is_watched(module: nn.Module) -> bool:
    """Return whether a module has forward or backward hooks other than our own."""
    state = vars(module)
    return any(
        getattr(hook, "__module__", None) != OUR_HOOKS
        for name in _WATCHERS
        if state.get(name)
        for hook in state[name].values()
    )


def is_watched_globally() -> bool:
    """Return whether there are hooks that run with every module."""
    return any(bool(getattr(torch_module, f"_global{name}", None)) for name in _WATCHERS)


def class_data(kind: type) -> dict[str, Any]:
    """Return what `forward` may read of a class besides functions; the class was just found as written."""
    return _searches[kind, "forward"].data


def _searched(kind: type, method: str) -> _Search:
    """Return a current search through the functions of a class that `method` may call.

    A function may call anything that its code names, whether a method of the class or a function of its
    module.
    """
    known = _searches.get((kind, method))
    if known is None or not known.is_current():
        known = _searches[kind, method] = _search(kind, method)
    return known


def _reaches_own_functions(function: Any) -> bool:
    """Return whether a function and everything that it may call are their libraries' own."""
    if not isinstance(function, FunctionType):
        return is_library_function(function)
    known = _searches.get((function, ""))
    if known is None or not known.is_current():
        known = _searches[function, ""] = _Search()
        known.note(_layers(function))
        if is_library_function(function) and _globals_are_own(function, set(), known):
            known.names = frozenset()
    return known.names is not None


class _Search:
    """A search through what a method may call: its result, and everything that it depends on.

    Attributes
    ----------
    names : set of str or None
        The class's functions that the method may call; None if one of them is not its library's own.
    data : dict
        The class's other attributes that those functions name.
    attributes : set of str
        The names of all attributes of the class.
    """

    def __init__(self, kind: type | None = None) -> None:
        self.names: frozenset[str] | None = None
        self.data: dict[str, Any] = {}
        classes = [] if kind is None else [vars(base) for base in kind.__mro__]
        self.attributes: frozenset[str] = frozenset().union(*classes)
        self._sizes = [(namespace, len(namespace)) for namespace in classes]
        self._looked_up: dict[tuple[int, str], tuple[Mapping[str, Any], str, object]] = {}
        self._functions: dict[FunctionType, CodeType] = {}

    def look_up(self, namespace: Mapping[str, Any], name: str) -> Any:
        """Return what a name refers to, or `_NOTHING`, and note the answer."""
        found = namespace.get(name, _NOTHING)
        self._looked_up[id(namespace), name] = namespace, name, found
        return found

    def note(self, functions: Iterable[FunctionType]) -> None:
        """Note functions, whose code may be replaced later."""
        self._functions |= {function: function.__code__ for function in functions}

    @cached_property
    def is_installed(self) -> bool:
        """Whether the files of all functions are as they were installed."""
        packages = ((code.co_filename, _package_of(code.co_filename)) for code in self._functions.values())
        return all(package is not None and is_as_installed(file, package) for file, package in packages)

    def is_current(self) -> bool:
        """Return whether the search would find the same again."""
        return (
            all(namespace.get(name, _NOTHING) is found for namespace, name, found in self._looked_up.values())
            and all(function.__code__ is code for function, code in self._functions.items())
            and all(len(namespace) == size for namespace, size in self._sizes)
        )


_NOTHING: Any = object()

_searches: dict[tuple[type | FunctionType, str], _Search] = {}


def _search(kind: type, method: str) -> _Search:
    search = _Search(kind)
    if not _stands_in_its_library(kind, search):
        return search
    names: set[str] = set()
    seen: set[FunctionType] = set()
    queue = [method, *_MACHINERY]
    while queue:
        name = queue.pop()
        if name in names:
            continue
        found = _function_of(kind, name, search)
        if found is None:
            if name == method:
                return search
            continue
        names.add(name)
        owner, function = found
        if not isinstance(function, FunctionType):
            return search
        search.note(_layers(function))
        if not is_library_function(function, owner, name):
            return search
        if owner is nn.Module:
            continue
        # What `nn.Module` itself defines, such as `to`, shares its names with methods of tensors.
        called = _names_in(_unwrapped(function)) - names
        queue += [one for one in called if one not in vars(nn.Module) and hasattr(kind, one)]
        if not _globals_are_own(function, seen, search):
            return search
    search.names = frozenset(names)
    return search


def _stands_in_its_library(kind: type, search: _Search) -> bool:
    """Return whether a class and its bases up to `nn.Module` are the ones found in their modules."""
    for base in kind.__mro__:
        if base in (nn.Module, object):
            continue
        if _package(base.__module__) not in LIBRARIES:
            if _package(base.__module__) in ("abc", "typing", "builtins", "collections"):
                continue
            return False
        found: Any = sys.modules.get(base.__module__)
        for part in base.__qualname__.split("."):
            found = _NOTHING if found is None else search.look_up(vars(found), part)
            if not isinstance(found, type):
                return False
        if found is not base:
            return False
    return issubclass(kind, nn.Module)


def _function_of(kind: type, name: str, search: _Search) -> tuple[type, Any] | None:
    """Return the class from which `kind` gets a function, and the function; None if it has none."""
    for owner in kind.__mro__:
        found = search.look_up(vars(owner), name)
        if found is _NOTHING:
            continue
        function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if callable(function) and not isinstance(function, type):
            return owner, function
        if owner is not object:
            search.data[name] = found
        return None
    return None


# ---------------------------------------------------------------------------------------- functions


def is_library_function(function: Any, owner: type | None = None, name: str | None = None) -> bool:
    """Return whether a function has the code in its library's file, decorators included.

    Parameters
    ----------
    function : object
        Expected to be a function.
    owner, name : optional
        The class in which it was found, and its name there.
    """
    if not isinstance(function, FunctionType):
        return isinstance(function, (BuiltinFunctionType, type)) or _is_native(function)
    inner = _unwrapped(function)
    layers = list(_layers(function))
    if not all(_is_in_its_file(layer.__code__) for layer in layers):
        return False
    # A library's wrapper around a function that its file does not decorate was added later.
    if not _is_decorated(inner.__code__) and not all(map(_is_of_subclassing, layers[:-1])):
        return False
    if owner is None:
        return True
    # Special methods, and the `forward` of modules that define none, also go by other names.
    plain = name is not None and not name.startswith("__") and owner is not nn.Module
    expected = f"{owner.__qualname__}.{name}" if plain else inner.__code__.co_qualname
    return bool(inner.__module__ == owner.__module__ and inner.__code__.co_qualname == expected)


def _is_native(function: object) -> bool:
    return type(function).__module__ in ("torch", "torch._C", "torch._ops", "builtins") and callable(function)


def _layers(function: FunctionType) -> Iterator[FunctionType]:
    """Yield a function, what it wraps, what that wraps, and so on."""
    current: Any = function
    while isinstance(current, FunctionType):
        yield current
        current = vars(current).get("__wrapped__")


def _unwrapped(function: FunctionType) -> FunctionType:
    *_, inner = _layers(function)
    return inner


def _is_decorated(code: CodeType) -> bool:
    """Return whether the file decorates a function, whose first line is then that of the decorator."""
    return linecache.getline(code.co_filename, code.co_firstlineno).lstrip().startswith("@")


def _is_of_subclassing(wrapper: FunctionType) -> bool:
    """Return whether a wrapper is one that a base class puts around a function of every subclass."""
    return ".__init_subclass__." in wrapper.__code__.co_qualname


_in_its_file: dict[int, tuple[CodeType, bool]] = {}


def _is_in_its_file(code: CodeType) -> bool:
    """Return whether code is the same as in its library's file."""
    known = _in_its_file.get(id(code))
    if known is None or known[0] is not code:
        equal = _package_of(code.co_filename) in LIBRARIES and any(
            code == one for one in _codes_of(code.co_filename).get(code.co_qualname, ())
        )
        known = _in_its_file[id(code)] = code, equal  # keeping the code alive keeps its id from being reused
    return known[1]


def _package_of(file: str) -> str | None:
    """Return the library whose folder contains a file; None if there is none."""
    for name in LIBRARIES:
        folder = getattr(sys.modules.get(name), "__file__", None)
        if folder and file.startswith(str(Path(folder).parent)):
            return name
    return None


@cache
def _codes_of(file: str) -> dict[str, list[CodeType]]:
    """Return the code of every function in a file, by its qualified name."""
    try:
        whole = SourceFileLoader("as_written", file).get_code("as_written")
    except (OSError, ImportError, SyntaxError):
        return {}
    found: dict[str, list[CodeType]] = {}
    queue = [whole] if whole is not None else []
    while queue:
        for constant in queue.pop().co_consts:
            if isinstance(constant, CodeType):
                found.setdefault(constant.co_qualname, []).append(constant)
                queue.append(constant)
    return found


@cache
def _names_in_code(code: CodeType) -> frozenset[str]:
    """Return the names of globals and attributes that code mentions, nested code included."""
    inner = [_names_in_code(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return frozenset(code.co_names).union(*inner)


def _names_in(function: FunctionType) -> frozenset[str]:
    return _names_in_code(function.__code__)


def _globals_are_own(function: FunctionType, seen: set[FunctionType], search: _Search) -> bool:
    """Return whether everything outside a class that a function may reach is libraries' own, or Python's."""
    queue = list(_layers(function))
    while queue:
        one = queue.pop()
        if one in seen:
            continue
        seen.add(one)
        if not _is_searched(one):
            continue
        for name, found in _named_by(one, search):
            if not isinstance(found, FunctionType):
                if not _is_known(found):
                    return False
                continue
            search.note(_layers(found))
            if not is_library_function(found) or not _goes_by(found, name):
                return False
            queue += _layers(found)
    return True


def _is_searched(function: FunctionType) -> bool:
    # Deeper inside, torch has thousands of functions that nobody replaces for a model.
    module = function.__module__ or ""
    return not module.startswith("torch.") or module.startswith("torch.nn.")


def _named_by(function: FunctionType, search: _Search) -> Iterator[tuple[str, Any]]:
    """Yield what a function's code names, in its module or in a library's module that it names."""
    names, opened = _names_in(function), set[ModuleType]()
    queue: list[Mapping[str, Any]] = [function.__globals__]
    while queue:
        namespace = queue.pop()
        # A function's own module may gain a name later, which would hide a builtin.
        for name in names if namespace is function.__globals__ else names & namespace.keys():
            found = search.look_up(namespace, name)
            if found is _NOTHING:
                continue
            yield name, found.__wrapped__ if isinstance(found, _lru_cache_wrapper) else found
            is_library = isinstance(found, ModuleType) and _package(found.__name__) in LIBRARIES
            if is_library and found not in opened:
                opened.add(found)
                queue.append(vars(found))


def _is_known(value: Any) -> bool:
    """Return whether a value other than a Python function is a library's or Python's own."""
    if isinstance(value, ModuleType):
        return _is_known_package(value.__name__) and sys.modules.get(value.__name__) is value
    kind = value if isinstance(value, type) else type(value)
    if not _is_known_package(kind.__module__) or kind is SimpleNamespace:
        return False
    if isinstance(value, nn.Module):  # transformers has one named gelu, as the function that others call
        return "forward" not in vars(value) and is_library_function(getattr(value.forward, "__func__", None))
    return not callable(value) or kind.__module__ == "typing" or is_library_function(value)


def _is_known_package(module: str) -> bool:
    package = _package(module)
    return package in LIBRARIES or package in sys.stdlib_module_names or package == "numpy"


def _package(module: str) -> str:
    return module.partition(".")[0]


def _goes_by(function: FunctionType, name: str) -> bool:
    """Return whether a function is the one that its library calls by this name."""
    inner = _unwrapped(function)
    own = inner.__code__.co_qualname
    # A factory gives all its functions one name, and torch imports some under another.
    return own == name or "<locals>" in own or _package(inner.__module__) == "torch"
