"""Weights of the models: bodies of the jobs that look, load, download and import.

All runs in worker threads, where the engine's rooms are imported, too. No napari, no Qt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from litesam.errors import WeightsError
from litesam.types import ModelSpec, Progress, WeightsSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litesam.weights import WeightsStatus
    from napari_litesam.jobs import JobContext
    from napari_litesam.segmenters import SegmenterPool


@dataclass(frozen=True, slots=True)
class Choice:
    """What answers prompts: a model, where it runs, and a weights file of the user's own."""

    model: str
    device: str = "auto"
    weights: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """Files of a model that are not there.

    Attributes
    ----------
    size_bytes
        Size of all; None if it is not known.
    licences
        Restrictive licences that the user has to accept before the download.
    by_hand
        The files that no program can fetch.
    """

    size_bytes: int | None
    licences: tuple[WeightsSpec, ...]
    by_hand: tuple[WeightsSpec, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """A file is in its place now.

    Attributes
    ----------
    spec
        The model that it is of.
    published
        Whether it is the official file, as far as that can be told.
    missing
        What the model that the user chose still needs.
    """

    spec: ModelSpec
    published: bool
    missing: Missing | None


def look(specs: Iterable[ModelSpec], _context: JobContext) -> dict[str, WeightsStatus]:
    """Return what there is of the weights of each model, by name."""
    from litesam.weights import weights_status

    return {spec.name: weights_status(spec) for spec in specs}


def prepare(
    pool: SegmenterPool, spec: ModelSpec, choice: Choice, context: JobContext
) -> Missing | None:
    """Load a model, so that its first answer is quick; return what is missing instead, if it is.

    Raises
    ------
    LiteSamError
        If the weights are damaged or the device is not there.
    """
    if choice.weights is None:
        missing = _missing(spec)
        if missing is not None:
            return missing
    pool.load((choice.model, choice.device, choice.weights), context)
    return None


def fetch(spec: ModelSpec, accepted: bool, replace: bool, context: JobContext) -> Missing | None:
    """Download what is missing of a model; return what is still missing.

    Parameters
    ----------
    spec
        The model.
    accepted
        The user has accepted the licences.
    replace
        Remove the file that is there first: it could not be used.
    context
        Progress is told in bytes.

    Raises
    ------
    LicenceNotAccepted, WeightsError, Cancelled
        As `litesam.weights.download_weights`.
    """
    from litesam.weights import download_weights, remove_weights

    if replace:
        remove_weights(spec)
    download_weights(
        spec,
        accept_licence=accepted,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
    return _missing(spec)


def import_file(spec: ModelSpec, path: str, context: JobContext) -> Imported:
    """Put a file of the user's into its place, whatever its name and whichever model it is of.

    The published file of any model is taken; another file only if it has exactly the tensors of
    ``spec``, the model that the user chose.

    Raises
    ------
    WeightsError
        If the file is of neither kind, unsafe, damaged or cannot be copied.
    """
    from litesam.weights import import_weights, recognise_weights

    context.on_progress(Progress(0, 0, "Reading the file"))
    try:
        return Imported(import_weights(path).spec, True, _missing(spec))
    except WeightsError:
        if spec.name not in recognise_weights(path):
            raise
    import_weights(path, spec.name)
    return Imported(spec, spec.weights.sha256 is None, _missing(spec))


def _missing(spec: ModelSpec) -> Missing | None:
    from litesam.weights import is_licence_accepted, weights_status

    status = weights_status(spec)
    if status.present:
        return None
    restrictive = {
        file.spec.weights.licence: file.spec.weights
        for file in status.missing
        if not file.spec.weights.permissive and not is_licence_accepted(file.spec.weights.licence)
    }
    files = [file.spec.weights for file in status.missing]
    return Missing(
        status.download_bytes,
        tuple(restrictive.values()),
        tuple(weights for weights in files if weights.page is not None),
    )
