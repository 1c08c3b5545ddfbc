"""What a result depends on, as short texts: functions, networks, optimisers, sets of images.

A run or a study keeps these facts beside its result. Where it is to be continued, `differences`
says by name what has changed since. A digest, "#1a2b3c4d", stands for what is too long to be kept.

Of a function count its name, its bytecode, its defaults, the arguments of a `partial`, and what it
takes from outside: names of an enclosing function, and globals of code that is not installed. What
can change in place (lists, dictionaries) counts as an argument alone, because a function may fill a
list while it runs. Installed packages count by their names.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import platform
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaetl_helpers.data.images import ImageSet

Identity = dict[str, str]  # facts by name
PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, slice)
SHOWN_BY_NAME = (torch.dtype, torch.device, PurePath, np.dtype, np.generic, Enum)
CODE = " code"  # how the names of facts about code end
PYTHON = "Python"
NONE = "none"
MOST_LISTED = 4
OPTIMISER_WORDS = {"lr": "learning rate"}
COURSE = Path(__file__).parents[1]
STANDARD_LIBRARY = Path(dataclasses.__file__).parent
PACKAGES = {"site-packages", "dist-packages"}


# ---------------------------------------------------------------- contents


def digest(*contents: str | bytes | Tensor) -> str:
    """A short text that another content, in all likelihood, does not have."""
    checksum = 0
    for content in contents:
        checksum = zlib.crc32(_as_bytes(content), checksum)
    return f"#{checksum:08x}"


def _as_bytes(content: str | bytes | Tensor) -> Any:
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    if isinstance(content, bytes):
        return content
    flat = content.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """A digest of named tensors; on which device they are does not matter."""
    contents: list[str | Tensor] = []
    for name in sorted(tensors):  # a file has another order
        contents += [name, tensors[name]]
    return digest(*contents)


def images_digest(images: ImageSet | None) -> str:
    """A digest of images and labels."""
    if images is None:
        return NONE
    return digest(images.images, images.labels)


# ---------------------------------------------------------------- what is compared


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The facts that differ, as in "learning rate 0.1 → 0.01".

    Bytecode is compared within one version of Python alone.
    """
    is_other_python = stored.get(PYTHON) != current.get(PYTHON)
    changes = []
    for name in {**current, **stored}:
        if name == PYTHON or (is_other_python and name.endswith(CODE)):
            continue
        earlier = stored.get(name)
        now = current.get(name)
        if earlier != now:
            changes.append(_change(name, earlier, now))
    return changes


def _change(name: str, before: Any, now: Any) -> str:
    texts = [NONE if fact is None else str(fact) for fact in (before, now)]
    if all(text.startswith("#") for text in texts):
        return f"{name} changed"
    return f"{name} {' → '.join(texts)}"


def listed(changes: Sequence[str]) -> str:
    """The first changes as a text, and how many there are besides."""
    text = "; ".join(changes[:MOST_LISTED])
    others = len(changes) - MOST_LISTED
    return f"{text}; and {others} more" if others > 0 else text


# ---------------------------------------------------------------- facts


def python_identity() -> Identity:
    """The version of Python, which decides what bytecode looks like."""
    version = platform.python_version_tuple()
    return {PYTHON: ".".join(version[:2])}


def function_identity(
    name: str, function: Callable[..., Any] | None, network: nn.Module | None = None
) -> Identity:
    """What a function depends on, under `name`; the `network` that is trained counts by name."""
    if function is None:
        return {name: NONE}
    description = Description(network)
    facts = description.of_function(name, function)
    return facts | description.code(name)


