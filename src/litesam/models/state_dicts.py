"""State dicts of weights files, read without executing anything in them.

Two containers are read: safetensors, and the pickle containers of PyTorch (.pt, .pth) through the
weights-only unpickler, which builds tensors and plain containers and refuses everything else. Files
that hold a whole pickled network go to `litesam.models.checkpoints`, which runs nothing either.
"""

from __future__ import annotations

import io
import pickle
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from litesam.errors import WeightsError
from litesam.models.checkpoints import UnsafeFileError, first_sentence, read_module_tensors

#: Keys under which training programs wrap a state dict; looked for when the spec names none.
_WRAPPERS = ("model", "state_dict")
_SAFETENSORS = ".safetensors"
#: Entry in the metadata of an HQ decoder alone: the SHA-256 of the file it was trained beside.
BESIDE = "trained_beside_sha256"
_TORCH_FILES = (".pt", ".pth")
#: Weights are noise to a packer: at most this factor is believed.
_MOST_PACKED = 10
_MAX_NAMED = 4
#: What the reader raises for archives and pickles that end early or whose bytes were changed.
_READER_ERRORS = (
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_state_dict(path: str | Path, container: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Read the state dict of a weights file; nothing in the file is executed.

    Parameters
    ----------
    path
        A .safetensors file, a .pt / .pth file of PyTorch, or an archive (.zip) of one such file.
    container
        Keys that lead to the state dict inside the file, outermost first; empty: the file is the
        state dict itself or wraps it as ``{"model": …}`` or ``{"state_dict": …}``.

    Returns
    -------
    dict
        Tensors by name, half precision widened to float32, a ``module.`` prefix (data-parallel
        training) removed.

    Raises
    ------
    WeightsError
        If the file is missing, empty, damaged, unsafe or holds no state dict.
    """
    state = read_state_dict(path, container)
    for name, tensor in state.items():  # one after the other: never two copies of everything
        if tensor.is_floating_point():
            state[name] = tensor.float()
    return state


def read_state_dict(
    path: str | Path, container: tuple[str, ...] = (), *, mapped: bool = False
) -> dict[str, Tensor]:
    """Read the state dict of a weights file as it is, see `load_state_dict`.

    With ``mapped`` the values stay in the file and are read when they are looked at: names and
    shapes of a large file cost nothing. Such tensors must not outlive the check that needs them.
    """
    path = Path(path)
    content = _read(path, mapped=mapped)
    for key in container:
        if not isinstance(content, Mapping) or key not in content:
            raise WeightsError(
                f"{path} has no entry {key!r}; it is not a file of this kind of model. "
                "Give the original weights file."
            )
        content = content[key]
    if not container:
        content = _unwrapped(content)
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise WeightsError(
            f"{path} holds no state dict (a table of names and tensors) but "
            f"{_describe(content)}; give a file of weights."
        )
    for name, tensor in content.items():
        # A view that repeats few values may declare any size, and would fill the memory once used.
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise WeightsError(
                f"File {path} was refused: {name!r} declares the shape {tuple(tensor.shape)}, more "
                "values than the file holds. Get the file again from its source."
            )
    return {_plain_name(name, content): tensor for name, tensor in content.items()}


def trained_beside(path: Path) -> str | None:
    """Return the SHA-256 of the frozen weights beside which an HQ decoder was trained.

    None: the file says nothing of that kind, so it holds a whole model.
    """
    if path.suffix.lower() != _SAFETENSORS:
        return None
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(BESIDE)
    except (OSError, SafetensorError):  # reading its tensors says what is wrong with the file
        return None


def can_be_mapped(path: Path) -> bool:
    """Whether ``mapped`` of `read_state_dict` has an effect: not for files of old PyTorch."""
    try:
        if _is_safetensors(path):
            return True
        return zipfile.is_zipfile(path) and _packed(path) is None
    except (OSError, zipfile.BadZipFile):
        return False


def _read(path: Path, *, mapped: bool) -> Any:
    try:
        if path.stat().st_size == 0:
            raise WeightsError(f"Weights file {path} is empty (0 bytes); get it again.")
        if _is_safetensors(path):
            return load_file(path)
        archive = zipfile.is_zipfile(path)  # otherwise an older file: a bare pickle
        packed = _packed(path) if archive else None
        if packed is not None:
            return _read_packed(path, packed)
        _check_archive(path, path)
        with warnings.catch_warnings():
            # Of pickles that PyTorch has not written; what they are is said in words.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=(mapped and archive) or None
            )
    except SafetensorError as error:
        raise WeightsError(
            f"Weights file {path} is damaged or no safetensors file ({error}); get it again."
        ) from error
    except pickle.UnpicklingError as error:
        return _read_network(path, error)
    except FileNotFoundError as error:
        raise WeightsError(f"Weights file {path} does not exist; check the path.") from error
    except OSError as error:
        raise WeightsError(f"Weights file {path} cannot be read: {error}.") from error
    except _READER_ERRORS as error:
        raise WeightsError(
            f"Weights file {path} is damaged or no PyTorch file "
            f"({first_sentence(error)}); get it again."
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Tell by the name, else by the content: the length of a JSON table, then the table."""
    if path.suffix.lower() == _SAFETENSORS:
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _packed(path: Path) -> zipfile.ZipInfo | None:
    """Return the only entry of an archive if that is a PyTorch file, as in a ``.pt.zip``."""
    with zipfile.ZipFile(path) as archive:
        entries = [
            entry
            for entry in archive.infolist()
            if not entry.is_dir() and not entry.filename.startswith("__MACOSX")
        ]
    only = entries[0] if len(entries) == 1 else None
    return only if only is not None and only.filename.lower().endswith(_TORCH_FILES) else None


def _read_packed(path: Path, entry: zipfile.ZipInfo) -> Any:
    """Read a PyTorch file inside an archive, in memory."""
    if entry.file_size > _MOST_PACKED * path.stat().st_size:
        raise WeightsError(
            f"File {path} was refused: {entry.filename!r} in it would be more than {_MOST_PACKED} "
            "times as large, which weights never are. Get the original file."
        )
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read(entry))
    _check_archive(content, path)
    content.seek(0)
    return torch.load(content, map_location="cpu", weights_only=True)


def _check_archive(content: Path | io.BytesIO, path: Path) -> None:
    """Refuse archives that PyTorch does not write.

    Compressed records: a few bytes may unpack to terabytes. And tar archives, as PyTorch wrote them
    before its first release with a number.
    """
    if not zipfile.is_zipfile(content):
        if isinstance(content, io.BytesIO):
            content.seek(0)
        if tarfile.is_tarfile(content):
            raise UnsafeFileError(
                f"File {path} was refused: it is a tar archive, a form of early PyTorch that "
                "cannot be read without the risk of running code. Nothing was run. Get the "
                "original file, or save the tensors anew."
            )
        return
    size = content.getbuffer().nbytes if isinstance(content, io.BytesIO) else path.stat().st_size
    with zipfile.ZipFile(content) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED or record.file_size > size:
                raise WeightsError(
                    f"File {path} was refused: its record {record.filename!r} is compressed, which "
                    "PyTorch's files never are. Get the original file."
                )


def _read_network(path: Path, error: pickle.UnpicklingError) -> Any:
    """State dict of a whole pickled network; if the file is none, what the first reader said."""
    try:
        return read_module_tensors(path)
    except UnsafeFileError:
        raise
    except WeightsError:
        raise WeightsError(_unpickling_message(path, error)) from error


def _unpickling_message(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return (
            f"File {path} was refused: it holds the Python object {refused[1]}, which could "
            "run code when it is read. Nothing was run. Give a file of tensors only, best as "
            ".safetensors."
        )
    return f"Weights file {path} is damaged or no PyTorch file of tensors; get it again."


def _unwrapped(content: Any) -> Any:
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        names = ", ".join(repr(str(key)) for key in list(content)[:_MAX_NAMED])
        return f"a table with {len(content)} entries ({names})" if content else "an empty table"
    return f"an object of type {type(content).__name__}"


def _plain_name(name: str, content: Mapping[str, Tensor]) -> str:
    wrapped = all(key.startswith("module.") for key in content)
    return name.removeprefix("module.") if wrapped else name
