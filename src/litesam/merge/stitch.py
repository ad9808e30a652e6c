"""Tile seams: one set of objects for a plane from the objects of its tiles.

The tiles overlap by their halos, so most objects near a seam are seen twice, and some are cut by
the border of one tile, or of every tile that sees them. Three rules, in this order:

1. Of complete objects that several tiles see, one stays. The tile whose core holds the centre has
   the first word.
2. A cut object gives way to a neighbour's complete version.
3. Cut objects that agree where their tiles overlap are parts of one object: they are joined. A cut
   object without a counterpart stays if its centre lies in its own tile's core; otherwise the owner
   of that place saw no object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam.merge.nms import intersection, overlapping_pairs
from litesam.types import BoolArray, Box, MaskRecord, Tile

if TYPE_CHECKING:
    from collections.abc import Sequence


def near_inner_edge(
    boxes: npt.ArrayLike,
    region: npt.ArrayLike,
    plane: npt.ArrayLike,
    tolerance_px: float = 20.0,
) -> BoolArray:
    """Which boxes come close to a side of a region that is no side of the plane: cut objects.

    Parameters
    ----------
    boxes
        (N, 4) boxes (y0, x0, y1, x1), image pixels.
    region
        (4,) the region that was looked at, the same corners.
    plane
        (4,) the whole plane, the same corners.
    tolerance_px
        "Close": at most this far. The default is that of SAM's automatic mask generator, whose rule
        this is; sides that are close to the side of the plane do not count.

    Returns
    -------
    BoolArray
        (N,) bool.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    near_region = np.abs(corners - np.asarray(region, dtype=np.float64)) <= tolerance_px
    near_plane = np.abs(corners - np.asarray(plane, dtype=np.float64)) <= tolerance_px
    return np.asarray((near_region & ~near_plane).any(axis=1))


@dataclass(frozen=True, slots=True)
class _Seen:
    """An object as one tile saw it."""

    record: MaskRecord
    tile: Tile
    area: int
    cut: bool
    owned: bool


def stitch_tiles(
    records_per_tile: Sequence[Sequence[MaskRecord]],
    tiles: Sequence[Tile],
    shape_yx: tuple[int, int],
    *,
    iou: float = 0.5,
    max_containment: float = 0.7,
    join_iou: float = 0.5,
    edge_px: int = 4,
) -> list[MaskRecord]:
    """Merge the objects of overlapping tiles into the objects of the plane.

    Parameters
    ----------
    records_per_tile
        Objects of each tile in plane pixels, each tile's own duplicates removed.
    tiles
        The tiles, in the same order.
    shape_yx
        Size of the plane.
    iou
        Complete objects of different tiles with a larger mask IoU are the same.
    max_containment
        So are they if of the smaller one more than this share lies in the other and the weaker one
        belongs to another tile; and a cut object gives way if more than this share of it lies in a
        complete one.
    join_iou
        Cut objects are joined if their IoU inside the overlap of their tiles is larger.
    edge_px
        An object is cut if it comes this close to a border of its tile that is not a border of the
        plane.

    Returns
    -------
    list of MaskRecord
        Complete objects as their tile saw them, then joined and cut ones. A joined record has the
        area-weighted mean of the numbers of its parts and the point of its largest part. With one
        tile the records are returned unchanged.
    """
    if len(tiles) <= 1:
        return [record for records in records_per_tile for record in records]
    seen = _look(records_per_tile, tiles, shape_yx, edge_px)
    shared = {
        (i, j): count
        for i, j in overlapping_pairs([s.record.box for s in seen])
        if seen[i].tile.index != seen[j].tile.index
        and (count := intersection(seen[i].record, seen[j].record))
    }
    alive = _complete_ones(seen, shared, iou, max_containment)
    _give_way(seen, shared, alive, max_containment)
    groups = _joined_groups(seen, shared, alive, join_iou)

    result = [s.record for s, stays in zip(seen, alive, strict=True) if stays and not s.cut]
    for group in groups:
        if len(group) > 1:
            result.append(_join([seen[i] for i in group]))
        elif seen[group[0]].owned:
            result.append(seen[group[0]].record)
    return result


