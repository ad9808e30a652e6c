"""Weights files: find them, read them without executing anything, load them strictly.

Two containers are read: safetensors, and the pickle containers of PyTorch (.pt, .pth) through the
weights-only unpickler, which builds tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from platformdirs import user_data_path
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from litesam.errors import WeightsError

if TYPE_CHECKING:
    from litesam.types import ModelSpec

logger = logging.getLogger(__name__)

#: Keys under which training programs wrap a state dict; looked for when the spec names none.
_WRAPPERS = ("model", "state_dict")
#: Buffers that re-saved SAM files may hold; they are constants of the spec.
_TOLERATED = ("pixel_mean", "pixel_std")
#: Tensors of official files that no computation uses: TinyViT's classifier.
_UNUSED = re.compile(r"image_encoder\.(norm_head|head)\.")
_SAFETENSORS = ".safetensors"
_MAX_NAMED = 4


# ------------------------------------------------------------------------------------------ finding


def weights_dir() -> Path:
    """Folder of weights files outside the package: ``$LITESAM_HOME/weights`` or user data."""
    home = os.environ.get("LITESAM_HOME")
    root = Path(home).expanduser() if home else user_data_path("litesam", appauthor=False)
    return root / "weights"


def bundled_dir() -> Path:
    """Folder of the weights files inside the package."""
    return Path(__file__).parent / "bundled"


def resolve_weights(spec: ModelSpec, weights: str | Path | None = None) -> Path:
    """Return the weights file to load for a model.

    Parameters
    ----------
    spec
        The model.
    weights
        An explicit file; None: the bundled file, else the file of the spec's name in `weights_dir`.

    Raises
    ------
    WeightsError
        If there is no such file; the message says which file to put where.
    """
    if weights is not None:
        path = Path(weights).expanduser()
        if path.is_dir():
            raise WeightsError(f"Weights {path} is a folder; give the path of a file.")
        if not path.is_file():
            raise WeightsError(
                f"Weights file {path} does not exist; check the path, or leave out `weights` to "
                f"use the standard file of {spec.name!r}."
            )
        return path
    candidates = (bundled_dir() / spec.weights.file, weights_dir() / spec.weights.file)
    for path in candidates:
        if path.is_file():
            return path
    if spec.weights.url is None:
        raise WeightsError(
            f"The weights of {spec.name!r} are missing: {spec.weights.file} should be in "
            f"{bundled_dir()}. Reinstall the package, or put the file into {weights_dir()}."
        )
    raise WeightsError(
        f"The weights of {spec.name!r} are not on this computer. Download {spec.weights.file} "
        f"({_size(spec)}licence {spec.weights.licence}) from {spec.weights.url} and put it into "
        f"{weights_dir()}, or give its path as `weights`."
    )


def _size(spec: ModelSpec) -> str:
    size = spec.weights.size_bytes
    return "" if size is None else f"{size / 1e6:.0f} MB, "


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; cached while size and time stamp stay."""
    path = Path(path).resolve()
    try:
        stat = path.stat()
        return _file_hash(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"Weights file {path} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------ reading


def load_state_dict(path: str | Path, container: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Read the state dict of a weights file; nothing in the file is executed.

    Parameters
    ----------
    path
        A .safetensors file, or a .pt / .pth file of PyTorch.
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
    path = Path(path)
    content = _read(path)
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
    return {_plain_name(name, content): _widened(tensor) for name, tensor in content.items()}


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size == 0:
            raise WeightsError(f"Weights file {path} is empty (0 bytes); get it again.")
        if path.suffix.lower() == _SAFETENSORS:
            return load_file(path)
        # Only zip archives can be mapped; older files are a bare pickle.
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None
        )
    except SafetensorError as error:
        raise WeightsError(
            f"Weights file {path} is damaged or no safetensors file ({error}); get it again."
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(_unpickling_message(path, error)) from error
    except FileNotFoundError as error:
        raise WeightsError(f"Weights file {path} does not exist; check the path.") from error
    except OSError as error:
        raise WeightsError(f"Weights file {path} cannot be read: {error}.") from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        # What the reader raises for archives and pickles that end early or whose bytes were
        # changed.
        raise WeightsError(
            f"Weights file {path} is damaged or no PyTorch file "
            f"({_first_line(error)}); get it again."
        ) from error


def _unpickling_message(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return (
            f"File {path} was refused: it holds the Python object {refused[1]}, which could "
            "run code when it is read. Nothing was run. Give a file of tensors only, best as "
            ".safetensors."
        )
    return f"Weights file {path} is damaged or no PyTorch file of tensors; get it again."


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


# ------------------------------------------------------------------------------------------ loading


def encoder_hash(network: nn.Module) -> str:
    """Return the SHA-256 of the encoder's tensors (of all, if there is no ``image_encoder``).

    Names, shapes and values count, the file around them does not: an HQ-SAM file with the frozen
    encoder of SAM has the hash of SAM's own file.
    """
    state = network.state_dict()
    # A classifier left over from pre-training takes no part and is not in every file.
    own = {
        name: tensor
        for name, tensor in state.items()
        if name.startswith("image_encoder.") and not _UNUSED.match(name)
    }
    digest = hashlib.sha256()
    for name, tensor in sorted((own or state).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_network(spec: ModelSpec, path: str | Path) -> nn.Module:
    """Build a model's network and load a weights file into it, strictly.

    Raises
    ------
    WeightsError
        If the file cannot be read, or its tensors are not exactly those of the model.
    """
    state = load_state_dict(path, spec.weights.container)
    _warn_if_changed(spec, Path(path))
    module, _, function = spec.builder.partition(":")
    network: nn.Module = getattr(import_module(module), function)(spec)
    for name in _TOLERATED:
        state.pop(name, None)
    _check_tensors(network.state_dict(), state, spec, Path(path))
    network.load_state_dict(state, strict=True)
    return network.eval()


def _check_tensors(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], spec: ModelSpec, path: Path
) -> None:
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    problems = [
        f"{len(names)} {words} "
        f"({', '.join(names[:_MAX_NAMED])}{', …' if len(names) > _MAX_NAMED else ''})"
        for names, words in (
            (missing, "tensors missing"),
            (unknown, "unknown tensors"),
            (shapes, "tensors of another shape"),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"{path} holds the weights of another model than {spec.name!r}: {'; '.join(problems)}. "
            "Choose the model that the file belongs to, or another file."
        )
    broken = [name for name in wanted if not torch.isfinite(state[name]).all()]
    if broken:
        raise WeightsError(
            f"{path} is damaged: {broken[0]!r} holds NaN or infinite values; get the file again."
        )


def _warn_if_changed(spec: ModelSpec, path: Path) -> None:
    """Warn when the file in the standard place is not the published one; it is used anyway."""
    standard = path.parent == weights_dir() and path.name == spec.weights.file
    if standard and spec.weights.sha256 not in (None, file_hash(path)):
        logger.warning(
            "%s is not the published file of %s (its SHA-256 differs); it is used as it is.",
            path,
            spec.name,
        )
