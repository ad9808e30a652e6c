"""Small objects are looked at again in smaller tiles, in which the network sees them larger.

A network sees a tile at the size of its input. A whole plane in one tile may show it nuclei of 15
pixels, too few for their outlines and too close to tell neighbours apart; AutoPPN finds them all
the same, so what it proposes says how large they are before anything is decoded. Other tools ask
for a diameter or estimate it for the same end (Stringer et al. 2021, Cellpose, *Nature Methods*
18:100).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from litesam.tiling import make_tiles
from litesam.types import TilingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import ModelSpec, Proposals, Tile

#: Objects that the network sees smaller than this, model pixels, are looked at closer …
SMALL_PX = 25.0
#: … so that they have this diameter, if the model enlarges so much. Chosen on nuclei, see
#: docs/model-card-lite-sam.md.
_GOOD_PX = 44.0
#: Less than this factor is not worth the time.
_WORTH = 1.5
#: Fewer proposals than this say nothing about the usual size.
_FEWEST = 4
#: Sides of tiles are multiples of this, image pixels.
_STEP_PX = 16


def closer_tiles(
    spec: ModelSpec,
    plane_yx: tuple[int, int],
    tiles: Sequence[Tile],
    proposed: Sequence[Proposals],
) -> tuple[Tile, ...] | None:
    """Return smaller tiles if the objects are small in the given ones; None: they are not.

    Parameters
    ----------
    spec
        The model that decodes.
    plane_yx
        Size of the plane, pixels.
    tiles
        Tiles of the plane, or those of a part of it.
    proposed
        What was proposed in each of them.

    Returns
    -------
    tuple of Tile or None
        Tiles of the same plane, or those that meet the same part.
    """
    diameter = usual_diameter(proposed)
    if diameter is None:
        return None
    scale = _scale(spec, max(max(tile.padded.size_yx) for tile in tiles))
    if diameter * scale >= SMALL_PX:
        return None
    side = _tile_px(spec, diameter)
    if _scale(spec, side) < _WORTH * scale:
        return None
    halo = min(max(round(1.25 * diameter), side // 8), side * 3 // 8)
    cores = [tile.core for tile in tiles]
    return tuple(
        tile
        for tile in make_tiles(plane_yx, TilingConfig(side, halo, side))
        if any(
            tile.core.y0 < core.y1
            and core.y0 < tile.core.y1
            and tile.core.x0 < core.x1
            and core.x0 < tile.core.x1
            for core in cores
        )
    )


def usual_diameter(proposed: Sequence[Proposals]) -> float | None:
    """Return the median side of the proposed boxes, image pixels; None where they are too few."""
    boxes = np.concatenate([found.boxes.reshape(-1, 4) for found in proposed])
    if len(boxes) < _FEWEST:
        return None
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    return float(np.median(np.sqrt(sides.prod(axis=1))))


def _tile_px(spec: ModelSpec, diameter: float) -> int:
    """Side of a tile in which objects of a diameter are seen well; no smaller than what the model
    still enlarges.
    """
    smallest = 64.0 if spec.max_enlargement is None else spec.frame_px / spec.max_enlargement
    side = max(spec.frame_px * diameter / _GOOD_PX, smallest, 2.0 * diameter)
    return math.ceil(side / _STEP_PX) * _STEP_PX


def _scale(spec: ModelSpec, side: int) -> float:
    """Model pixels per image pixel of a square tile."""
    return float(spec.frame((side, side)).scale_yx[0])
