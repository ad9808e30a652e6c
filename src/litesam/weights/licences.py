"""Which licences the user has accepted, so that nobody is asked twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from litesam.errors import LicenceNotAccepted
from litesam.models.weights_files import data_dir
from litesam.weights.tables import change_table, read_table

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.types import WeightsSpec


def _file() -> Path:
    return data_dir() / "accepted_licences.json"


def is_licence_accepted(licence: str) -> bool:
    """Whether the user has accepted a licence, by its name, on this computer."""
    return licence in read_table(_file())


def accept_licence(licence: str) -> None:
    """Remember that the user accepts a licence.

    Raises
    ------
    WeightsError
        If the folder of the user's data cannot be written.
    """
    if not is_licence_accepted(licence):
        change_table(_file(), licence, datetime.now(UTC).isoformat(timespec="seconds"))


def check_licence(weights: WeightsSpec, title: str) -> None:
    """Raise `LicenceNotAccepted` if the licence has to be accepted first."""
    if weights.permissive or is_licence_accepted(weights.licence):
        return
    parts = [f"The weights of {title} are under the licence {weights.licence}."]
    if weights.licence_note:
        parts.append(weights.licence_note)
    if weights.licence_url:
        parts.append(f"Its text: {weights.licence_url}")
    parts.append("To download them, accept the licence (accept_licence=True, --accept-licence).")
    raise LicenceNotAccepted(" ".join(parts))
