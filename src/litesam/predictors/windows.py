"""Masks that were decoded in windows of the embedding, a cell of which has 4 × 4 logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from litesam.frames import FloatArray
from litesam.types import OUTSIDE_LOGIT, IntArray, Masks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.frames import Frame
    from litesam.types import BoolArray


@dataclass(frozen=True, slots=True)
class WindowGroup:
    """Prompts decoded in windows of one size; ``origins`` (P, 2) are cells."""

    indices: IntArray
    side: int
    origins: IntArray
    logits: FloatArray
    iou: FloatArray


def join_windows(groups: Sequence[WindowGroup], count: int, frame: Frame, grid: int) -> Masks:
    """Return one `Masks` of all groups; smaller windows are padded to the largest.

    ``count``: prompts; ``grid``: cells along a side of the frame.
    """
    side = max(group.side for group in groups)
    candidates = groups[0].iou.shape[1]
    logits = np.full((count, candidates, 4 * side, 4 * side), OUTSIDE_LOGIT, dtype=np.float32)
    iou = np.empty((count, candidates), dtype=np.float32)
    corners = np.empty((count, 2), dtype=np.int64)
    for group in groups:
        iou[group.indices] = group.iou
        origins = np.clip(group.origins, 0, grid - side)
        corners[group.indices] = 4 * origins
        cells = 4 * group.side
        for row, index in enumerate(group.indices):
            y, x = 4 * (group.origins[row] - origins[row])
            logits[index, :, y : y + cells, x : x + cells] = group.logits[row]
    whole = side == grid
    return Masks(logits, iou, frame, (4 * grid, 4 * grid), None if whole else corners)


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
