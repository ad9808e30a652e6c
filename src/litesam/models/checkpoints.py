"""Reads the tensors of checkpoints that are whole pickled networks, without running anything.

Some publishers save the network itself (``torch.save({"model": module, …})``) instead of its state
dict. Such a file is a program; `litesam.models.pickles` reads it as data. From the tree of modules
that it describes the state dict is collected in module order. Source of the layout: the
documentation of PyTorch's serialisation.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from litesam.errors import WeightsError
from litesam.models.pickles import RefusedError, StandIn, Storage, interpret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

#: Entries of the outer dict that may hold the network, the preferred first: training programs keep
#: the average of the weights beside the last ones.
ENTRIES = ("ema", "model")

_MAX_MODULES = 100_000


class UnsafeFileError(WeightsError):
    """A file asks for something that could run code; nothing was run."""


def read_module_tensors(path: str | Path, entries: tuple[str, ...] = ENTRIES) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint that holds a whole pickled network.

    Parameters
    ----------
    path
        A zip archive of ``torch.save`` (PyTorch 1.6 and later).
    entries
        Keys of the outer dict to look for the network in; the first that is there and not None is
        taken. A file that is the network itself is read as well.

    Returns
    -------
    dict
        Parameters and buffers by name, in module order and in the type that they are stored in.

    Raises
    ------
    UnsafeFileError
        If the file asks for something that no network needs.
    WeightsError
        If it is missing or damaged, or holds no network. Nothing in it is executed in any case.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            records = _Archive(archive)
            root = interpret(records.pickle(), records.storage)
        return dict(_state(_network(root, entries, path)))
    except RefusedError as error:
        raise UnsafeFileError(
            f"File {path} was refused: {error}, which could run code when it is read. Nothing was "
            "run. Give a file of tensors only, best as .safetensors, or the publisher's original."
        ) from error
    except FileNotFoundError as error:
        raise WeightsError(f"Weights file {path} does not exist; check the path.") from error
    except OSError as error:
        raise WeightsError(f"Weights file {path} cannot be read: {error}.") from error
    except (
        # What archives and pickles raise that end early or whose bytes were changed.
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        EOFError,
        OverflowError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise WeightsError(
            f"Weights file {path} is damaged or no PyTorch file ({first_sentence(error)}); get it "
            "again."
        ) from error


def first_sentence(error: BaseException) -> str:
    """Return what an error says first; PyTorch's go on with advice that is not for users."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(". ")[0].removesuffix(".")[:200]


# ------------------------------------------------------------------------------------- the archive


class _Archive:
    """The records of a ``torch.save`` archive: one folder with data.pkl and data/0, data/1 …"""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("the archive has no data.pkl, or several")
        self._root = pickles[0].removesuffix("data.pkl")
        if self._read("byteorder", b"little") != b"little":
            raise ValueError("it was written on a big-endian machine")
        self._tensors: dict[str, Tensor] = {}

    def pickle(self) -> bytes:
        return self._read("data.pkl")

    def storage(self, storage: Storage) -> Tensor:
        """1-D tensor of a record; tensors that share it share memory."""
        if storage.key not in self._tensors:
            data = bytearray(self._read(f"data/{storage.key}"))
            if len(data) != storage.length * storage.dtype.itemsize:
                raise ValueError(f"record {storage.key} has {len(data)} bytes")
            self._tensors[storage.key] = (
                torch.frombuffer(data, dtype=storage.dtype)
                if data
                else torch.empty(0, dtype=storage.dtype)
            )
        return self._tensors[storage.key].view(storage.dtype)

    def _read(self, name: str, default: bytes | None = None) -> bytes:
        try:
            info = self._archive.getinfo(self._root + name)
        except KeyError:
            if default is None:
                raise
            return default
        if info.compress_type != zipfile.ZIP_STORED:  # a small file must not become a large one
            raise ValueError(f"record {name} is compressed")
        return self._archive.read(info)


# ------------------------------------------------------------------------------------- the network


def _network(root: Any, entries: tuple[str, ...], path: Path) -> StandIn:
    if isinstance(root, dict):
        root = next((root[key] for key in entries if root.get(key) is not None), None)
    if isinstance(root, StandIn) and isinstance(root.state.get("_modules"), dict):
        return root
    raise WeightsError(
        f"{path} holds no network under {' or '.join(map(repr, entries))}; it is not a file of "
        "this kind of model. Give the original weights file."
    )


def _state(network: StandIn) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and then those of the children, as ``state_dict`` lists them."""
    waiting = [("", network)]
    visited = 0
    while waiting:
        prefix, module = waiting.pop()
        visited += 1
        if visited > _MAX_MODULES:  # a module that contains itself, or a file made to be endless
            raise ValueError("it holds more modules than any network")
        transient = _transient(module)
        for kind in ("_parameters", "_buffers"):
            for name, tensor in _children(module, kind):
                if isinstance(tensor, torch.Tensor) and name not in transient:
                    yield f"{prefix}{name}", tensor
        modules = [
            (f"{prefix}{name}.", child)
            for name, child in _children(module, "_modules")
            if isinstance(child, StandIn)
        ]
        waiting.extend(reversed(modules))


def _children(module: StandIn, kind: str) -> list[tuple[Any, Any]]:
    children = module.state.get(kind)
    return list(children.items()) if isinstance(children, dict) else []


def _transient(module: StandIn) -> set[str]:
    """Names of buffers that a state dict leaves out."""
    names = module.state.get("_non_persistent_buffers_set")
    return {n for n in names if isinstance(n, str)} if isinstance(names, (list, tuple)) else set()
