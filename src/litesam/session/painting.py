"""Pixels that are written in a session → label array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ImageError
from litesam.objects import check_id, checked_index

if TYPE_CHECKING:
    from litesam.session.actions import HandEdit
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