def _look(
    records_per_tile: Sequence[Sequence[MaskRecord]],
    tiles: Sequence[Tile],
    shape_yx: tuple[int, int],
    edge_px: int,
) -> list[_Seen]:
    """All objects, those with the first word first: complete, then owned, then by score."""
    seen = []
    for tile, records in zip(tiles, records_per_tile, strict=True):
        if not records:
            continue
        boxes = [_corners(record.box) for record in records]
        cut = near_inner_edge(boxes, _corners(tile.padded), (0, 0, *shape_yx), edge_px)
        seen += [
            _Seen(record, tile, record.area, bool(is_cut), _centre_inside(record.box, tile.core))
            for record, is_cut in zip(records, cut, strict=True)
            if record.area
        ]
    return sorted(seen, key=lambda s: (s.cut, not s.owned, -s.record.score))


def _corners(box: Box) -> tuple[int, int, int, int]:
    return (box.y0, box.x0, box.y1, box.x1)


def _centre_inside(box: Box, core: Box) -> bool:
    """Whether the box's centre lies in the core; exactly one core of a partition says so."""
    y, x = (box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2
    return core.y0 <= y < core.y1 and core.x0 <= x < core.x1


def _complete_ones(
    seen: Sequence[_Seen], shared: dict[tuple[int, int], int], iou: float, max_containment: float
) -> list[bool]:
    """Rule 1: which objects are left once complete ones are there only once."""
    alive = [True] * len(seen)
    for (i, j), count in shared.items():
        first, second = seen[i], seen[j]
        if first.cut or second.cut or not (alive[i] and alive[j]):
            continue
        same = count > iou * (first.area + second.area - count)
        inside = count > max_containment * min(first.area, second.area)
        if same or (inside and not second.owned):
            alive[j] = False
    return alive


def _give_way(
    seen: Sequence[_Seen],
    shared: dict[tuple[int, int], int],
    alive: list[bool],
    max_containment: float,
) -> None:
    """Rule 2: drop cut objects that a complete one of another tile covers."""
    for (i, j), count in shared.items():
        if alive[i] and not seen[i].cut and seen[j].cut and count > max_containment * seen[j].area:
            alive[j] = False


def _joined_groups(
    seen: Sequence[_Seen],
    shared: dict[tuple[int, int], int],
    alive: Sequence[bool],
    join_iou: float,
) -> list[list[int]]:
    """Rule 3: groups of cut objects that agree where their tiles overlap, first members first."""
    root = list(range(len(seen)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for (i, j), count in shared.items():
        if not (alive[i] and alive[j] and seen[i].cut and seen[j].cut):
            continue
        here = _area_inside(seen[i].record, seen[j].tile.padded)
        there = _area_inside(seen[j].record, seen[i].tile.padded)
        if count > join_iou * (here + there - count):
            low, high = sorted((find(i), find(j)))
            root[high] = low
    groups: dict[int, list[int]] = {}
    for i, s in enumerate(seen):
        if alive[i] and s.cut:
            groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def _area_inside(record: MaskRecord, region: Box) -> int:
    """Count the pixels of a mask that lie in a region."""
    box = record.box
    rows = slice(max(region.y0 - box.y0, 0), max(region.y1 - box.y0, 0))
    columns = slice(max(region.x0 - box.x0, 0), max(region.x1 - box.x0, 0))
    return int(np.count_nonzero(record.crop[rows, columns]))


def _join(parts: Sequence[_Seen]) -> MaskRecord:
    """One record for the union of several."""
    boxes = np.array([_corners(part.record.box) for part in parts])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    crop = np.zeros(tuple(high - low), dtype=np.bool_)
    for part in parts:
        box = part.record.box
        y, x = box.y0 - int(low[0]), box.x0 - int(low[1])
        crop[y : y + box.size_yx[0], x : x + box.size_yx[1]] |= part.record.crop
    weights = np.array([part.area for part in parts], dtype=np.float64)

    def mean(values: list[float]) -> float:
        return float(np.average(values, weights=weights))

    return replace(
        parts[int(weights.argmax())].record,
        box=Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])),
        crop=crop,
        predicted_iou=mean([part.record.predicted_iou for part in parts]),
        stability=mean([part.record.stability for part in parts]),
        score=mean([part.record.score for part in parts]),
    )
