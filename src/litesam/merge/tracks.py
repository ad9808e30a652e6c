"""Volumes → tracks: the objects of successive points in time, linked.

What `SliceLinker` does for the cross-sections of slices is done here for whole objects, of which
only tables are needed: their sizes, their centres, and how much they overlap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.spatial import cKDTree

from litesam.merge.link import SliceLinker, largest_sum
from litesam.merge.overlaps import Overlaps
from litesam.types import BoolArray, IntArray, LinkConfig


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of one point in time, 1 … N.

    Attributes
    ----------
    areas
        (N + 1,) int64: how many pixels each has; that of background does not matter.
    centres
        (N + 1, D) float: their centroids, all axes in pixels of the plane.
    overlaps
        With the point in time before, with the one before that …: ``max_gap + 1`` of them, fewer at
        the beginning.
    """

    areas: IntArray
    centres: npt.NDArray[np.float64]
    overlaps: Sequence[Overlaps]


def link_in_time(volumes: Iterable[Objects], config: LinkConfig) -> tuple[list[IntArray], int]:
    """Link the objects of successive points in time into tracks.

    Without ``max_shift_px`` objects are linked that overlap, the pair of largest IoU first. With it
    also those whose centres are near and whose sizes agree: the ratio of their sizes, up to halved
    with the distance, counts beside the IoU, and the largest sum decides, as every cell of a flock
    may be nearest to where its neighbour was. Who finds no partner is compared with the points in
    time before, up to ``max_gap`` further.

    Parameters
    ----------
    volumes
        The objects of each point in time, in order; taken one after the other.
    config
        ``min_overlap``, ``measure``, ``max_gap`` and ``max_shift_px``; what else it says is about
        slices.

    Returns
    -------
    tuple
        For each point in time (N + 1,) int64, the track of each object, 0 for background; and the
        number of tracks, which are numbered in the order of first sight.
    """
    if config.max_shift_px == 0:
        linker = SliceLinker(replace(config, min_extent=1, waist=0.0))
        for volume in volumes:
            linker.add_counted(volume.areas, volume.overlaps)
        links = linker.finish()
        return list(links.ids), links.count
    tracks: list[IntArray] = []
    window: deque[Objects] = deque(maxlen=config.max_gap + 1)
    count = 0
    for volume in volumes:
        here = np.zeros(len(volume.areas), dtype=np.int64)
        there = volume.areas > 0
        there[0] = False
        for lag, earlier in enumerate(reversed(window), start=1):
            of_earlier = tracks[-lag]
            later = np.concatenate([np.zeros(1, np.int64), *tracks[len(tracks) - lag + 1 :]])
            above = ~np.isin(of_earlier, later)  # 0, background, is among them
            for i, j in _moved(earlier, volume, above, there & (here == 0), lag, config):
                here[j] = of_earlier[i]
        begins = np.flatnonzero(there & (here == 0))
        here[begins] = count + 1 + np.arange(len(begins))
        count += len(begins)
        tracks.append(here)
        window.append(volume)
    return tracks, count


def _moved(
    above: Objects,
    below: Objects,
    open_above: BoolArray,
    open_below: BoolArray,
    lag: int,
    config: LinkConfig,
) -> list[tuple[int, int]]:
    """One-to-one pairs (object before, object now) of the largest sum of scores."""
    scores: dict[tuple[int, int], float] = {}
    pairs, common, _ = below.overlaps[lag - 1]
    for (i, j), shared in zip(pairs.tolist(), common.tolist(), strict=True):
        if not (open_above[i] and open_below[j]):
            continue
        sizes = int(above.areas[i]), int(below.areas[j])
        iou = shared / (sum(sizes) - shared)
        if (iou if config.measure == "iou" else shared / min(sizes)) >= config.min_overlap:
            scores[i, j] = iou
    first, second = np.flatnonzero(open_above), np.flatnonzero(open_below)
    if len(first) == 0 or len(second) == 0:
        return []
    reach = config.max_shift_px * lag
    tree = cKDTree(below.centres[second])
    for i in first.tolist():
        for place in tree.query_ball_point(above.centres[i], reach):
            j = int(second[place])
            small, large = sorted((float(above.areas[i]), float(below.areas[j])))
            if small / large >= config.min_overlap:
                distance = float(np.linalg.norm(above.centres[i] - below.centres[j]))
                score = small / large * (1.0 - 0.5 * distance / reach)
                scores[i, j] = max(score, scores.get((i, j), 0.0))
    if not scores:
        return []
    row = {name: number for number, name in enumerate(sorted({i for i, _ in scores}))}
    column = {name: number for number, name in enumerate(sorted({j for _, j in scores}))}
    rows, columns = list(row), list(column)
    places = ([row[i] for i, _ in scores], [column[j] for _, j in scores])
    graph = coo_matrix((list(scores.values()), places), shape=(len(rows), len(columns)))
    return [(rows[i], columns[j]) for i, j in largest_sum(graph)]
