"""Masks that were decoded in windows of the embedding, each cell of which has some logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.frames import FloatArray
from litesam.types import OUTSIDE_LOGIT, IntArray, Masks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.frames import Frame
    from litesam.types import BoolArray

#: Share of a mask that its main part must have for the others to be left out; decision 14.
MAIN_SHARE = 0.7
_EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class WindowGroup:
    """Prompts decoded in windows of one size; ``side`` and ``origins`` (P, 2) are cells."""

    indices: IntArray
    side: int
    origins: IntArray
    logits: FloatArray
    iou: FloatArray

    @property
    def cell(self) -> int:
        """Logits along a side of a cell."""
        return int(self.logits.shape[-1]) // self.side


def join_windows(groups: Sequence[WindowGroup], count: int, frame: Frame, grid: int) -> Masks:
    """Return one `Masks` of all groups; smaller windows are padded to the largest.

    ``count``: prompts; ``grid``: cells along a side of the frame.
    """
    side = max(group.side for group in groups)
    candidates, cell = groups[0].iou.shape[1], groups[0].cell
    shape = (count, candidates, cell * side, cell * side)
    logits = np.full(shape, OUTSIDE_LOGIT, dtype=np.float32)
    iou = np.empty((count, candidates), dtype=np.float32)
    corners = np.empty((count, 2), dtype=np.int64)
    for group in groups:
        iou[group.indices] = group.iou
        origins = np.clip(group.origins, 0, grid - side)
        corners[group.indices] = cell * origins
        length = cell * group.side
        for row, index in enumerate(group.indices):
            y, x = cell * (group.origins[row] - origins[row])
            logits[index, :, y : y + length, x : x + length] = group.logits[row]
    whole = side == grid
    return Masks(logits, iou, frame, (cell * grid, cell * grid), None if whole else corners)


def reaches_border(
    logits: FloatArray, iou: FloatArray, origins: IntArray, side: int, grid: int
) -> BoolArray:
    """Return (P,) whether the best mask touches a border of its window that is not the frame's."""
    best: BoolArray = logits[np.arange(len(iou)), iou.argmax(axis=1)] > 0
    reached: BoolArray = (
        (best[:, 0].any(axis=1) & (origins[:, 0] > 0))
        | (best[:, -1].any(axis=1) & (origins[:, 0] + side < grid))
        | (best[:, :, 0].any(axis=1) & (origins[:, 1] > 0))
        | (best[:, :, -1].any(axis=1) & (origins[:, 1] + side < grid))
    )
    return reached


def drop_loose_parts(logits: FloatArray, clicks: Sequence[IntArray]) -> None:
    """Leave out of masks what is not connected with their main part, in place.

    The main part is the one that was clicked at, or several that were, otherwise the largest. If it
    has less than `MAIN_SHARE` of the mask, the object may well be in pieces, and all stay. Pixels
    that are left out get the opposite logits.

    Parameters
    ----------
    logits
        (P, M, h, w).
    clicks
        For each of the P objects the pixels (N, 2) (y, x) of the clicks on it; those outside do not
        count.
    """
    height, width = logits.shape[-2:]
    for masks, clicked in zip(logits, clicks, strict=True):
        inside = ((clicked >= 0) & (clicked < (height, width))).all(axis=1)
        rows, columns = clicked[inside].T
        for mask in masks:
            parts, count = ndimage.label(mask > 0, structure=_EIGHT_CONNECTED)
            if count < 2:
                continue
            sizes = np.bincount(parts.ravel(), minlength=count + 1)
            sizes[0] = 0
            main = np.zeros(count + 1, dtype=np.bool_)
            main[parts[rows, columns]] = True
            main[0] = False
            if not main.any():
                main[sizes.argmax()] = True
            if sizes[main].sum() >= MAIN_SHARE * sizes.sum():
                main[0] = True  # background is none
                mask[~main[parts]] *= -1
