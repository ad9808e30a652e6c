"""Own models of the user's: added, and taken away again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from litesam.errors import ConfigError, UnknownModelError, WeightsError
from litesam.models.own_models import (
    SUFFIXES,
    is_model_name,
    own_models,
    own_models_file,
    own_weights_name,
)
from litesam.models.registry import ENCODERS, known_models
from litesam.models.weights_files import file_hash, weights_dir
from litesam.weights.imports import copy_weights, recognise_weights
from litesam.weights.places import find_spec, remove_weights, weights_status
from litesam.weights.tables import change_table

if TYPE_CHECKING:
    from litesam.weights.places import WeightsStatus


def check_own_name(name: str, *, overwrite: bool = False) -> None:
    """Check that an own model can get a name.

    Raises
    ------
    ConfigError
        If the name is taken, or cannot be the name of a file.
    """
    if not is_model_name(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a model; use small letters, digits, _ and - only, 64 "
            "at most, such as 'my_nuclei'."
        )
    if name in {spec.name for spec in (*known_models(), *ENCODERS)}:
        raise ConfigError(f"{name!r} is a model of litesam; choose another name for your own.")
    if not overwrite and name in {spec.name for spec in own_models(known_models())}:
        raise ConfigError(
            f"You have a model {name!r} already. Choose another name, replace it (overwrite=True, "
            f"--overwrite), or remove it first: litesam models remove {name}."
        )


def add_own_model(
    path: str | Path,
    name: str,
    *,
    base: str | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> WeightsStatus:
    """Keep a weights file as a model of its own, which every list of models shows from then on.

    Parameters
    ----------
    path
        A weights file with the tensors of a known model: fine-tuned, or trained by somebody else.
        It is copied.
    name
        Name of the new model.
    base
        The model whose network it is; None: recognised by the tensors.
    title
        What people read; None: the name, and the title of the base.
    overwrite
        Whether an own model of that name may be replaced.

    Raises
    ------
    ConfigError
        If the name is taken, or cannot be one.
    UnknownModelError
        If there is no such base.
    WeightsError
        If the file is missing, damaged, unsafe, of no model, or cannot be copied.
    """
    from litesam.models.weights import check_weights

    check_own_name(name, overwrite=overwrite)
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise WeightsError(f"{path} does not end in {', '.join(SUFFIXES)}; give a weights file.")
    bases = recognise_weights(path) if base is None else (base,)
    if not bases:
        raise WeightsError(f"{path} holds weights of no model that is known here.")
    spec = find_spec(bases[0])
    if spec.name not in {model.name for model in known_models()} or spec.encoder_from is not None:
        raise ConfigError(f"{spec.name!r} cannot be the base of a model; it is not whole.")
    check_weights(spec, path)
    sha256 = file_hash(path)
    target = weights_dir() / own_weights_name(name, suffix)
    if not (target.exists() and path.samefile(target)):
        copy_weights(path, target, sha256)
    entry = {
        "base": spec.name,
        "title": title or f"{name} ({spec.title})",
        "suffix": suffix,
        "sha256": sha256,
        "size_bytes": target.stat().st_size,
    }
    change_table(own_models_file(), name, entry)
    return weights_status(name)


def remove_own_model(name: str) -> tuple[Path, ...]:
    """Remove an own model and its file.

    Returns
    -------
    tuple
        The files that were removed.

    Raises
    ------
    UnknownModelError
        If there is no such own model.
    WeightsError
        If a file cannot be changed.
    """
    if name not in {spec.name for spec in own_models(known_models())}:
        raise UnknownModelError(f"You have no model {name!r} of your own.")
    removed = remove_weights(name)
    change_table(own_models_file(), name, None)
    return removed
