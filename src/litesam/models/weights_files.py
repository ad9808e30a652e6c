"""Where weights files lie, and their hashes; imports no torch, so that asking is quick."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from litesam.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import ModelSpec


def data_dir() -> Path:
    """Folder of what the user adds: ``$LITESAM_HOME`` or the platform's folder of user data."""
    home = os.environ.get("LITESAM_HOME")
    return Path(home).expanduser() if home else user_data_path("litesam", appauthor=False)


def weights_dir() -> Path:
    """Folder of weights files outside the package, in `data_dir`."""
    return data_dir() / "weights"


def bundled_dir() -> Path:
    """Folder of the weights files inside the package."""
    return Path(__file__).parent / "bundled"


def find_weights(spec: ModelSpec) -> Path | None:
    """Return the standard weights file of a model, the bundled one first; None if missing."""
    for folder in (bundled_dir(), weights_dir()):
        path = folder / spec.weights.file
        if path.is_file():
            return path
    return None


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
    found = find_weights(spec)
    if found is not None:
        return found
    if spec.weights.page is not None:
        raise WeightsError(
            f"{spec.weights.file}, {spec.title} ({_size(spec)}licence {spec.weights.licence}), is "
            f"not on this computer and cannot be downloaded by a program. Get it by hand, see "
            f"{spec.weights.page}, and put it into {weights_dir()} under that name, or give its "
            "path."
        )
    if spec.weights.own:
        raise WeightsError(
            f"The weights of your model {spec.name!r} are missing: {spec.weights.file} should be "
            f"in {weights_dir()}. Put it back, or remove the model: litesam models remove "
            f"{spec.name}."
        )
    if spec.weights.url is None:
        raise WeightsError(
            f"The weights of {spec.name!r} are missing: {spec.weights.file} should be in "
            f"{bundled_dir()}. Reinstall the package, or put the file into {weights_dir()}."
        )
    raise WeightsError(
        f"The weights of {spec.name!r} ({_size(spec)}licence {spec.weights.licence}) are not on "
        f"this computer. Get them with `litesam models download {spec.name}`; or put "
        f"{spec.weights.file} from {spec.weights.url} into {weights_dir()}; or give the path of "
        "the file as `weights`."
    )


def _size(spec: ModelSpec) -> str:
    size, about = spec.weights.size_bytes, spec.weights.approx_bytes
    if size is not None:
        return f"{size / 1e6:.0f} MB, "
    return "" if about is None else f"about {about / 1e6:.0f} MB, "


# ------------------------------------------------------------------------------------------- hashes


def files_hash(paths: Sequence[str | Path]) -> str:
    """Return one SHA-256 for the files that a model is put together from, see `file_hash`."""
    hashes = [file_hash(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


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


def hash_records() -> dict[str, str]:
    """Return the SHA-256 by file name that files had when they came into `weights_dir`.

    A table that cannot be read counts as empty: then later changes go unnoticed, no more.
    """
    try:
        content = json.loads((weights_dir() / "hashes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(name): value for name, value in content.items() if isinstance(value, str)}


def expected_hash(spec: ModelSpec) -> str | None:
    """Return the SHA-256 that a model's file should have in the user's folder, if known.

    The one that it had when it came, where that was noted: no hash is published, or the user
    imported another file for the model by name.
    """
    return hash_records().get(spec.weights.file, spec.weights.sha256)