def optimiser_identity(optimizer: Optimizer, network: nn.Module) -> Identity:
    """All settings of an optimiser by group, and which parameters are in the group."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    description = Description()
    count = len(optimizer.param_groups)
    facts: Identity = {"parameter groups": str(count)}
    for number, group in enumerate(optimizer.param_groups, 1):
        place = f" of group {number}" if count > 1 else ""
        for setting, value in group.items():
            if setting == "params":
                members = [names.get(parameter, "?") for parameter in value]
                facts[f"trained parameters{place}"] = digest(*members)
            elif setting != "param_names":
                word = OPTIMISER_WORDS.get(setting, setting)
                facts[word + place] = description.text(value, deep=True)
    description.note_class(type(optimizer))
    return facts | description.code("optimiser")


def network_identity(network: nn.Module) -> Identity:
    """Each layer of a network: its class, its settings, and which parameters are frozen."""
    description = Description(network)
    facts = {}
    for path, layer in network.named_modules():
        name = f"layer {path}" if path else "network"
        facts[name] = description.of_layer(layer)
    return facts | description.code("network")


# ---------------------------------------------------------------- values in words


class Description:
    """Puts values into words, and gathers the bytecode of what it meets."""

    def __init__(self, network: nn.Module | None = None) -> None:
        self.network = network
        self.bytecode: dict[str, str] = {}
        self.outside: dict[str, str] = {}  # what methods of classes take from outside
        self.classes: set[type] = set()
        # By identity; the values themselves are kept so that no other one gets the same.
        self.known: dict[tuple[int, bool], tuple[Any, str]] = {}

    def code(self, name: str) -> Identity:
        """Facts about all code so far."""
        facts = {}
        if self.bytecode:
            facts[name + CODE] = digest(*map(str, sorted(self.bytecode.items())))
        if self.outside:
            facts[f"what {name} takes from outside"] = digest(str(sorted(self.outside.items())))
        return facts

    def text(self, value: Any, deep: bool = False) -> str:
        """A value in words; "" for what can change in place, unless `deep`."""
        if isinstance(value, PLAIN):
            return _plain(value)
        if isinstance(value, SHOWN_BY_NAME):
            return str(value)
        if value is self.network:
            return "the network"
        key = (id(value), deep)
        if key not in self.known:
            self.known[key] = (value, "itself")  # should it hold itself
            self.known[key] = (value, self._text(value, deep))
        return self.known[key][1]

    def _text(self, value: Any, deep: bool) -> str:  # noqa: PLR0911  (one for each kind)
        if isinstance(value, np.ndarray):
            return _array_text(value)
        if isinstance(value, Tensor):
            return _tensor_text(value)
        if isinstance(value, tuple | frozenset):
            return self._collection(value, deep)
        if isinstance(value, list | set | Mapping):
            return self._collection(value, deep) if deep else ""
        if isinstance(value, nn.Module):
            layers = [f"{path}: {self.of_layer(layer)}" for path, layer in value.named_modules()]
            return digest(*layers, tensors_digest(value.state_dict()))
        if isinstance(value, type):
            self.note_class(value)
            return value.__qualname__
        if dataclasses.is_dataclass(value):
            return self._dataclass_text(value)
        facts = self.of_function("", value)
        return digest(str(facts)) if len(facts) > 1 else facts.get("", "")

    def _collection(self, values: Any, deep: bool) -> str:
        kind = "" if isinstance(values, tuple) else type(values).__name__
        if isinstance(values, Mapping):
            items = [f"{self.text(key)}: {self.text(values[key], deep)}" for key in values]
        else:
            items = [self.text(value, deep) for value in values]
        if isinstance(values, set | frozenset):
            items.sort()  # strings come in another order in each process
        text = f"{kind}({', '.join(items)})"
        return text if len(text) < 100 else digest(text)

    def _dataclass_text(self, value: Any) -> str:
        fields = [field.name for field in dataclasses.fields(value) if field.compare]
        items = [f"{name}={self.text(getattr(value, name), deep=True)}" for name in fields]
        return digest(type(value).__qualname__, *items)

    # ------------------------------------------------------------ functions

    def of_function(self, name: str, function: Any) -> Identity:
        """The facts about a function, or about an object and what it holds."""
        function = getattr(function, "_torchdynamo_orig_callable", function)  # if compiled
        if isinstance(function, functools.partial):
            return self._of_partial(name, function)
        if isinstance(function, MethodType):
            facts = self.of_function(name, function.__func__)
            return facts | self._held(name, function.__self__)
        if isinstance(function, FunctionType):
            return self._of_plain_function(name, function)
        if isinstance(function, BuiltinFunctionType | ModuleType):
            return {name: function.__name__}
        kind = function if isinstance(function, type) else type(function)
        self.note_class(kind)
        return {name: _qualified(kind)} | self._held(name, function)

    def _of_partial(self, name: str, function: functools.partial[Any]) -> Identity:
        facts = self.of_function(name, function.func)
        arguments = dict(enumerate(function.args)) | function.keywords
        for argument, value in arguments.items():
            facts[f"{name}'s {argument}"] = self.text(value, deep=True)
        return facts

    def _of_plain_function(self, name: str, function: FunctionType) -> Identity:
        facts = {name: _qualified(function)}
        if _is_installed(function.__code__):
            return facts
        self.bytecode[_qualified(function)] = _code_text(function.__code__, function.__doc__)
        for variable, value in _from_outside(function):
            text = self.text(value)
            if text:
                facts[f"{name}'s {variable}"] = text
        return facts

    def _held(self, name: str, owner: Any) -> Identity:
        """What an object holds, save what can change in place."""
        if isinstance(owner, nn.Module | type):
            return {f"{name}'s weights": self.text(owner)}
        facts = {}
        is_installed = _is_installed_class(type(owner))
        for attribute, value in getattr(owner, "__dict__", {}).items():
            is_simple = isinstance(value, (*PLAIN, Tensor, np.ndarray))
            is_inner = attribute.startswith("_") or not is_simple
            text = "" if is_installed and is_inner else self.text(value)
            if text:
                facts[f"{name}'s {attribute}"] = text
        return facts

    def of_layer(self, layer: nn.Module) -> str:
        """A layer without its weights and without the layers in it."""
        self.note_class(type(layer))
        settings = []
        for name, value in vars(layer).items():
            is_state = name.startswith("_") or name in ("training", "train", "forward")
            text = "" if is_state else self.text(value)
            if text:
                settings.append(f"{name}={text}")
        for name, parameter in layer.named_parameters(recurse=False):
            if not parameter.requires_grad:
                settings.append(f"{name} frozen")
        if isinstance(vars(layer).get("train"), functools.partial):
            settings.append("stays in eval mode")
        return f"{type(layer).__name__}({', '.join(settings)})"

    def note_class(self, kind: type) -> None:
        """Gathers what the methods of a class that is not installed consist of."""
        if kind in self.classes:
            return
        self.classes.add(kind)
        for base in kind.__mro__:
            members = () if _is_installed_class(base) else vars(base).values()
            for member in members:
                function = _function_of(member)
                if function is not None:
                    name = _qualified(function)
                    facts = self._of_plain_function(name, function)
                    facts.pop(name)
                    self.outside |= facts


def _function_of(member: Any) -> FunctionType | None:
    """The function behind a method, a property, a static or a class method."""
    for attribute in ("__func__", "fget"):
        member = getattr(member, attribute, member)
    return member if isinstance(member, FunctionType) else None


def _from_outside(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Defaults, names of enclosing functions, and globals: what decides a function's result."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    parameters = code.co_varnames[: code.co_argcount]
    yield from zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield variable, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    if Path(code.co_filename).is_relative_to(COURSE):
        return
    for variable in sorted(_globals_of(code)):
        value = function.__globals__.get(variable)
        if not isinstance(value, ModuleType | None):
            yield variable, value


def _globals_of(code: CodeType) -> set[str]:
    """The names that a function takes from its module, those of functions inside it as well."""
    names = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            names.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _globals_of(constant)
    return names


def _code_text(code: CodeType, doc: str | None = None) -> str:
    """Bytecode without line numbers, file names and the docstring."""
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            constants.append(_code_text(constant))
        elif constant != doc or doc is None:
            constants.append(Description().text(constant))
    names = (code.co_names, code.co_varnames, code.co_freevars)
    return f"{code.co_code.hex()} {constants} {names} {code.co_argcount}"


def _is_installed(code: CodeType) -> bool:
    """Whether code comes from a package or from Python itself; the course's own does not count."""
    return _is_of_a_package(code.co_filename)


def _is_installed_class(kind: type[Any]) -> bool:
    return kind.__module__ != "__main__" and _is_installed_module(kind.__module__)


@functools.lru_cache(1000)
def _is_installed_module(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or _is_of_a_package(file)


@functools.lru_cache(1000)
def _is_of_a_package(name: str) -> bool:
    file = Path(name)
    if file.is_relative_to(COURSE):
        return False
    return (
        name.startswith("<frozen")
        or file.is_relative_to(STANDARD_LIBRARY)
        or not PACKAGES.isdisjoint(file.parts)
    )


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _plain(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else digest(text)


def _tensor_text(tensor: Tensor) -> str:
    if tensor.numel() == 1 and not tensor.is_meta:
        return repr(tensor.item())
    shape = f"{tensor.dtype} {list(tensor.shape)}"
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return shape
    return f"{shape} {digest(tensor)}"


def _array_text(array: np.ndarray[Any, Any]) -> str:
    shape = f"{array.dtype} {list(array.shape)}"
    if array.dtype.hasobject:
        return shape
    return f"{shape} {digest(np.ascontiguousarray(array).tobytes())}"
