"""Reads a pickle as data: an interpreter of its own that imports nothing and calls nothing.

A pickle is a program: Python's unpickler imports the classes that it names and calls what it says.
This interpreter knows the few instructions needed to describe a tree of modules:

* names (``GLOBAL``) stay names; nothing is imported,
* a call (``REDUCE``, ``NEWOBJ``) becomes a tensor where it describes one, an empty dict for an
  ordered dict, or an inert `StandIn` that only remembers its class's name and its state,
* a program that names something that no network needs (``os.system``, ``eval`` …), that calls what
  is no name, or that uses any other instruction, is refused.

Source of the instructions: the ``pickletools`` module of Python.
"""

from __future__ import annotations

import math
import pickletools
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_STORAGES: Final = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
#: Names of the standard library that checkpoints of networks use as data; calls of them become
#: stand-ins. Every other name of the standard library is refused.
_HARMLESS: Final = frozenset(
    {
        "argparse.Namespace",
        "collections.OrderedDict",
        "collections.defaultdict",
        "copyreg._reconstructor",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "datetime.timezone",
        "enum.Enum",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.WindowsPath",
        "types.SimpleNamespace",
        "_codecs.encode",
        *(
            f"builtins.{name}"
            for name in ("complex", "frozenset", "getattr", "list", "object", "set", "slice")
        ),
    }
)
#: Parts of torch that describe networks. Others (``torch.hub.load``, ``torch.load`` …) are refused.
_TORCH: Final = ("torch.nn.", "torch._utils._rebuild_", "torch._C._nn.")
_TORCH_NAMES: Final = frozenset(
    {"torch.Size", "torch.device", "torch.dtype", "torch.float16", "torch.float32"}
)


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that the pickle mentions."""

    full: str


@dataclass(slots=True)
class StandIn:
    """What the pickle says about an object: its class and state, never the object itself."""

    cls: str
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """A record of the archive that tensors are views of."""

    key: str
    dtype: torch.dtype
    length: int


class _Mark:
    """The marker below a run of items on the stack."""


_MARK = _Mark()


class RefusedError(Exception):
    """The pickle asks for something that a network does not need."""


def interpret(program: bytes, values: Callable[[Storage], Tensor]) -> Any:
    """Return what a pickle describes.

    Parameters
    ----------
    program
        The pickle.
    values
        Returns the 1-D tensor of a storage that the pickle refers to.

    Returns
    -------
    Any
        Plain containers and values, tensors, and a `StandIn` for each other object.

    Raises
    ------
    RefusedError
        If it asks for something that no network needs.
    ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError
        If it is damaged.
    """
    machine = _Machine(values)
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name == "STOP":
            return machine.pop()
        machine.step(opcode.name, argument)
    raise EOFError("the pickle has no end")


class _Machine:
    """A stack machine for the part of the pickle language that describes trees of modules."""

    _CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
    _LITERALS: Final = frozenset(
        {
            *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        }
    )

    def __init__(self, values: Callable[[Storage], Tensor]) -> None:
        self._values = values
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("the pickle is inconsistent")
        return value

    def step(self, name: str, argument: Any) -> None:
        if name in self._LITERALS:
            self._stack.append(argument)
        elif name in self._CONSTANTS:
            self._stack.append(self._CONSTANTS[name])
        elif name in ("PROTO", "FRAME"):
            return
        else:
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise RefusedError(f"it holds the pickle instruction {name}")
            handler(argument)

    # ---- memo and stack

    def _binput(self, argument: int) -> None:
        self._memo[argument] = self._stack[-1]

    _long_binput = _binput

    def _memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _binget(self, argument: int) -> None:
        self._stack.append(self._memo[argument])

    _long_binget = _binget

    def _mark(self, _: None) -> None:
        self._stack.append(_MARK)

    def _since_mark(self) -> list[Any]:
        position = len(self._stack) - 1
        while self._stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise ValueError("the pickle is inconsistent")
        items = self._stack[position + 1 :]
        del self._stack[position:]
        return items

    # ---- containers

    def _empty_dict(self, _: None) -> None:
        self._stack.append({})

    def _empty_list(self, _: None) -> None:
        self._stack.append([])

    _empty_set = _empty_list

    def _empty_tuple(self, _: None) -> None:
        self._stack.append(())

    def _tuple1(self, _: None) -> None:
        self._stack[-1:] = [(self._stack[-1],)]

    def _tuple2(self, _: None) -> None:
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _tuple3(self, _: None) -> None:
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _tuple(self, _: None) -> None:
        self._stack.append(tuple(self._since_mark()))

    _frozenset = _tuple

    def _append(self, _: None) -> None:
        self._extend([self.pop()])

    def _appends(self, _: None) -> None:
        self._extend(self._since_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, StandIn):  # what a list subclass holds is of no interest
            raise RefusedError("it adds items to what is no list")

    def _setitem(self, _: None) -> None:
        value, key = self.pop(), self.pop()
        self._assign([key, value])

    def _setitems(self, _: None) -> None:
        self._assign(self._since_mark())

    def _assign(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, StandIn):
            return
        if not isinstance(target, dict):
            raise RefusedError("it sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, (str, int, float, bool, bytes, type(None))):
                target[key] = value

    # ---- names, calls and state: the instructions that run code in the usual unpickler

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_checked_name(module, name))

    def _stack_global(self, _: None) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise RefusedError("it computes the name of an object")
        self._stack.append(_checked_name(module, name))

    def _reduce(self, _: None) -> None:
        arguments, function = self.pop(), self.pop()
        self._stack.append(self._described(function, arguments))

    _newobj = _reduce

    def _newobj_ex(self, _: None) -> None:
        self.pop()  # keyword arguments
        self._reduce(None)

    def _build(self, _: None) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, StandIn):
            # (state, slots) or the state; a state of another kind is of no interest
            for part in state if isinstance(state, tuple) else (state,):
                if isinstance(part, dict):
                    target.state = {**target.state, **part} if target.state else part
        elif not isinstance(target, (dict, torch.Tensor)):
            raise RefusedError("it sets the state of what is no object of its own")

    def _described(self, function: Any, arguments: Any) -> Any:
        """What a call would make, as data."""
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise RefusedError("it calls what is no name")
        if function.full == "torch._utils._rebuild_tensor_v2":
            return self._tensor(*arguments[:4])
        if function.full in (
            "torch._utils._rebuild_parameter",
            "torch._utils._rebuild_parameter_with_state",
        ):
            if not isinstance(arguments[0], torch.Tensor):
                raise ValueError("a parameter is no tensor")
            return arguments[0]
        if function.full == "collections.OrderedDict":
            return {}
        if function.full in ("builtins.set", "builtins.frozenset", "builtins.list"):
            return arguments[0] if arguments and isinstance(arguments[0], list) else []
        if function.full == "copyreg._reconstructor" and isinstance(arguments[0], _Name):
            return StandIn(arguments[0].full)
        return StandIn(function.full)

    def _binpersid(self, _: None) -> None:
        reference = self.pop()
        match reference:
            case ("storage", _Name(full=kind), str(key), str(), int(length)) if (
                kind.removeprefix("torch.") in _STORAGES
                and kind.startswith("torch.")
                and key.isdecimal()
                and length >= 0
            ):
                dtype = _STORAGES[kind.removeprefix("torch.")]
                self._stack.append(Storage(key, dtype, length))
            case _:
                raise RefusedError("it refers to something outside of the file")

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        """View of a storage, checked to lie in it."""
        numbers = (offset, *size, *stride)
        if not isinstance(storage, Storage) or not all(
            isinstance(n, int) and n >= 0 for n in numbers
        ):
            raise ValueError("a tensor is inconsistent")
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if math.prod(size) and last >= storage.length:
            raise ValueError("a tensor is larger than its record")
        if math.prod(size) > storage.length:  # a stride of 0 would make it larger than the file
            raise ValueError("a tensor is larger than its record")
        return self._values(storage).as_strided(size, stride, offset)


def _checked_name(module: str, name: str) -> _Name:
    """A name, if a network may use it."""
    # Pickles of protocol 2 spell the standard library as Python 2 did: commands.getoutput …
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    full = f"{module}.{name}"
    root = full.partition(".")[0]
    if root == "torch":
        harmless = (
            full.startswith(_TORCH)
            or full in _TORCH_NAMES
            or (module == "torch" and name in _STORAGES)
        )
    else:
        # Classes of other packages become stand-ins; the standard library is a tool box for
        # attacks, so only what is known there passes.
        harmless = full in _HARMLESS or (
            root not in sys.stdlib_module_names and root not in ("posix", "nt", "builtins", "")
        )
    if not harmless:
        raise RefusedError(f"it holds the Python object {full}")
    return _Name(full)
