"""Suppression of duplicates: by boxes as SAM does, and by the pixels of the masks.

Both are greedy: from the best to the worst (a stable descending order, so that equal scores keep
their order), each one that stays removes the worse ones that overlap it by more than the threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import Box, IntArray, MaskRecord


def box_nms(
    boxes: npt.ArrayLike, scores: npt.ArrayLike, iou: float, *, most: int | None = None
) -> IntArray:
    """Indices of the boxes that stay, best first.

    Parameters
    ----------
    boxes
        (N, 4) corners (y0, x0, y1, x1) in any unit; the area of a box is (y1 - y0) * (x1 - x0).
    scores
        (N,) scores, higher is better; equal scores keep their order.
    iou
        A box is dropped if its IoU with a better one that stays is above this.
    most
        At most this many stay; None: no limit.

    Returns
    -------
    IntArray
        (K,) int64 indices by descending score.

    Notes
    -----
    Two boxes without area have no IoU and keep each other.
    """
    corners = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    order = np.argsort(-np.asarray(scores), kind="stable").reshape(-1)
    corners = corners[order]
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    alive = np.ones(len(order), dtype=np.bool_)
    kept = 0
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept += 1
        if kept == most:
            alive[i + 1 :] = False
            break
        rest = corners[i + 1 :]
        low = np.maximum(corners[i, :2], rest[:, :2])
        high = np.minimum(corners[i, 2:], rest[:, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        union = areas[i] + areas[i + 1 :] - shared
        # shared / union > iou without a division by zero for boxes without area
        alive[i + 1 :] &= ~((union > 0) & (shared > np.float32(iou) * union))
    return order[alive].astype(np.int64)


def intersection(first: MaskRecord, second: MaskRecord) -> int:
    """Count the pixels that two masks share, looking only at the overlap of their boxes."""
    a, b = first.box, second.box
    y0, x0, y1, x1 = max(a.y0, b.y0), max(a.x0, b.x0), min(a.y1, b.y1), min(a.x1, b.x1)
    if y0 >= y1 or x0 >= x1:
        return 0
    here = first.crop[y0 - a.y0 : y1 - a.y0, x0 - a.x0 : x1 - a.x0]
    there = second.crop[y0 - b.y0 : y1 - b.y0, x0 - b.x0 : x1 - b.x0]
    return int(np.count_nonzero(here & there))


def mask_iou(first: MaskRecord, second: MaskRecord) -> float:
    """Intersection over union of two masks; 0 if both are empty."""
    shared = intersection(first, second)
    return shared / max(first.area + second.area - shared, 1)


def containment(first: MaskRecord, second: MaskRecord) -> float:
    """Share of the smaller mask that lies in the other; 0 if one is empty."""
    return intersection(first, second) / max(min(first.area, second.area), 1)


def mask_nms(
    records: Sequence[MaskRecord], iou: float, max_containment: float = 1.0
) -> list[MaskRecord]:
    """Return the masks that stay, best score first.

    Parameters
    ----------
    records
        Masks of one plane; equal scores keep their order.
    iou
        A mask is dropped if its IoU with a better one that stays is above this.
    max_containment
        A mask is also dropped if of it and a better one the smaller lies in the other by more than
        this share: a part of a better whole, or a clump around a better single object. 1: nested
        masks may both stay.
    """
    order = np.argsort([-record.score for record in records], kind="stable")
    ranked = [records[int(i)] for i in order]
    areas = [record.area for record in ranked]
    alive = [True] * len(ranked)
    for better, worse in overlapping_pairs([record.box for record in ranked]):
        if not (alive[better] and alive[worse]):
            continue
        shared = intersection(ranked[better], ranked[worse])
        small, union = min(areas[better], areas[worse]), areas[better] + areas[worse] - shared
        if shared > iou * union or shared > max_containment * small:
            alive[worse] = False
    return [record for record, stays in zip(ranked, alive, strict=True) if stays]


def overlapping_pairs(boxes: Sequence[Box]) -> list[tuple[int, int]]:
    """All pairs (i, j), i < j, of boxes that share pixels, in ascending order.

    A sweep over the rows: only boxes that begin above the end of another are compared with it.
    """
    if len(boxes) < 2:
        return []
    corners = np.array([(b.y0, b.x0, b.y1, b.x1) for b in boxes], dtype=np.int64)
    by_start = np.argsort(corners[:, 0], kind="stable")
    y0, x0, y1, x1 = corners[by_start].T
    ends = np.searchsorted(y0, y1, side="left")
    found = []
    for position, end in enumerate(ends):
        rest = slice(position + 1, max(int(end), position + 1))
        hit = (
            (x0[rest] < x1[position])
            & (x1[rest] > x0[position])
            & (y1[rest] > y0[rest])
            & (x1[rest] > x0[rest])
        )
        if x1[position] > x0[position] and hit.any():
            others = by_start[position + 1 + np.flatnonzero(hit)]
            mine = np.full_like(others, by_start[position])
            found.append(np.stack([np.minimum(mine, others), np.maximum(mine, others)], axis=1))
    if not found:
        return []
    pairs = np.concatenate(found)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return [(int(i), int(j)) for i, j in pairs]
