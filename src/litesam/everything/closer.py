"""Small objects are looked at again in smaller tiles, in which the network sees them larger.

AutoPPN finds them in large tiles all the same, so what it proposes says how large they are before
anything is decoded. Other tools ask for a diameter or estimate it for the same end (Stringer et al.
2021, Cellpose, *Nature Methods* 18:100).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.tiling import closer_side, make_tiles
from litesam.types import TilingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import ModelSpec, Proposals, Tile

#: At most so many tiles of a plane, spread over it, are asked how large the objects are.
LOOKS = 25
#: Fewer proposals than this say nothing about the usual size.
_FEWEST = 4


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
        What was proposed in each of them, or in some.

    Returns
    -------
    tuple of Tile or None
        Tiles of the same plane, or those that meet the same part.
    """
    diameter = usual_diameter(proposed)
    if diameter is None:
        return None
    side = closer_side(spec, diameter, max(max(tile.padded.size_yx) for tile in tiles))
    if side is None:
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
