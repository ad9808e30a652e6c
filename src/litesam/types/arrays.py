"""Arrays by their type of number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from litesam.frames import FloatArray

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
LabelArray = npt.NDArray[np.int32]
AnyArray = npt.NDArray[Any]

__all__ = ["AnyArray", "BoolArray", "FloatArray", "IntArray", "LabelArray"]
