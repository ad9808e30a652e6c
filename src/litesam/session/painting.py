"""Pixels that are written in a session → label array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ImageError, SessionError
from litesam.io import read_labels
from litesam.objects import check_id, checked_index
from litesam.session.files import find_file
from litesam.session.hashes import labels_hash

if TYPE_CHECKING:
    import os

    from litesam.session.actions import HandEdit, LabelsLoaded
    from litesam.types import AnyArray, LabelArray


def paint(labels: LabelArray, edit: HandEdit) -> None:
    """Write the patches of an edit into labels.

    Raises
    ------
    ImageError
        If a patch lies outside, or a value is none that the labels can hold.
    """
    for patch in edit.patches:
        plane = labels[checked_index(labels, patch.index)]
        box = patch.box
        if box.y1 > plane.shape[0] or box.x1 > plane.shape[1]:
            raise ImageError(f"the patch at {patch.index}, {box} lies outside the labels.")
        check_values(labels, np.asarray(patch.values))
        plane[box.slices][patch.where] = patch.values


def load_labels(
    labels: LabelArray, action: LabelsLoaded, folder: str | os.PathLike[str] | None
) -> None:
    """Replace labels by those of a file, which is named from a folder.

    Raises
    ------
    ImageError
        If they do not fit.
    ReadError
        If the file is not there or cannot be read.
    SessionError
        If it does not hold the labels that the session began with.
    """
    array: AnyArray = np.asarray(read_labels(find_file(action.path, folder, "The labels")).array)
    if array.shape != labels.shape:
        raise ImageError(
            f"{action.path} has the shape {array.shape}, the session's labels have {labels.shape}."
        )
    if action.sha256 is not None and labels_hash(array) != action.sha256:
        raise SessionError(
            f"{action.path} does not hold the labels that the session began with; put the original "
            "file back."
        )
    check_values(labels, array)
    labels[...] = array


def check_values(labels: LabelArray, values: AnyArray) -> None:
    """Refuse values that a label array cannot hold.

    Raises
    ------
    ImageError
        If one is negative or too large.
    """
    if values.size and int(values.min()) < 0:
        raise ImageError(f"labels are 0 or more; the least is {int(values.min())}.")
    if values.size and int(values.max()) > 0:
        check_id(labels, int(values.max()))
