"""Planes → volume: every object of every plane gets its id.

Workers count which objects of neighbouring planes share pixels; one process links all of them from
these tables with `litesam.merge.SliceLinker`, without any pixels. (Objects that move, with
``max_shift_px``, need pixels: then the planes are streamed through that process.) What is left is a
table: id by plane and label, and the gaps in which an object is missing. The pixels of the result
are written from it block by block, by whichever worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.merge import Overlaps, SliceLinker, bridge, count_overlaps
from litesam.types import Box, IntArray, LabelArray, LinkConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from litesam.volume.folder import JobFolder
    from litesam.volume.stages import Job

#: The linker's state is written down after so many planes.
_PLANES_PER_CHECKPOINT = 256
#: Rows of a plane in memory at once: those of a chunk.
_ROWS = 1024
#: Columns of the table of gaps.
ABOVE, BELOW, LABEL_ABOVE, LABEL_BELOW, ID, Y0, X0, Y1, X1 = range(9)


@dataclass(slots=True, eq=False)
class _Table:
    """What is known so far, to be written down as a whole."""

    ids: list[IntArray]
    gaps: list[IntArray]
    count: int = 0


def link_planes(
    job: Job, on_plane: Callable[[int], None], check_cancelled: Callable[[], None]
) -> int:
    """Link all planes and keep the tables that `write_block` needs.

    Parameters
    ----------
    job
        A job whose planes are labelled.
    on_plane
        Called with the number of planes done.
    check_cancelled
        Raises when the work is to stop.

    Returns
    -------
    int
        Number of objects in the volume.
    """
    plan, folder = job.plan, job.folder
    if (folder.path / "links" / "count.npy").exists():
        return int(folder.load("links", "count")[0])
    table = _Table([], [])
    for first in range(0, plan.planes, plan.series):
        _link_series(job, table, first, on_plane, check_cancelled)
    lengths = [len(ids) for ids in table.ids]
    folder.save(
        "links",
        ids=np.concatenate(table.ids),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        gaps=np.concatenate([np.zeros((0, 9), dtype=np.int64), *table.gaps]),
    )
    folder.save("links", count=np.array([table.count]))  # last: now the others are complete
    return table.count


def _link_series(
    job: Job,
    table: _Table,
    first: int,
    on_plane: Callable[[int], None],
    check_cancelled: Callable[[], None],
) -> None:
    """Link planes that follow each other and append them to the table."""
    plan = job.plan
    if plan.series == 1:
        check_cancelled()
        stage = "label" if len(plan.blocks) == 1 else "seams"
        numbers = np.arange(int(job.folder.about(stage, first)["objects"]) + 1, dtype=np.int64)
        numbers[1:] += table.count
        table.ids.append(numbers)
        table.count += len(numbers) - 1
        on_plane(first + 1)
        return
    config = plan.plane_link or LinkConfig()
    linker, boxes = _resume(job.folder, config, first)
    for plane in range(first + len(linker), first + plan.series):
        check_cancelled()
        if plan.counts_overlaps:
            boxes.append(_add_counted(job, linker, plane))
        else:
            labels = job.plane_region(plane, Box(0, 0, *plan.plane_shape)).astype(np.int32)
            linker.add(labels)
            boxes.append(boxes_of(labels))
        if len(linker) % _PLANES_PER_CHECKPOINT == 0:
            _save_state(job.folder, linker, boxes, first)
        on_plane(plane + 1)
    links = linker.finish()
    offset = table.count
    table.ids += [np.where(ids > 0, ids + offset, 0) for ids in links.ids]
    rows = [
        (
            gap.above + first,
            gap.below + first,
            gap.label_above,
            gap.label_below,
            gap.id + offset,
            *np.minimum(boxes[gap.above][gap.label_above], boxes[gap.below][gap.label_below])[:2],
            *np.maximum(boxes[gap.above][gap.label_above], boxes[gap.below][gap.label_below])[2:],
        )
        for gap in links.gaps
    ]
    table.gaps.append(np.array(rows, dtype=np.int64).reshape(-1, 9))
    table.count += links.count


def _add_counted(job: Job, linker: SliceLinker, plane: int) -> IntArray:
    """Link a plane by its table; returns the boxes of its objects."""
    table = job.folder.load_table(f"overlaps/{plane:07d}")
    lags = min(len(linker), linker.config.max_gap + 1)
    overlaps = [
        Overlaps(*(table[f"{key}{lag}"] for key in Overlaps._fields)) for lag in range(1, lags + 1)
    ]
    linker.add_counted(table["areas"], overlaps)
    return table["boxes"]


def count_plane(job: Job, plane: int) -> int:
    """Count which objects of a plane share pixels with those of the planes before it.

    Returns
    -------
    int
        Number of objects of the plane.
    """
    plan = job.plan
    height, width = plan.plane_shape
    rows = [Box(y, 0, min(y + _ROWS, height), width) for y in range(0, height, _ROWS)]
    areas, boxes = np.zeros(1, dtype=np.int64), np.zeros((1, 4), dtype=np.int64)
    for box in rows:
        labels = job.plane_region(plane, box).astype(np.int32)
        here = np.bincount(labels.ravel(), minlength=len(areas))
        here[: len(areas)] += areas
        areas = here.astype(np.int64)
        boxes = _union(boxes, boxes_of(labels), box.y0)
    about = {"areas": areas, "boxes": boxes}
    lags = min(plane % plan.series, plan.link.max_gap + 1 if plan.link is not None else 0)
    for lag in range(1, lags + 1):
        overlaps = count_overlaps(
            (job.plane_region(plane - lag, box), job.plane_region(plane, box)) for box in rows
        )
        about |= {f"{key}{lag}": value for key, value in overlaps._asdict().items()}
    job.folder.save_table(f"overlaps/{plane:07d}", **about)
    return len(areas) - 1


def boxes_of(labels: LabelArray) -> IntArray:
    """(N + 1, 4) boxes of the objects of a plane, by label; zeros where there is none."""
    found = np.zeros((int(labels.max(initial=0)) + 1, 4), dtype=np.int64)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            found[label] = (box[0].start, box[1].start, box[0].stop, box[1].stop)
    return found


def _union(first: IntArray, second: IntArray, y0: int) -> IntArray:
    """Boxes of objects of which the second holds a part, seen from row ``y0``."""
    second = second + np.where(second[:, 2:3] > 0, [[y0, 0, y0, 0]], 0)
    result = np.zeros((max(len(first), len(second)), 4), dtype=np.int64)
    result[: len(first)] = first
    mine, other = result[: len(second)], second
    both = (mine[:, 2] > 0) & (other[:, 2] > 0)
    alone = (mine[:, 2] == 0) & (other[:, 2] > 0)
    mine[alone] = other[alone]
    mine[both, :2] = np.minimum(mine[both, :2], other[both, :2])
    mine[both, 2:] = np.maximum(mine[both, 2:], other[both, 2:])
    return result


# ------------------------------------------------------------------------------------- checkpoints


def _save_state(folder: JobFolder, linker: SliceLinker, boxes: list[IntArray], first: int) -> None:
    """Write down how far a series is."""
    folder.save_table(
        "linker",
        first=np.array([first]),
        boxes=np.concatenate(boxes),
        lengths_of_boxes=np.array([len(b) for b in boxes]),
        **linker.state(),
    )


def _resume(
    folder: JobFolder, config: LinkConfig, first: int
) -> tuple[SliceLinker, list[IntArray]]:
    """The linker of a series as it was written down last, or a new one."""
    if not (folder.path / "linker.npz").exists():
        return SliceLinker(config), []
    state = folder.load_table("linker")
    if int(state["first"][0]) != first:
        return SliceLinker(config), []
    ends = np.cumsum(state["lengths_of_boxes"])[:-1]
    return SliceLinker.from_state(config, state), np.split(state["boxes"], ends)


# -------------------------------------------------------------------------------------------- gaps


def fill_gaps(job: Job, plane: int, core: Box, labels: LabelArray) -> None:
    """Paint objects that are missing in a plane between two others into its free pixels.

    Parameters
    ----------
    job
        A job whose planes are linked.
    plane, core
        The block.
    labels
        Its (h, w) ids, changed in place.
    """
    gaps = job.folder.load("links", "gaps")
    if len(gaps) == 0 or job.plan.link is None:
        return
    first = np.searchsorted(gaps[:, ABOVE], plane - job.plan.link.max_gap, side="left")
    last = np.searchsorted(gaps[:, ABOVE], plane, side="left")
    for gap in np.asarray(gaps[first:last]):
        box = Box(int(gap[Y0]), int(gap[X0]), int(gap[Y1]), int(gap[X1]))
        outside = (
            gap[BELOW] <= plane
            or box.y1 <= core.y0
            or box.y0 >= core.y1
            or box.x1 <= core.x0
            or box.x0 >= core.x1
        )
        if outside:
            continue
        above = job.plane_region(int(gap[ABOVE]), box) == gap[LABEL_ABOVE]
        below = job.plane_region(int(gap[BELOW]), box) == gap[LABEL_BELOW]
        steps = int(gap[BELOW] - gap[ABOVE] - 1)
        mask = bridge(above, below, steps)[int(plane - gap[ABOVE] - 1)]
        y, x = max(core.y0 - box.y0, 0), max(core.x0 - box.x0, 0)
        mask = mask[y : core.y1 - box.y0, x : core.x1 - box.x0]
        top, left = max(box.y0 - core.y0, 0), max(box.x0 - core.x0, 0)
        window = labels[top : top + mask.shape[0], left : left + mask.shape[1]]
        window[mask & (window == 0)] = gap[ID]
