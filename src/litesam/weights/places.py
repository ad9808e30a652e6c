"""What there is of a model's weights, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from litesam.errors import WeightsError
from litesam.models.registry import get_spec
from litesam.models.weights_files import bundled_dir, find_weights, weights_dir
from litesam.types import ModelSpec
from litesam.weights.tables import change_table

Origin = Literal["bundled", "folder", "missing"]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file that a model needs.

    Attributes
    ----------
    spec
        The model whose row describes the file.
    path
        Where it is; None if it is missing.
    target
        Where a download or an import would put it.
    size_bytes
        Its size: real if it is there, else the published or an approximate one, else None.
    """

    spec: ModelSpec
    path: Path | None
    target: Path
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class WeightsStatus:
    """What there is of a model's weights.

    Attributes
    ----------
    spec
        The model.
    path
        Its file; None if it is missing.
    origin
        ``"bundled"`` with the package, in the user's ``"folder"``, or ``"missing"``.
    target
        Where the file would lie in the user's folder.
    size_bytes
        Size of the file, known or approximate; None if not even that is known.
    licence
        Name of the weights' licence.
    permissive
        Whether the licences of all files allow any use, so that nobody has to be asked.
    files
        All files that the model needs, its own first; models with the encoder of another model
        need that one's file, too.
    """

    spec: ModelSpec
    path: Path | None
    origin: Origin
    target: Path
    size_bytes: int | None
    licence: str
    permissive: bool
    files: tuple[WeightsFile, ...]

    @property
    def present(self) -> bool:
        """Whether all files are there."""
        return not self.missing

    @property
    def missing(self) -> tuple[WeightsFile, ...]:
        """The files that are not there."""
        return tuple(file for file in self.files if file.path is None)

    @property
    def download_bytes(self) -> int | None:
        """Size of what is missing; None if unknown."""
        sizes = [file.size_bytes for file in self.missing]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def find_spec(model: str | ModelSpec) -> ModelSpec:
    """Return the spec of a model given by name or by spec.

    Raises
    ------
    UnknownModelError
        If no model has that name.
    """
    return get_spec(model) if isinstance(model, str) else model


def needed_specs(spec: ModelSpec) -> tuple[ModelSpec, ...]:
    """Return the models whose files a model needs, itself first."""
    return (spec,) if spec.encoder_from is None else (spec, get_spec(spec.encoder_from))


def weights_status(model: str | ModelSpec) -> WeightsStatus:
    """Return what there is of a model's weights; nothing is read, so it is quick.

    Raises
    ------
    UnknownModelError
        If no model has that name.
    """
    spec = find_spec(model)
    files = tuple(_file(needed) for needed in needed_specs(spec))
    path = files[0].path
    origin: Origin = "missing"
    if path is not None:
        origin = "bundled" if path.parent == bundled_dir() else "folder"
    return WeightsStatus(
        spec=spec,
        path=path,
        origin=origin,
        target=files[0].target,
        size_bytes=files[0].size_bytes,
        licence=spec.weights.licence,
        permissive=all(file.spec.weights.permissive for file in files),
        files=files,
    )


def _file(spec: ModelSpec) -> WeightsFile:
    path = find_weights(spec)
    size = spec.weights.size_bytes or spec.weights.approx_bytes
    if path is not None:
        try:
            size = path.stat().st_size
        except OSError:  # removed at this very moment
            path = None
    return WeightsFile(spec, path, weights_dir() / spec.weights.file, size)


def part_path(target: Path) -> Path:
    """Return where the unfinished download of a file lies."""
    return target.with_name(target.name + ".part")


def notes_path(part: Path) -> Path:
    """Return where an unfinished download notes what it is a part of."""
    return part.with_name(part.name + ".json")


def record_hash(target: Path, sha256: str | None) -> None:
    """Remember the hash that a file had when it came, or forget it (None).

    Raises
    ------
    WeightsError
        If the weights folder cannot be written.
    """
    change_table(target.parent / "hashes.json", target.name, sha256)


def remove_weights(model: str | ModelSpec) -> tuple[Path, ...]:
    """Remove a model's own file, and what is left of unfinished downloads, from the user's folder.

    Other models may use the same file, as those of MobileSAMv2 do; they miss it then, too.

    Returns
    -------
    tuple
        The files that were removed; empty if there were none.

    Raises
    ------
    UnknownModelError
        If no model has that name.
    WeightsError
        If the file is part of the package, or cannot be removed.
    """
    status = weights_status(model)
    target = status.target
    part = part_path(target)
    archive = part_path(target.with_name(target.name + ".zip"))
    removed = []
    for path in (target, part, notes_path(part), archive, notes_path(archive)):
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise WeightsError(
                f"{path} cannot be removed: {error.strerror or error}. Close the programs that use "
                "it."
            ) from error
        removed.append(path)
    if target in removed:
        record_hash(target, None)
    if not removed and status.origin == "bundled":
        raise WeightsError(
            f"The weights of {status.spec.name!r} are part of the package and stay there."
        )
    return tuple(removed)
