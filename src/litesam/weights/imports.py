"""Weights that the user has already: recognised by their tensors, whatever the file's name."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from litesam.errors import WeightsError
from litesam.models.registry import ENCODERS, known_models
from litesam.models.weights_files import bundled_dir, file_hash, weights_dir
from litesam.weights.archives import ArchiveError, packed_file, unpack
from litesam.weights.places import WeightsStatus, find_spec, record_hash, weights_status
from litesam.weights.transport import check_room, writing_failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from litesam.types import ModelSpec

_CHUNK_BYTES = 1 << 20
#: Weights are noise to a packer: an archive of more than this factor is a trap.
_MOST_PACKED = 10


def recognise_weights(path: str | Path) -> tuple[str, ...]:
    """Return the names of the models whose weights a file can hold, by names and shapes of tensors.

    Nothing in the file is executed, and the values of its tensors are not read.

    Parameters
    ----------
    path
        Any file.

    Returns
    -------
    tuple
        Usually one name. Several for models of the same architecture, or that use the same file;
        then fewer, if the file's SHA-256 is the published one of them. Empty for readable weights
        of no model here.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, refused because it could run code, or holds no weights.
    """
    path = Path(path).expanduser()
    names = tuple(spec.name for spec in _matching(path))
    if len(names) > 1:
        sha256 = file_hash(path)
        published = tuple(n for n in names if find_spec(n).weights.sha256 == sha256)
        names = published or names
    return names


def import_weights(path: str | Path, model: str | None = None) -> WeightsStatus:
    """Copy a weights file that the user has into the folder where its model looks for it.

    Parameters
    ----------
    path
        The file, of any name, or a .zip with it alone; it stays where it is.
    model
        Name of the model. None: the file is recognised and must be the published one. Given: the
        file need not be the published one, only tensors of that model.

    Returns
    -------
    WeightsStatus
        Of the model that now has its file.

    Raises
    ------
    UnknownModelError
        If no model has that name.
    WeightsError
        If the file is missing, damaged, unsafe, of no model or of several, or not the published
        one; or the copy cannot be written.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; give the path of a weights file.")
    entry = packed_file(path)
    if entry is None:
        return _import(path, model)
    part = weights_dir() / f".{uuid.uuid4().hex[:8]}.unpacked"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        check_room(part, entry.file_size)
        try:
            unpack(path, entry, part, _MOST_PACKED * path.stat().st_size, lambda: None)
            return _import(part, model)
        finally:
            part.unlink(missing_ok=True)
    except ArchiveError as error:
        raise WeightsError(f"{path} was refused: {error}. Get the archive again.") from error
    except WeightsError as error:  # the user knows nothing of the unpacked file
        named = f"{path} ({entry.filename})"
        words = str(error).replace(str(part), named).replace(part.name, named)
        raise type(error)(words) from error
    except OSError as error:
        raise writing_failed(error, part) from error


def _import(path: Path, model: str | None) -> WeightsStatus:
    """Import a file that is no archive of files."""
    from litesam.models.weights import check_weights

    spec = _recognised(path) if model is None else find_spec(model)
    status = weights_status(spec)
    if status.origin == "bundled":
        raise WeightsError(
            f"{spec.name!r} has its weights in the package ({bundled_dir()}), which come first. "
            f"To use {path}, give it as weights (weights=, --weights, Weights in the panel)."
        )
    check_weights(spec, path)
    sha256, published = file_hash(path), spec.weights.sha256
    if model is None and published not in (None, sha256):
        raise WeightsError(
            f"{path} has the tensors of {spec.name!r}, but is not the published file: its SHA-256 "
            f"is {sha256} instead of {published}. It was changed, saved anew or trained further. "
            f"If you trust it, import it with the name {spec.name!r} (model=, --as), or give it as "
            "weights."
        )
    if not (status.target.exists() and path.samefile(status.target)):
        copy_weights(path, status.target, sha256)
    record_hash(status.target, None if sha256 == published else sha256)
    return weights_status(spec)


def _recognised(path: Path) -> ModelSpec:
    """The model that a file belongs to; of several that use the same file the first."""
    names = recognise_weights(path)
    if len({find_spec(name).weights.file for name in names}) > 1:
        raise WeightsError(
            f"{path} can be the file of {' or '.join(map(repr, names))}, and its SHA-256 is the "
            "published one of none of them; say which (model=, --as)."
        )
    if names:
        return find_spec(names[0])
    raise WeightsError(f"{path} holds weights of no model that is known here.{_nearest(path)}")


def _matching(path: Path) -> list[ModelSpec]:
    """Models whose tensors a file holds exactly."""
    from litesam.models.weights import holds_model

    readings = _Readings(path)
    # Encoders last: every file of a whole model holds an encoder, too.
    for specs in (known_models(), ENCODERS):
        found = []
        for spec in specs:
            state = readings.state(spec)
            if state is not None and holds_model(spec, state):
                found.append(spec)
        if found:
            return found
    readings.raise_if_unreadable()
    return []


def _nearest(path: Path) -> str:
    """Say which model's names of tensors a file shares most, and what differs."""
    from litesam.models.weights import check_weights, expected_tensors

    readings, best = _Readings(path), 0.0
    nearest = None
    for spec in known_models():
        wanted, state = set(expected_tensors(spec)), set(readings.state(spec) or ())
        share = len(wanted & state) / len(wanted | state)
        if share > best:
            best, nearest = share, spec
    if nearest is None:
        return ""
    try:
        check_weights(nearest, path)
    except WeightsError as error:
        return f" It is nearest to {nearest.name!r}: {error}"
    return ""


class _Readings:
    """The state dict of a file, read once for each way in which models nest it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._states: dict[object, Mapping[str, Tensor] | None] = {}
        self._errors: list[WeightsError] = []

    def state(self, spec: ModelSpec) -> Mapping[str, Tensor] | None:
        """Return the tensors as a model would read them, None if it cannot."""
        from litesam.models.weights import own_state

        weights = spec.weights
        special = weights.other_parts or spec.family == "encoder"  # depends on the network
        key = (weights.container, tuple(weights.parts.items()), spec.name if special else None)
        if key not in self._states:
            try:
                self._states[key] = own_state(spec, self._path, mapped=True)
            except WeightsError as error:
                self._states[key] = None
                self._errors.append(error)
        return self._states[key]

    def raise_if_unreadable(self) -> None:
        """Raise the first error if no way of reading worked."""
        if self._errors and all(state is None for state in self._states.values()):
            raise self._errors[0]


def copy_weights(source: Path, target: Path, sha256: str) -> None:
    """Copy a file so that it appears complete or not at all."""
    part = target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_room(target, source.stat().st_size)
        with FileLock(target.with_name(f".{target.name}.lock")):
            try:
                digest = hashlib.sha256()
                with source.open("rb") as old, part.open("wb") as new:
                    while chunk := old.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        new.write(chunk)
                    new.flush()
                    os.fsync(new.fileno())
                if digest.hexdigest() != sha256:
                    raise WeightsError(f"{source} changed while it was copied; try again.")
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise writing_failed(error, target) from error
