"""Weights files into networks: built without memory, checked, loaded strictly.

Files are read by `litesam.models.state_dicts` and found by `litesam.models.weights_files`.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from litesam.errors import WeightsError
from litesam.models.registry import get_spec
from litesam.models.state_dicts import (
    can_be_mapped,
    load_state_dict,
    read_state_dict,
    trained_beside,
)
from litesam.models.weights_files import (
    bundled_dir,
    expected_hash,
    file_hash,
    resolve_weights,
    weights_dir,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch.utils.hooks import RemovableHandle

    from litesam.types import ModelSpec

__all__ = [
    "build_network",
    "bundled_dir",
    "check_weights",
    "encoder_hash",
    "encoder_state",
    "expected_tensors",
    "file_hash",
    "files_of",
    "holds_model",
    "load_network",
    "load_state_dict",
    "own_state",
    "read_state_dict",
    "resolve_weights",
    "weights_dir",
]

logger = logging.getLogger(__name__)

#: Buffers that re-saved SAM files may hold; they are constants of the spec.
_TOLERATED = ("pixel_mean", "pixel_std")
#: Prefix of the image encoder's tensors.
_ENCODER = "image_encoder."
#: Tensors of official files that no computation uses: TinyViT's classifier.
_UNUSED = re.compile(r"image_encoder\.(norm_head|head)\.")
_MAX_NAMED = 4
#: Tensors that are copied from one mapping of a file.
_GROUP_BYTES = 64_000_000
#: Names and shapes of models, by name and builder.
_EXPECTED: dict[tuple[str, str], Mapping[str, Tensor]] = {}


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
        if name.startswith(_ENCODER) and not _UNUSED.match(name)
    }
    digest = hashlib.sha256()
    for name, tensor in sorted((own or state).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_network(
    spec: ModelSpec, path: str | Path, other_path: str | Path | None = None
) -> nn.Module:
    """Build a model's network and load a weights file into it, strictly.

    Parameters
    ----------
    spec
        The model.
    path
        Its own file.
    other_path
        The second file of a model that has one, see `files_of`: for a model with
        ``spec.encoder_from`` that of a whole model with that encoder, or of the encoder alone; for
        an HQ decoder alone that of the model beside which it was trained.

    Raises
    ------
    WeightsError
        If the file cannot be read, or its tensors are not exactly those of the model.

    Notes
    -----
    The network is built without memory for its parameters, and the values are copied from the file
    in groups, each from a mapping of its own. So the peak is little more than the network itself.
    Afterwards the file may be changed or removed.
    """
    path = Path(path)
    network = _empty_network(spec)
    wanted = network.state_dict()
    own = dict(_own_part(spec, wanted))
    sources: list[tuple[Path, Callable[[], dict[str, Tensor]], Mapping[str, Tensor]]] = []
    if other_path is not None:
        file = Path(other_path)
        if spec.encoder_from is not None:
            encoder = _encoder_part(wanted)
            sources.append((file, lambda: encoder_state(file, encoder, mapped=True), encoder))
        else:
            base = get_spec(spec.rest_from or "")
            rest = {name: own.pop(name) for name in expected_tensors(base)}
            sources.append((file, lambda: own_state(base, file, mapped=True), rest))
    sources.insert(0, (path, lambda: own_state(spec, path, mapped=True), own))
    for file_path, read, part in sources:
        _check_tensors(part, read(), spec, file_path)
    _warn_if_changed(spec, path)
    state: dict[str, Tensor] = {}
    for file_path, read, part in sources:
        for names in _groups(part, _GROUP_BYTES if can_be_mapped(file_path) else None):
            mapped = read()
            for name in names:
                state[name] = _copied(mapped[name], part[name])
                _check_finite(name, state[name], file_path)
            del mapped  # pages of a mapping count until it goes
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def files_of(
    spec: ModelSpec, weights: str | Path | None = None, encoder_weights: str | Path | None = None
) -> list[Path]:
    """Return the files of a model, as `load_network` takes them.

    Parameters
    ----------
    spec
        The model.
    weights, encoder_weights
        Its own file and that of its encoder; None: the standard ones.

    Raises
    ------
    WeightsError
        If one is missing, or holds an HQ decoder that was trained beside other weights than the
        standard file of ``spec.rest_from``.
    """
    paths = [resolve_weights(spec, weights)]
    if spec.encoder_from is not None:
        paths.append(resolve_weights(get_spec(spec.encoder_from), encoder_weights))
    elif spec.rest_from is not None and (trained := trained_beside(paths[0])) is not None:
        base = resolve_weights(get_spec(spec.rest_from))
        if file_hash(base) != trained:
            raise WeightsError(
                f"{paths[0]} is an HQ decoder for other weights of {spec.rest_from!r} (SHA-256 "
                f"{trained[:12]}…) than {base} ({file_hash(base)[:12]}…). Train it again, or use "
                "the model without HQ."
            )
        paths.append(base)
    return paths


def check_weights(spec: ModelSpec, path: str | Path) -> None:
    """Check that a file could be loaded as a model's weights, without keeping anything.

    Raises
    ------
    WeightsError
        As `load_network`.
    """
    path = Path(path)
    state = own_state(spec, path, mapped=True)
    expected = expected_tensors(spec)
    if spec.rest_from is not None and trained_beside(path) is not None:
        rest = expected_tensors(get_spec(spec.rest_from))
        expected = {name: tensor for name, tensor in expected.items() if name not in rest}
    _check_tensors(expected, state, spec, path)
    for name, tensor in state.items():
        _check_finite(name, tensor, path)


def own_state(spec: ModelSpec, path: Path, *, mapped: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a model's file, as they are, without those that no network has.

    See `read_state_dict` for ``mapped`` and errors.
    """
    if spec.family == "encoder":
        return encoder_state(path, expected_tensors(spec), mapped=mapped)
    if spec.weights.parts:
        return {
            prefix + name: tensor
            for part, prefix in spec.weights.parts.items()
            for name, tensor in read_state_dict(path, (part,), mapped=mapped).items()
        }
    state = read_state_dict(path, spec.weights.container, mapped=mapped)
    own = {name: state[name] for name in _own_names(spec, state)}
    return _with_unused(own, expected_tensors(spec))


