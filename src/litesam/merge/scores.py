"""How good a mask is: numbers that filters and overlap rules compare.

Source of the stability score: Kirillov et al. 2023, "Segment Anything", Sec. 5 and the behaviour of
the automatic mask generator of its reference implementation (Apache-2.0).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from litesam.frames import FloatArray


def stability_score(logits: npt.ArrayLike, offset: float, threshold: float = 0.0) -> FloatArray:
    """IoU of each mask at the higher threshold with itself at the lower one.

    Parameters
    ----------
    logits
        (..., h, w) mask logits.
    offset
        Shift of the threshold to both sides, logits.
    threshold
        The mask is ``logits > threshold``.

    Returns
    -------
    FloatArray
        (...,) float32 in [0, 1]; 0 where no logit exceeds the lower threshold (the ratio is
        undefined there).
    """
    values = np.asarray(logits)
    inner = np.count_nonzero(values > threshold + offset, axis=(-2, -1))
    outer = np.count_nonzero(values > threshold - offset, axis=(-2, -1))
    return np.asarray(inner / np.maximum(outer, 1), dtype=np.float32)


def fuse_scores(confidence: float, predicted_iou: float) -> float:
    """Score of a mask that a proposal network asked for: how sure both networks are, together.

    The geometric mean of the proposal's confidence and the decoder's predicted IoU, both clipped to
    [0, 1]: a doubt of either network lowers it, and it keeps their common scale. (A product would
    order masks in the same way but could not be compared with the plain predicted IoU of other
    proposals.)
    """
    parts = (min(max(value, 0.0), 1.0) for value in (confidence, predicted_iou))
    return math.sqrt(math.prod(parts))
