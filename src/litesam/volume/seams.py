"""Seams between the blocks of a large plane: one set of objects from those of the blocks.

Blocks overlap by their halos, so an object near a seam is seen by two blocks or, at a corner, by
four. Objects of neighbouring blocks are compared where both look:

* two that agree there (IoU) are one;
* what the border of its block cuts off belongs to the object of the neighbour that holds most of
  its visible part; the neighbour's may be cut as well, as with an object larger than a block;
* what is complete in its block is never swallowed by something that is cut: that may be several
  objects in one.

All that are one in this sense get one number (union–find), over as many blocks as they take. In the
core of a block its own labels count. An object that only the neighbour saw, and saw complete, fills
free pixels there; a cut piece that lies in the neighbour's core and that the neighbour knows
nothing of is dropped, as `litesam.merge.stitch_tiles` does within a block.

Only tables of objects come together in one place, never pixels of a plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.merge import near_inner_edge
from litesam.types import AnyArray, BoolArray, IntArray
from litesam.volume.blocks import neighbours, overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litesam.types import Box, LabelArray, Tile

#: Objects that share more than this of their union in the overlap are one.
_JOIN_IOU = 0.5
#: A cut object of which more than this lies in a neighbour's object belongs to it.
_JOIN_CONTAINED = 0.75
#: An object is cut if it comes this close to a border of its block that is none of the plane.
_EDGE_PX = 4

#: Labels of a region of a block: (block, box in pixels of the plane) → (h, w).
Reader = "Callable[[int, Box], LabelArray]"


def block_table(labels: LabelArray, tile: Tile, shape_yx: tuple[int, int]) -> IntArray:
    """Return what the seams need to know of the objects of one block.

    Parameters
    ----------
    labels
        (h, w) labels 1 … N of ``tile.padded``.
    tile, shape_yx
        The block, and the size of the plane.

    Returns
    -------
    IntArray
        (N, 2) int64: whether the object is cut, and whether its centre lies in the core.
    """
    boxes = np.zeros((int(labels.max(initial=0)), 4), dtype=np.int64)
    for number, found in enumerate(ndimage.find_objects(labels)):
        if found is not None:
            boxes[number] = (found[0].start, found[1].start, found[0].stop, found[1].stop)
    padded, core = tile.padded, tile.core
    boxes += np.array([padded.y0, padded.x0, padded.y0, padded.x0])
    region = (padded.y0, padded.x0, padded.y1, padded.x1)
    cut = near_inner_edge(boxes, region, (0, 0, *shape_yx), _EDGE_PX)
    y, x = boxes[:, [0, 2]].mean(axis=1), boxes[:, [1, 3]].mean(axis=1)
    owned = (y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)
    return np.stack([cut, owned], axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Seams:
    """Numbers of the objects of one plane.

    Attributes
    ----------
    ids
        (all objects of all blocks,) int64: number in the plane, 1 … ``count``; 0: dropped.
    offsets
        (blocks + 1,) int64: where the objects of a block begin in ``ids``.
    cut
        (all objects,) bool: not seen whole by their block.
    count
        Number of objects of the plane.
    """

    ids: IntArray
    offsets: IntArray
    cut: BoolArray
    count: int

    def lookup(self, block: int) -> IntArray:
        """Return the number in the plane for each label of a block, 0 for background."""
        part = self.ids[self.offsets[block] : self.offsets[block + 1]]
        return np.concatenate([[0], part])

    def fill(self, block: int, other: int) -> IntArray:
        """Return the same for a neighbour: only what it saw complete and the block not at all."""
        own = np.unique(self.lookup(block))
        part = slice(int(self.offsets[other]), int(self.offsets[other + 1]))
        wanted = ~self.cut[part] & ~np.isin(self.ids[part], own)
        return np.concatenate([[0], np.where(wanted, self.ids[part], 0)])


def find_seams(
    tiles: tuple[Tile, ...],
    tables: Sequence[IntArray],
    read: Callable[[int, Box], LabelArray],
) -> Seams:
    """Decide which objects of the blocks of a plane are one.

    Parameters
    ----------
    tiles
        The blocks.
    tables
        Their `block_table`.
    read
        Gives the labels of a block in a region of the plane.
    """
    offsets = np.concatenate([[0], np.cumsum([len(table) for table in tables])]).astype(np.int64)
    about = np.concatenate([np.zeros((0, 2), dtype=np.int64), *tables]).astype(np.bool_)
    cut, owned = about[:, 0], about[:, 1]
    root = np.arange(len(about), dtype=np.int64)
    met = np.zeros(len(about), dtype=np.bool_)
    for i, j in neighbours(tiles):
        strip = overlap(tiles[i].padded, tiles[j].padded)
        if strip is None or not (len(tables[i]) and len(tables[j])):
            continue
        first, second = read(i, strip), read(j, strip)
        cut_i = np.concatenate([[False], cut[offsets[i] : offsets[i + 1]]])
        cut_j = np.concatenate([[False], cut[offsets[j] : offsets[j + 1]]])
        for a, b in _same(first, second, cut_i, cut_j):
            one, other = int(offsets[i]) + a - 1, int(offsets[j]) + b - 1
            met[[one, other]] = True
            _join(root, one, other)
    roots = np.array([_find(root, number) for number in range(len(root))], dtype=np.int64)
    stays = met | owned | ~cut
    kept = np.unique(roots[stays])
    ids = np.searchsorted(kept, roots) + 1
    ids[~stays] = 0
    return Seams(ids.astype(np.int64), offsets, cut, len(kept))


def _same(
    first: LabelArray, second: LabelArray, cut_first: BoolArray, cut_second: BoolArray
) -> list[tuple[int, int]]:
    """Pairs of labels that are one object, from a region that both blocks saw."""
    stride = int(second.max(initial=0)) + 1
    codes = (first.astype(np.int64) * stride + second).ravel()
    codes = codes[(first.ravel() > 0) & (second.ravel() > 0)]
    names, common = np.unique(codes, return_counts=True)
    a, b = names // stride, names % stride
    area_a = np.bincount(first.ravel(), minlength=len(cut_first))[a]
    area_b = np.bincount(second.ravel(), minlength=len(cut_second))[b]
    same = common > _JOIN_IOU * (area_a + area_b - common)
    same |= cut_first[a] & (common > _JOIN_CONTAINED * area_a)
    same |= cut_second[b] & (common > _JOIN_CONTAINED * area_b)
    return [(int(i), int(j)) for i, j in zip(a[same], b[same], strict=True)]


def _find(root: IntArray, number: int) -> int:
    while root[number] != number:
        root[number] = root[root[number]]
        number = int(root[number])
    return number


def _join(root: IntArray, one: int, other: int) -> None:
    """The smaller number stays, so that the order of the pairs says nothing."""
    low, high = sorted((_find(root, one), _find(root, other)))
    root[high] = low


def compose(
    number: int,
    tiles: tuple[Tile, ...],
    seams: Seams,
    read: Callable[[int, Box], AnyArray],
) -> LabelArray:
    """Return the labels of the core of a block with the numbers of the plane, (h, w) uint32."""
    core = tiles[number].core
    result = seams.lookup(number)[read(number, core)].astype(np.uint32)
    for i, j in neighbours(tiles):
        if number not in (i, j):
            continue
        other = j if i == number else i
        strip = overlap(core, tiles[other].padded)
        lookup = seams.fill(number, other)
        if strip is None or not lookup.any():
            continue
        window = result[
            strip.y0 - core.y0 : strip.y1 - core.y0, strip.x0 - core.x0 : strip.x1 - core.x0
        ]
        offered = lookup[read(other, strip)]
        free = (window == 0) & (offered > 0)
        window[free] = offered[free]
    return np.asarray(result)
