"""The connected part of a label image around a pixel, found without a look at all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from litesam.errors import ImageError
from litesam.types import Box

if TYPE_CHECKING:
    from litesam.types import BoolArray

#: The first window reaches so far on each side; one that is too small is doubled.
_REACH_PX = 256


def connected_region(plane: Any, seed_yx: tuple[int, int]) -> tuple[BoolArray, Box]:
    """Return the pixels that have the label of one pixel and are connected with it by edges.

    Parameters
    ----------
    plane
        (H, W) labels, array-like.
    seed_yx
        The pixel.

    Returns
    -------
    tuple
        ``(mask, box)``: the bounding box, and which of its pixels belong to the region. Pixels far
        from the box are not read: in a slide an object is found as quickly as in a small image.

    Raises
    ------
    ImageError
        If the pixel lies outside.
    """
    height, width = (int(size) for size in plane.shape)
    y, x = seed_yx
    if not (0 <= y < height and 0 <= x < width):
        raise ImageError(f"({y}, {x}) lies outside labels of {height} × {width} pixels.")
    reach = _REACH_PX
    while True:
        window = Box(
            max(y - reach, 0), max(x - reach, 0), min(y + reach, height), min(x + reach, width)
        )
        part = np.asarray(plane[window.slices])
        at = (y - window.y0, x - window.x0)
        components, _ = ndimage.label(part == part[at])
        mask = components == components[at]
        edges = (
            (window.y0 > 0 and mask[0].any())
            or (window.x0 > 0 and mask[:, 0].any())
            or (window.y1 < height and mask[-1].any())
            or (window.x1 < width and mask[:, -1].any())
        )
        if not edges:
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            y0, y1, x0, x1 = (int(v) for v in (rows[0], rows[-1], columns[0], columns[-1]))
            inside = Box(y0, x0, y1 + 1, x1 + 1)
            box = Box(window.y0 + y0, window.x0 + x0, window.y0 + y1 + 1, window.x0 + x1 + 1)
            return mask[inside.slices], box
        reach *= 2
