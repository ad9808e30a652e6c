"""Crops of a region, so that a grid also finds objects that are small in the whole region.

Source: SAM's automatic mask generator (Kirillov et al. 2023, "Segment Anything", Appendix B;
reference implementation Apache-2.0). Layer 0 is the region itself; layer i cuts it
into 2^i × 2^i overlapping crops.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

from litesam.types import Box

if TYPE_CHECKING:
    from litesam.types import EverythingConfig


def crop_boxes(region: Box, layers: int, overlap_ratio: float) -> list[tuple[int, Box]]:
    """Return layer and place of the region and all its crops.

    Parameters
    ----------
    region
        What is cut, image pixels.
    layers
        Number of layers of crops; 0: only the region.
    overlap_ratio
        Overlap of neighbouring crops of layer 1, share of the region's shorter side; each further
        layer has half the overlap.

    Returns
    -------
    list
        (0, region) first, then layer by layer, each column by column from left to right. Crops of
        one layer cover the region.
    """
    found = [(0, region)]
    height, width = region.size_yx
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / count))
        columns, rows = (_spans(length, count, overlap) for length in (width, height))
        found += [
            (layer, Box(region.y0 + y0, region.x0 + x0, region.y0 + y1, region.x0 + x1))
            for (x0, x1), (y0, y1) in product(columns, rows)
            if y0 < y1 and x0 < x1  # tiny regions have fewer crops
        ]
    return found


def _spans(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """Crops along one axis."""
    size = math.ceil((overlap * (count - 1) + length) / count)
    starts = [(size - overlap) * i for i in range(count)]
    return [(start, min(start + size, length)) for start in starts]


def points_per_side(config: EverythingConfig, layer: int) -> int:
    """Points along each side of a crop of a layer; at least one."""
    return max(1, int(config.points_per_side / config.crop_points_downscale**layer))
