"""Masks → label image: who gets a contested pixel, and what becomes of those who lost some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.errors import ConfigError
from litesam.types import BoolArray, Box, LabelArray, MaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Overlap policies: name → priority of a record. Of two masks the one of higher priority keeps
#: contested pixels.
OVERLAP_POLICIES: dict[str, Callable[[MaskRecord], float]] = {
    "score": lambda record: record.score,
    "largest_first": lambda record: -float(record.area),
    "smallest_first": lambda record: float(record.area),
}

_ROWS_AT_ONCE = 1024
_EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)


def paint_labels(
    records: Sequence[MaskRecord],
    shape_yx: tuple[int, int],
    policy: str = "score",
    start: int = 1,
    *,
    min_area_px: int = 0,
    min_visible: float = 0.0,
    largest_part: bool = True,
) -> tuple[LabelArray, list[MaskRecord]]:
    """Paint masks into one label image in which every label is one object.

    Parameters
    ----------
    records
        Masks of one plane, all inside ``shape_yx``. Empty ones are dropped.
    shape_yx
        Size of the plane.
    policy
        Who keeps contested pixels. ``"score"``: the higher score. ``"largest_first"``: larger masks
        are painted first, so the smaller stay on top. ``"smallest_first"``: the larger stay on top.
        Ties go to the record that comes first.
    start
        First label.
    min_area_px
        Masks smaller than this are left out from the beginning, objects that overlaps made smaller
        afterwards.
    min_visible
        Objects of which overlaps leave less than this share are dropped; their pixels become
        background.
    largest_part
        Of an object that lost pixels keep only the largest 8-connected part. (A mask that lost
        nothing is painted as it is, parts and all.)

    Returns
    -------
    tuple
        (H, W) int32 labels ``start`` … in the order of ``records``, 0 for background; and the
        records that have a label, in that order, with ``label``, ``box`` and ``crop`` of what is
        visible: ``(labels[r.box.slices] == r.label)`` equals ``r.crop``.

    Raises
    ------
    ConfigError
        If the policy is unknown.
    """
    if policy not in OVERLAP_POLICIES:
        names = ", ".join(map(repr, OVERLAP_POLICIES))
        raise ConfigError(f"Overlap policy {policy!r} is not known; choose one of {names}.")
    canvas = np.zeros(shape_yx, dtype=np.int32)
    candidates = [record for record in records if record.area >= max(min_area_px, 1)]
    _paint(canvas, candidates, OVERLAP_POLICIES[policy])

    painted: list[MaskRecord] = []
    lookup = np.zeros(len(candidates) + 1, dtype=np.int32)
    for number, record in enumerate(candidates, start=1):
        window = canvas[record.box.slices]
        visible = window == number
        lost = visible != record.crop
        if lost.any():
            if largest_part:
                visible = _largest_part(visible)
                window[(window == number) & ~visible] = 0
            area = int(np.count_nonzero(visible))
            if area < max(min_area_px, 1, min_visible * record.area):
                continue
        lookup[number] = start + len(painted)
        painted.append(_trimmed(record, visible, int(lookup[number])))
    _relabel(canvas, lookup)
    return canvas, painted


def _paint(
    canvas: LabelArray, records: Sequence[MaskRecord], priority: Callable[[MaskRecord], float]
) -> None:
    """Write record number + 1 into its pixels, from the lowest priority to the highest."""
    order = np.argsort([-priority(record) for record in records], kind="stable")
    for index in order[::-1]:
        record = records[int(index)]
        canvas[record.box.slices][record.crop] = int(index) + 1


def _largest_part(mask: BoolArray) -> BoolArray:
    """Largest 8-connected part of a mask; of equal ones the first in raster order."""
    parts, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    if count <= 1:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: BoolArray = parts == sizes.argmax()
    return largest


def _trimmed(record: MaskRecord, visible: BoolArray, label: int) -> MaskRecord:
    """Record with its label and the visible pixels in their bounding box."""
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    box = Box(record.box.y0 + y0, record.box.x0 + x0, record.box.y0 + y1, record.box.x0 + x1)
    return replace(record, label=label, box=box, crop=visible[y0:y1, x0:x1])


def _relabel(canvas: LabelArray, lookup: LabelArray) -> None:
    """Replace record numbers by labels, in place and in blocks (a second plane may be too big)."""
    if np.array_equal(lookup, np.arange(len(lookup))):
        return
    for row in range(0, canvas.shape[0], _ROWS_AT_ONCE):
        block = canvas[row : row + _ROWS_AT_ONCE]
        block[...] = lookup[block]
