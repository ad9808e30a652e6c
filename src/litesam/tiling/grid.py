"""Cut a plane into overlapping tiles.

Along each axis the tiles have the same length and are spread evenly, so that the last one needs no
padding and every seam has at least the halo that was asked for on both sides. The cores meet in the
middle of the overlaps and partition the plane.
"""

from __future__ import annotations

import math
from itertools import pairwise, product

from litesam.errors import ImageError
from litesam.types import Box, Tile, TilingConfig

#: One tile along one axis: (padded start, core start, core stop, padded stop).
_Span = tuple[int, int, int, int]


def make_tiles(shape_yx: tuple[int, int], config: TilingConfig | None = None) -> tuple[Tile, ...]:
    """Cut a plane into tiles.

    Parameters
    ----------
    shape_yx
        Height and width of the plane.
    config
        Tile size and halo. None: the defaults.

    Returns
    -------
    tuple of Tile
        Row by row. One tile if the longest side is at most ``single_up_to_px``. Otherwise the
        padded boxes have ``tile_px`` pixels along each axis (all of it where the plane is smaller),
        lie in the plane and exceed their core by at least ``halo_px`` wherever they do not end at
        the plane's border. The cores partition the plane.

    Raises
    ------
    ImageError
        If the plane is empty.
    """
    config = config or TilingConfig()
    height, width = (int(n) for n in shape_yx)
    if height < 1 or width < 1:
        raise ImageError(
            f"A plane of {height} × {width} px has no pixels; at least 1 × 1 is needed."
        )
    if max(height, width) <= config.single_up_to_px:
        whole = Box(0, 0, height, width)
        return (Tile(0, whole, whole),)
    rows = _spans(height, config.tile_px, config.halo_px)
    columns = _spans(width, config.tile_px, config.halo_px)
    return tuple(
        Tile(
            index,
            core=Box(y[1], x[1], y[2], x[2]),
            padded=Box(y[0], x[0], y[3], x[3]),
        )
        for index, (y, x) in enumerate(product(rows, columns))
    )


def _spans(length: int, tile: int, halo: int) -> list[_Span]:
    """Tiles along one axis."""
    if length <= tile:
        return [(0, 0, length, length)]
    # n tiles whose neighbours overlap by 2 halos cover n * (tile - 2 halo) + 2 halo pixels.
    count = math.ceil((length - 2 * halo) / (tile - 2 * halo))
    starts = [i * (length - tile) // (count - 1) for i in range(count)]
    seams = [(left + tile + right) // 2 for left, right in pairwise(starts)]
    return [
        (start, core_start, core_stop, start + tile)
        for start, core_start, core_stop in zip(starts, [0, *seams], [*seams, length], strict=True)
    ]
