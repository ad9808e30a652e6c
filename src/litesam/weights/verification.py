"""Whether the weights that are there are what they should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from litesam.errors import WeightsError
from litesam.models.weights_files import file_hash, hash_records
from litesam.types import ModelSpec
from litesam.weights.places import find_spec, weights_status

HashState = Literal["ok", "unchanged", "differs", "unknown"]


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What a check of a model's weights found.

    Attributes
    ----------
    spec
        The model.
    path
        The file that was checked; None if it is missing.
    present
        Whether all files that the model needs are there.
    sha256
        ``"ok"``: the published hash. ``"unchanged"``: none is published, or the user imported
        another file by name; it is as it came. ``"differs"``: neither. ``"unknown"``: there is
        nothing to compare with.
    readable
        Whether it can be read without executing anything.
    matches
        Whether its tensors are exactly those of the model, and finite.
    problem
        What is wrong and what to do; None if nothing is.
    """

    spec: ModelSpec
    path: Path | None
    present: bool
    sha256: HashState
    readable: bool
    matches: bool
    problem: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


def verify_weights(model: str | ModelSpec) -> WeightsReport:
    """Read a model's file completely and compare it with what is known of it.

    Raises
    ------
    UnknownModelError
        If no model has that name.
    """
    from litesam.models.weights import check_weights, own_state

    spec = find_spec(model)
    status = weights_status(spec)
    path = status.path
    if path is None or not status.present:
        names = ", ".join(file.target.name for file in status.missing)
        advice = f"Missing: {names}. Get it with `litesam models download {spec.name}`."
        return WeightsReport(spec, path, False, "unknown", False, False, advice)
    readable = matches = False
    state: HashState = "unknown"
    problem: str | None = None
    try:
        state = _hash_state(spec, path)
        own_state(spec, path, mapped=True)
        readable = True
        check_weights(spec, path)
        matches = True
    except WeightsError as error:
        problem = str(error)
    if problem is None and state == "differs":
        problem = (
            f"{path} is not the published file of {spec.name!r}: its SHA-256 differs, it was "
            f"changed. Remove it with `litesam models remove {spec.name}` and download it again."
        )
    return WeightsReport(spec, path, True, state, readable, matches, problem)


def _hash_state(spec: ModelSpec, path: Path) -> HashState:
    found = file_hash(path)
    if spec.weights.sha256 == found:
        return "ok"
    if weights_status(spec).origin == "folder" and path.name in hash_records():
        return "unchanged" if hash_records()[path.name] == found else "differs"
    return "unknown" if spec.weights.sha256 is None else "differs"
