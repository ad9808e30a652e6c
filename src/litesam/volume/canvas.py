"""Small planes on a larger canvas, so that a network does not see their objects enlarged.

A network sees a plane at the size of its input, enlarged by no more than its `ModelSpec` allows.
Where the size of the objects is known, a canvas shows them at the size that the network knows best,
in planes smaller than the tile for that size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from litesam.preprocess import Plane
    from litesam.types import IntArray, LabelArray


def on_canvas(plane: Plane, side_px: int) -> Plane:
    """Return a plane with its usual colour added below and to the right.

    Parameters
    ----------
    plane
        The plane.
    side_px
        Height and width that it has at least afterwards. If one side of the plane is that long, it
        is returned as it is.
    """
    height, width = plane.shape_yx
    if max(height, width) >= side_px:
        return plane
    rgb = np.empty((side_px, side_px, 3), dtype=np.uint8)
    rgb[...] = np.median(plane.rgb, axis=(0, 1)).astype(np.uint8)
    rgb[:height, :width] = plane.rgb
    return replace(plane, rgb=rgb, fingerprint=f"{plane.fingerprint};canvas={side_px}")


def off_canvas(labels: LabelArray, shape_yx: tuple[int, int]) -> tuple[LabelArray, IntArray]:
    """Return the labels of the plane alone, numbered 1 … N again.

    Parameters
    ----------
    labels
        Labels of the canvas, 1 … M.
    shape_yx
        Height and width of the plane.

    Returns
    -------
    tuple
        (H, W) labels, and the (N,) labels that they had before.
    """
    if labels.shape == shape_yx:
        return labels, np.arange(1, int(labels.max(initial=0)) + 1)
    cropped = labels[: shape_yx[0], : shape_yx[1]]
    names, inverse = np.unique(cropped, return_inverse=True)
    first = 0 if len(names) and names[0] == 0 else 1
    return (inverse.reshape(shape_yx) + first).astype(np.int32), names[names > 0].astype(np.int64)
