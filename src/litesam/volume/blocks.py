"""Blocks of a plane: what one worker does at a time, and what is durable at once.

Cores lie on a grid whose step is that of the chunks (shards) on disk, so that no two workers ever
write to one file.
"""

from __future__ import annotations

from itertools import product

from litesam.errors import ConfigError
from litesam.types import Box, Tile

#: A block is never narrower than this where the plane is not: a network sees nothing in a sliver.
_NARROWEST_PX = 512


def make_blocks(shape_yx: tuple[int, int], block_px: int, halo_px: int) -> tuple[Tile, ...]:
    """Cut a plane into blocks.

    Parameters
    ----------
    shape_yx
        Height and width of the plane.
    block_px
        Side of a core; planes that are not longer are one block.
    halo_px
        How far a block looks beyond its core.

    Returns
    -------
    tuple of Tile
        Row by row. Cores partition the plane and begin at multiples of ``block_px``.

    Raises
    ------
    ConfigError
        If the numbers make no blocks.
    """
    if block_px < 32 or block_px % 32 or not 0 <= halo_px <= block_px // 2:
        raise ConfigError(
            f"Blocks of {block_px} px with a halo of {halo_px} px cannot be made; a block is a "
            "multiple of 32 px and at least twice its halo."
        )
    rows, columns = (_spans(length, block_px, halo_px) for length in shape_yx)
    return tuple(
        Tile(number, Box(y[1], x[1], y[2], x[2]), Box(y[0], x[0], y[3], x[3]))
        for number, (y, x) in enumerate(product(rows, columns))
    )


def _spans(length: int, block: int, halo: int) -> list[tuple[int, int, int, int]]:
    """(padded start, core start, core stop, padded stop) along one side."""
    spans = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        first = min(start - halo, stop - min(_NARROWEST_PX, block))
        first = max(first, start - block + halo, 0) if start else 0  # only neighbours overlap
        spans.append((first, start, stop, min(stop + halo, length)))
    return spans


def neighbours(blocks: tuple[Tile, ...]) -> list[tuple[int, int]]:
    """Return the pairs of blocks whose padded boxes overlap, the lower number first."""
    across = 1
    while across < len(blocks) and blocks[across].core.y0 == blocks[0].core.y0:
        across += 1
    pairs = []
    for number in range(len(blocks)):
        row, column = divmod(number, across)
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            other = (row + down) * across + column + right
            if 0 <= column + right < across and other < len(blocks):
                pairs.append((number, other))
    return pairs


def overlap(first: Box, second: Box) -> Box | None:
    """Return the common part of two boxes."""
    box = Box(
        max(first.y0, second.y0),
        max(first.x0, second.x0),
        min(first.y1, second.y1),
        min(first.x1, second.x1),
    )
    return box if box.y0 < box.y1 and box.x0 < box.x1 else None
