"""Mask records drawn by hand."""

from __future__ import annotations

import numpy as np

from litesam.types import Box, MaskRecord


def draw(picture: str, score: float = 0.5, at: tuple[int, int] = (0, 0)) -> MaskRecord:
    """Record of a picture of ``#`` and ``.``, one line a row, its top left pixel at ``at``."""
    rows = [line.strip() for line in picture.strip().splitlines()]
    return record(np.array([[c == "#" for c in row] for row in rows]), score, at)


def rectangle(y0: int, x0: int, y1: int, x1: int, score: float = 0.5) -> MaskRecord:
    """Record of a full rectangle."""
    return record(np.ones((y1 - y0, x1 - x0), dtype=bool), score, (y0, x0))


def record(mask: np.ndarray, score: float = 0.5, at: tuple[int, int] = (0, 0)) -> MaskRecord:
    """Record of a bool array in its bounding box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return MaskRecord(Box(*at, *at), np.zeros((0, 0), dtype=bool), score, 1.0, score)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    box = Box(at[0] + y0, at[1] + x0, at[0] + y1, at[1] + x1)
    return MaskRecord(box, mask[y0:y1, x0:x1], score, 1.0, score)