def encoder_state(
    path: Path, wanted: Mapping[str, Tensor], *, mapped: bool = False
) -> dict[str, Tensor]:
    """Return the tensors of the image encoder in a file, under their names in a whole network.

    Parameters
    ----------
    path
        A file of a whole model, of which the encoder's tensors are taken, or of an encoder alone,
        with or without the prefix ``image_encoder.``.
    wanted
        The encoder's tensors, named as in a whole network. Those that no computation uses may be
        missing in the file.

    See `read_state_dict` for ``mapped`` and errors.
    """
    state = read_state_dict(path, mapped=mapped)
    marked = {
        _ENCODER + name.partition(_ENCODER)[2]: tensor
        for name, tensor in state.items()
        if _ENCODER in name
    }
    found = marked or {_ENCODER + name: tensor for name, tensor in state.items()}
    return _with_unused(found, wanted)


def _with_unused(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add zeros for the tensors that no computation uses, where the file leaves them out.

    The reference implementations of HQ-SAM and MobileSAMv2 do not ask for them either.
    """
    missing = {
        name: torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in wanted.items()
        if name not in state and _UNUSED.match(name)
    }
    return {**state, **missing}


def _encoder_part(wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in wanted.items() if name.startswith(_ENCODER)}


def _own_part(spec: ModelSpec, wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors of a network that come from the model's own file."""
    if spec.encoder_from is None:
        return wanted
    return {name: tensor for name, tensor in wanted.items() if not name.startswith(_ENCODER)}


def expected_tensors(spec: ModelSpec) -> Mapping[str, Tensor]:
    """Return names and shapes of the tensors of a model's own file.

    They have no values (device ``"meta"``).
    """
    key = (spec.name, spec.builder)
    if key not in _EXPECTED:
        state = _own_part(spec, _empty_network(spec).state_dict())
        _EXPECTED[key] = {name: tensor.to("meta") for name, tensor in state.items()}
    return _EXPECTED[key]


def holds_model(spec: ModelSpec, state: Mapping[str, Tensor]) -> bool:
    """Whether names and shapes of a state dict are exactly those of a model."""
    wanted = expected_tensors(spec)
    names = _own_names(spec, state)
    needed = {name for name in wanted if not _UNUSED.match(name)}
    return needed <= set(names) <= set(wanted) and all(
        state[name].shape == wanted[name].shape for name in names
    )


def _own_names(spec: ModelSpec, state: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors of a file that have to be a model's."""
    names = [name for name in state if name not in _TOLERATED]
    if spec.weights.other_parts:
        parts = {name.partition(".")[0] for name in expected_tensors(spec)}
        names = [name for name in names if name.partition(".")[0] in parts]
    return names


def build_network(spec: ModelSpec) -> nn.Module:
    """Build a model's network with random weights."""
    module, _, function = spec.builder.partition(":")
    network: nn.Module = getattr(import_module(module), function)(spec)
    return network


def _empty_network(spec: ModelSpec) -> nn.Module:
    """Build a network whose parameters have no memory yet; its buffers are real."""
    with _parameters_without_memory():
        return build_network(spec)


class _Building(threading.local):
    """What this thread does."""

    without_memory = False


_building = _Building()
_hooks: list[RemovableHandle] = []
_hooks_guard = threading.Lock()


def _install_hook() -> None:
    """Let torch ask `_without_memory` about every parameter, from the first call on.

    The hook stays: torch has one list of hooks for all threads, and a thread that builds a network
    goes through it at each parameter. Were it changed meanwhile, that thread would end in an error.
    """
    with _hooks_guard:
        if not _hooks:
            _hooks.append(register_module_parameter_registration_hook(_without_memory))


def _without_memory(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> Any:
    """Replace a parameter, where `_parameters_without_memory` wants it."""
    if parameter is None or not _building.without_memory:
        return None
    return nn.Parameter(parameter.data.to("meta"), requires_grad=parameter.requires_grad)


@contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Put every parameter that this thread makes in the block on the device ``"meta"``.

    Building as a whole on that device would also leave constants without values that are no part
    of the file, such as tables of positions.
    """
    _install_hook()
    _building.without_memory = True
    try:
        yield
    finally:
        _building.without_memory = False


def _groups(wanted: Mapping[str, Tensor], limit_bytes: int | None) -> Iterator[list[str]]:
    """Cut the names of tensors into groups of about so many bytes; None: one group."""
    names: list[str] = []
    size = 0
    for name, tensor in wanted.items():
        names.append(name)
        size += tensor.nbytes
        if limit_bytes is not None and size >= limit_bytes:
            yield names
            names, size = [], 0
    if names:
        yield names


def _copied(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Return a copy in the precision and memory layout that the network wants."""
    copy = torch.empty_strided(wanted.shape, wanted.stride(), dtype=wanted.dtype)
    return copy.copy_(tensor)


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


def _check_finite(name: str, tensor: Tensor, path: Path) -> None:
    if not tensor.is_floating_point() or not tensor.numel():
        return
    low, high = torch.aminmax(
        tensor
    )  # NaN if any value is; needs no memory, unlike isfinite(tensor)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise WeightsError(
            f"{path} is damaged: {name!r} holds NaN or infinite values; get the file again."
        )


def _warn_if_changed(spec: ModelSpec, path: Path) -> None:
    """Warn when the file in the standard place is not the one that it was; it is used anyway."""
    standard = path.parent == weights_dir() and path.name == spec.weights.file
    if standard and expected_hash(spec) not in (None, file_hash(path)):
        logger.warning(
            "%s is not the published file of %s, or was changed since it came (its SHA-256 "
            "differs); it is used as it is.",
            path,
            spec.name,
        )
