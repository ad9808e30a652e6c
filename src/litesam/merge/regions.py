"""Small holes and islands of masks: specks that a threshold leaves behind.

Source of the rules: SAM's automatic mask generator (Kirillov et al. 2023, "Segment Anything";
reference implementation Apache-2.0), written for masks in their bounding boxes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from litesam.types import BoolArray, Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import MaskRecord

_EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)


def remove_small_regions(
    mask: BoolArray, min_area_px: int, kind: Literal["holes", "islands"]
) -> tuple[BoolArray, bool]:
    """Fill small holes of one mask, or remove small islands of it.

    Parameters
    ----------
    mask
        (H, W) bool.
    min_area_px
        Regions with fewer pixels are small.
    kind
        ``"holes"``: 8-connected regions of the background, those at the border included, become
        foreground. ``"islands"``: 8-connected regions of the mask become background; if all of
        them are small the largest stays (of equal ones the first in raster order).

    Returns
    -------
    tuple
        The mask, the given one if nothing was small, and whether anything was: also where the
        largest island stays although it is small.
    """
    working = ~mask if kind == "holes" else mask
    regions, count = ndimage.label(working, structure=_EIGHT_CONNECTED)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    small = sizes < min_area_px
    small[0] = False  # what is not looked at
    if not small.any():
        return mask, False
    if kind == "holes":
        filled: BoolArray = mask | small[regions]
        return filled, True
    stays = ~small
    stays[0] = False
    if not stays.any():
        stays[1 + int(sizes[1:].argmax())] = True
    left: BoolArray = stays[regions]
    return left, True


def clean_records(
    records: Sequence[MaskRecord], min_area_px: int, limits: Box
) -> tuple[list[MaskRecord], BoolArray]:
    """Fill small holes of all masks and then remove small islands.

    Parameters
    ----------
    records
        Masks; empty ones stay as they are.
    min_area_px
        Regions with fewer pixels are small; 0 or 1: nothing is.
    limits
        Where the image ends. Background between a mask and the end of the image is a hole like any
        other, so its size counts up to there.

    Returns
    -------
    tuple
        The records in their order, box and crop anew where something was small, and (N,) bool where
        that was.
    """
    cleaned = [_clean(record, min_area_px, limits) for record in records]
    changed = np.array([c is not r for c, r in zip(cleaned, records, strict=True)], dtype=np.bool_)
    return cleaned, changed


def _clean(record: MaskRecord, min_area_px: int, limits: Box) -> MaskRecord:
    if min_area_px <= 1 or 0 in record.crop.shape:
        return record
    # A margin that is itself as large as the limit on each side: what reaches into it is not small.
    height, width = record.crop.shape
    box = record.box
    rim_y, rim_x = -(-min_area_px // width), -(-min_area_px // height)
    above, below = min(rim_y, box.y0 - limits.y0), min(rim_y, limits.y1 - box.y1)
    left, right = min(rim_x, box.x0 - limits.x0), min(rim_x, limits.x1 - box.x1)
    window = np.pad(record.crop, ((above, below), (left, right)))
    window, filled = remove_small_regions(window, min_area_px, "holes")
    window, removed = remove_small_regions(window, min_area_px, "islands")
    if not (filled or removed):
        return record
    rows, columns = np.flatnonzero(window.any(axis=1)), np.flatnonzero(window.any(axis=0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    oy, ox = box.y0 - above, box.x0 - left
    return replace(
        record,
        box=Box(oy + y0, ox + x0, oy + y1, ox + x1),
        crop=np.ascontiguousarray(window[y0:y1, x0:x1]),
    )
