"""Whether the weights that are there are what they should be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from litesam.errors import WeightsError
from litesam.models.weights_files import file_hash, hash_records
from litesam.types import ModelSpec
from litesam.weights.places import WeightsFile, find_spec, weights_status

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
    """Read a model's files completely and compare them with what is known of them.

    Returns
    -------
    WeightsReport
        Of the model's own file; a problem of another file that it needs is told, too.

    Raises
    ------
    UnknownModelError
        If no model has that name.
    """
    spec = find_spec(model)
    status = weights_status(spec)
    if not status.present:
        names = ", ".join(file.target.name for file in status.missing)
        advice = f"Missing: {names}. Get it with `litesam models download {spec.name}`."
        return WeightsReport(spec, status.path, False, "unknown", False, False, advice)
    own, *others = (_verify_file(file) for file in status.files)
    for other in others:
        if own.problem is None and other.problem is not None:
            own = replace(own, problem=other.problem)
    return own


def _verify_file(file: WeightsFile) -> WeightsReport:
    """Check one file that is there."""
    from litesam.models.weights import check_weights, own_state

    spec, path = file.spec, file.path
    if path is None:
        raise WeightsError(f"{file.target} was removed while it was being checked; try again.")
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
            f"{path} is not the file that it should be: its SHA-256 differs, it was changed. If "
            f"you did not mean that, remove it with `litesam models remove {spec.name}` and get it "
            "again."
        )
    return WeightsReport(spec, path, True, state, readable, matches, problem)


def _hash_state(spec: ModelSpec, path: Path) -> HashState:
    found = file_hash(path)
    if spec.weights.sha256 == found:
        return "ok"
    if weights_status(spec).origin == "folder" and path.name in hash_records():
        return "unchanged" if hash_records()[path.name] == found else "differs"
    return "unknown" if spec.weights.sha256 is None else "differs"
