"""Whether a module runs its library's own code, and nothing else.

Only then may handwritten code stand in for a module, and only then may its results be cached. A class is its
library's own if every function that a pass can reach has the code in the library's file. An instance is as
written if, in addition, no hooks but ours watch it and none of its own attributes shadow those functions.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

LIBRARIES = ("torch", "torchvision", "open_clip", "clip", "timm", "transformers", "peft")
"""Packages whose own modules are recognised."""

OUR_HOOKS = f"{__package__.partition('.')[0]}.paths.cut"
"""Module of the hooks that this package puts on a model for a single pass."""

_WATCHERS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_MACHINERY = (
    *("__call__", "_wrapped_call_impl", "_call_impl", "_slow_forward", "__getattr__"),
    *("__iter__", "__getitem__", "__len__"),
)
"""Functions that a pass calls implicitly: before `forward`, and to iterate over a container's modules."""


def are_as_written(modules: Iterable[nn.Module]) -> bool:
    """Return whether all of `modules` run their libraries' own `forward`, with no hooks but ours."""
    own: dict[type, frozenset[str] | None] = {}
    return not is_watched_globally() and all(_is_as_written(module, "forward", own) for module in modules)


def is_as_written(module: nn.Module, method: str = "forward") -> bool:
    """Return whether a module runs its library's own `method` and all it calls, with no hooks but ours."""
    return not is_watched_globally() and _is_as_written(module, method, {})


def _is_as_written(module: nn.Module, method: str, own: dict[type, frozenset[str] | None]) -> bool:
    kind = type(module)
    if kind not in own:
        own[kind] = functions_reached(kind, method)
    reached, state = own[kind], vars(module)
    if reached is None or not reached.isdisjoint(state) or is_watched(module):
        return False
    implementation = getattr(state.get("config"), "_attn_implementation", None)
    return implementation is None or all(map(_reaches_own_functions, _registered(implementation)))


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


def functions_reached(kind: type, method: str = "forward") -> frozenset[str] | None:
    """Return the names of a class's functions that `method` may call; None if one is not its library's own.

    A function may call anything that its code names, whether a method of the class or a function of its
    module.
    """
    known = _searches.get((kind, method))
    if known is None or not known.is_current():
        known = _searches[kind, method] = _search(kind, method)
    return known.names


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
    """A search through what a method may call: its result, and everything that it depends on."""

    def __init__(self) -> None:
        self.names: frozenset[str] | None = None
        self._looked_up: list[tuple[Mapping[str, Any], str, object]] = []
        self._functions: dict[FunctionType, CodeType] = {}

    def look_up(self, namespace: Mapping[str, Any], name: str) -> Any:
        """Return what a name refers to, or `_NOTHING`, and note the answer."""
        found = namespace.get(name, _NOTHING)
        self._looked_up.append((namespace, name, found))
        return found

    def note(self, functions: Iterable[FunctionType]) -> None:
        """Note functions, whose code may be replaced later."""
        self._functions |= {function: function.__code__ for function in functions}

    def is_current(self) -> bool:
        """Return whether the search would find the same again."""
        return all(
            namespace.get(name, _NOTHING) is found for namespace, name, found in self._looked_up
        ) and all(function.__code__ is code for function, code in self._functions.items())


_NOTHING: Any = object()

_searches: dict[tuple[type | FunctionType, str], _Search] = {}


def _search(kind: type, method: str) -> _Search:
    search = _Search()
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
        if base.__module__.partition(".")[0] not in LIBRARIES:
            if base.__module__.partition(".")[0] in ("abc", "typing", "builtins", "collections"):
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
        found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        return (owner, found) if callable(found) and not isinstance(found, type) else None
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
    """Return whether all module-level functions that a function may reach are libraries' own."""
    queue = list(_layers(function))
    while queue:
        one = queue.pop()
        if one in seen:
            continue
        seen.add(one)
        if not _is_searched(one):
            continue
        for called in _called_by(one, search):
            search.note(_layers(called))
            if not is_library_function(called):
                return False
            queue += _layers(called)
    return True


def _is_searched(function: FunctionType) -> bool:
    # Deeper inside, torch has thousands of functions that nobody replaces for a model.
    module = function.__module__ or ""
    return not module.startswith("torch.") or module.startswith("torch.nn.")


def _called_by(function: FunctionType, search: _Search) -> Iterator[FunctionType]:
    """Yield the functions that a function's code names, in its module or in a module that it names."""
    names = _names_in(function)
    for name in names:
        found = search.look_up(function.__globals__, name)
        if isinstance(found, FunctionType):
            yield found
        elif isinstance(found, ModuleType) and found.__name__.startswith(_SEARCHED):
            members = (search.look_up(vars(found), part) for part in names)
            yield from (member for member in members if isinstance(member, FunctionType))


_SEARCHED = ("torch.nn", "open_clip", "clip.", "timm.layers")
"""Modules whose functions models call through the module, such as `F.linear`."""
