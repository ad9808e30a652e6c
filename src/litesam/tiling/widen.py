"""Objects that are larger than their tile: looked at again in wider windows, at a coarser scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from litesam.tiling.select import tile_for_prompts
from litesam.types import Box, MaskRecord, PointLabel, Prompts, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A mask that ends so close to a border of its tile, as a share of its side, is cut by it.
_CLOSE = 1 / 128
#: No window is made wider than this: so much of the plane is read at once.
_WIDEST_PX = 4096
#: A box prompt, or what foreground points span, has at most this share of the side of its window.
_BOX, _POINTS = 0.4, 0.75
#: Windows begin at multiples of this share of their side, so that clicks on one object share one.
_GRID = 8
#: The wider view shows the same object if it holds this share of what was seen before.
_SAME = 0.5


class _Found(Protocol):
    """What a decoder found in a tile."""

    @property
    def record(self) -> MaskRecord: ...

    @property
    def tile(self) -> Tile: ...


_F = TypeVar("_F", bound=_Found)


def find_whole(found: _F, decode: Callable[[Tile], _F], shape_yx: tuple[int, int]) -> _F:
    """Return an object that its tile cuts as a wider window shows it.

    The window is made twice as wide until the object lies in it, or it has 4096 px. What the
    network takes for another object from afar is left as it was seen.

    Parameters
    ----------
    found
        The object in a tile.
    decode
        Asks again in a window; its index is -1.
    shape_yx
        Height and width of the plane.
    """
    while can_widen(found.tile, shape_yx) and is_cut(found.record, found.tile, shape_yx):
        wider = decode(window_around(found.record.box, found.tile, shape_yx))
        if not _holds(wider.record, found.record):
            break
        found = wider
    return found


def tile_for_object(tiles: Sequence[Tile], prompts: Prompts, shape_yx: tuple[int, int]) -> Tile:
    """Return the tile that serves the prompts of one object, or a wider window if it is too large.

    A network finds little where a box nearly fills what it sees.

    Parameters
    ----------
    tiles
        All tiles of the plane.
    prompts
        In pixels of the plane.
    shape_yx
        Height and width of the plane.

    Raises
    ------
    PromptError, ConfigError
        See `tile_for_prompts`.
    """
    tile = tile_for_prompts(tiles, prompts)
    box = prompts.box
    spans = []
    if box is not None:
        spans.append(((box.y0, box.x0, box.y1, box.x1), _BOX))
    ahead = [(p.y, p.x) for p in prompts.points if p.label == PointLabel.FOREGROUND]
    if len(ahead) > 1:
        (ys, xs) = zip(*ahead, strict=True)
        spans.append(((min(ys), min(xs), max(ys), max(xs)), _POINTS))
    for (y0, x0, y1, x1), share in spans:
        wanted = max(y1 - y0, x1 - x0) / share
        around = Box(*(round(corner) for corner in (y0, x0, y1, x1)))
        while can_widen(tile, shape_yx) and wanted > max(tile.padded.size_yx):
            tile = window_around(around, tile, shape_yx)
    return tile


def can_widen(tile: Tile, shape_yx: tuple[int, int]) -> bool:
    """Whether there is more of the plane that a window may show."""
    return 2 * max(tile.padded.size_yx) <= _WIDEST_PX and tile.padded.size_yx != tuple(shape_yx)


def is_cut(record: MaskRecord, tile: Tile, shape_yx: tuple[int, int]) -> bool:
    """Whether a mask ends at a border of its tile where the plane goes on."""
    if not record.area:
        return False
    box, seen = record.box, tile.padded
    close = _CLOSE * max(seen.size_yx)
    return (
        (seen.y0 > 0 and box.y0 - seen.y0 <= close)
        or (seen.x0 > 0 and box.x0 - seen.x0 <= close)
        or (seen.y1 < shape_yx[0] and seen.y1 - box.y1 <= close)
        or (seen.x1 < shape_yx[1] and seen.x1 - box.x1 <= close)
    )


def window_around(box: Box, tile: Tile, shape_yx: tuple[int, int]) -> Tile:
    """Return a window twice as wide as a tile, with what was found in it in the middle."""
    side = 2 * max(tile.padded.size_yx)
    return place_window(box, side, max(side // _GRID, 1), shape_yx)


def place_window(box: Box, side: int, step: int, shape_yx: tuple[int, int]) -> Tile:
    """Return a window around a box that begins at a multiple of ``step``, or ends with the plane;
    its index is -1.
    """
    spans = []
    for start, stop, length in ((box.y0, box.y1, shape_yx[0]), (box.x0, box.x1, shape_yx[1])):
        first = round(((start + stop) / 2 - side / 2) / step) * step
        first = max(min(first, length - side), 0)
        spans.append((first, min(first + side, length)))
    (y0, y1), (x0, x1) = spans
    window = Box(y0, x0, y1, x1)
    return Tile(-1, window, window)


def _holds(wider: MaskRecord, record: MaskRecord) -> bool:
    """Whether a mask holds most of another."""
    return common_area(wider, record) >= _SAME * max(record.area, 1)


def common_area(first: MaskRecord, second: MaskRecord) -> int:
    """Number of pixels that two masks share."""
    a, b = first.box, second.box
    common = Box(max(a.y0, b.y0), max(a.x0, b.x0), min(a.y1, b.y1), min(a.x1, b.x1))
    if min(common.size_yx) <= 0:
        return 0
    parts = [
        one.crop[
            common.y0 - one.box.y0 : common.y1 - one.box.y0,
            common.x0 - one.box.x0 : common.x1 - one.box.x0,
        ]
        for one in (first, second)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))
