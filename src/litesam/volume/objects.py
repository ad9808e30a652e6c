"""Objects of the volume as a table: where each is, how large, and how sure the model is of it.

Workers measure what of each object lies in the block that they write. One process adds that up,
plane by plane, with what the model said of the cross-sections, and writes the table beside the
labels, as a group of the same Zarr; its memory is that of the table, never that of pixels.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import JobError, ReadError
from litesam.types import FloatArray, IntArray
from litesam.volume.arrays import write_table
from litesam.volume.linking import boxes_of
from litesam.volume.seams import Seams
from litesam.volume.tracks import TRACKS, TrackRows, write_tracks

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from litesam.types import AnyArray, Box, LabelArray
    from litesam.volume.stages import Job

#: Group of the labels' Zarr that holds the table.
GROUP = "objects"
#: Rows of a block that are measured at once.
_STRIP = 512
_ABOUT = "litesam_objects"
#: What is known of an object.
_COLUMNS = (
    "voxels",
    "slices",
    "confidence",
    "lowest",
    "lowest_at",
    "centroids",
    "first",
    "last",
    "plane_confidence",
)


# ------------------------------------------------------------------------------------ the workers


def measure_block(own: LabelArray, ids: IntArray, labels: AnyArray, core: Box) -> dict[str, Any]:
    """Measure the objects of the volume in one block.

    Parameters
    ----------
    own
        (h, w) labels of the plane by itself.
    ids
        Object of each of these labels.
    labels
        (h, w) objects, also those that were filled in.
    core
        The block, pixels of the plane.

    Returns
    -------
    dict
        ``ids`` in rising order, ``pixels``, ``sums`` (of y and x) and ``boxes`` (y0, x0, y1, x1;
        half-open) of each, as whole numbers.
    """
    found: list[tuple[IntArray, IntArray]] = []
    for top in range(0, own.shape[0], _STRIP):
        part, objects = own[top : top + _STRIP], labels[top : top + _STRIP]
        at, measured = _measure(part, core.y0 + top, core.x0)
        kept = ids[at] > 0
        found.append((ids[at[kept]], measured[kept]))
        filled = objects != ids[part]
        if filled.any():
            more, inverse = np.unique(objects[filled], return_inverse=True)
            part = np.zeros(objects.shape, dtype=np.int32)
            part[filled] = inverse + 1
            at, measured = _measure(part, core.y0 + top, core.x0)
            found.append((more[at - 1], measured))
    names, table = _joined(found)
    return {
        "ids": names.tolist(),
        "pixels": table[:, 0].tolist(),
        "sums": table[:, 1:3].tolist(),
        "boxes": table[:, 3:].tolist(),
    }


def _measure(labels: LabelArray, y0: int, x0: int) -> tuple[IntArray, IntArray]:
    """Labels that are there, and of each (7,): pixels, sums of y and x, box, in the plane."""
    here = np.flatnonzero(labels)
    names = labels.ravel()[here]
    y, x = np.divmod(here, labels.shape[1])
    pixels = np.bincount(names)
    found = np.flatnonzero(pixels)
    boxes = boxes_of(labels.astype(np.int32, copy=False))
    table = np.zeros((len(found), 7), dtype=np.int64)
    table[:, 0] = pixels[found]
    table[:, 1] = np.bincount(names, y)[found] + y0 * table[:, 0]
    table[:, 2] = np.bincount(names, x)[found] + x0 * table[:, 0]
    table[:, 3:] = boxes[found] + [y0, x0, y0, x0]
    return found, table


def _joined(parts: Sequence[tuple[IntArray, IntArray]]) -> tuple[IntArray, IntArray]:
    """One row for each name: sums, and the box around all boxes."""
    names = np.concatenate([np.zeros(0, dtype=np.int64), *(names for names, _ in parts)])
    measured = np.concatenate([np.zeros((0, 7), dtype=np.int64), *(table for _, table in parts)])
    found, inverse = np.unique(names, return_inverse=True)
    table = np.zeros((len(found), 7), dtype=np.int64)
    np.add.at(table[:, :3], inverse, measured[:, :3])
    table[:, 3:5] = np.iinfo(np.int64).max
    np.minimum.at(table[:, 3:5], inverse, measured[:, 3:5])
    np.maximum.at(table[:, 5:], inverse, measured[:, 5:])
    return found.astype(np.int64), table


# ------------------------------------------------------------------------------------ the one run


def collect_objects(
    job: Job, count: int, on_plane: Callable[[int], None], check_cancelled: Callable[[], None]
) -> None:
    """Add up what workers have measured, and write the table beside the labels, and that of tracks.

    Parameters
    ----------
    job
        A job whose labels are written.
    count
        Number of objects.
    on_plane
        Called with the number of planes done.
    check_cancelled
        Raises when the work is to stop.

    Raises
    ------
    JobError
        If what was measured of a block is damaged; it is done again in the next run.
    """
    plan = job.plan
    lead = len(plan.shape) - 2
    total = _Total(count, lead)
    sections: list[tuple[IntArray, FloatArray]] = []
    rows = TrackRows()
    for plane in range(plan.planes):
        check_cancelled()
        names, measured = _plane(job, plane)
        sure = _sureness(job, plane, names)
        total.add(job.index(plane), names, measured, sure)
        sections.append((names, sure))
        if plan.has_tracks:
            time, z = (*job.index(plane), 0)[:2]
            pixels = measured[:, :1]
            rows.add(time, names, np.hstack([pixels, pixels * z, measured[:, 1:3]]))
        on_plane(plane + 1)
    columns = total.columns()
    columns["section_offsets"] = np.cumsum([0, *(len(names) for names, _ in sections)])
    columns["plane_confidence"] = np.array(
        [sure.mean() if len(sure) else np.nan for _, sure in sections], dtype=np.float32
    )
    columns["section_ids"] = np.concatenate([names for names, _ in sections])
    columns["section_confidence"] = np.concatenate([sure for _, sure in sections])
    about = {
        "version": 1,
        "axes": plan.axes,
        "shape": list(plan.shape),
        "origin": list(plan.origin),
    }
    result = job.folder.path / "result.zarr"
    write_table(result / GROUP, columns, {_ABOUT: about}, plan.ome_zarr)
    if plan.has_tracks:
        write_tracks(result / TRACKS, rows.tracks(plan.axes, plan.origin), plan.ome_zarr)


class _Total:
    """What is known of all objects so far."""

    def __init__(self, count: int, lead: int) -> None:
        self.voxels = np.zeros(count + 1, dtype=np.int64)
        self.slices = np.zeros(count + 1, dtype=np.int32)
        self.sums = np.zeros((count + 1, lead + 2), dtype=np.int64)
        self.sure = np.zeros(count + 1, dtype=np.float64)
        self.lowest = np.full(count + 1, np.inf, dtype=np.float32)
        self.lowest_at = np.zeros((count + 1, lead), dtype=np.int32)
        self.first = np.full((count + 1, lead + 2), np.iinfo(np.int32).max, dtype=np.int32)
        self.last = np.full((count + 1, lead + 2), -1, dtype=np.int32)

    def add(
        self, index: tuple[int, ...], names: IntArray, measured: IntArray, sure: FloatArray
    ) -> None:
        """Take up one plane; each name is there once."""
        pixels, lead = measured[:, 0], len(index)
        self.voxels[names] += pixels
        self.slices[names] += 1
        self.sums[names] += np.column_stack([*(pixels * at for at in index), measured[:, 1:3]])
        self.sure[names] += sure
        worse = sure < self.lowest[names]
        self.lowest[names[worse]] = sure[worse]
        self.lowest_at[names[worse]] = np.asarray(index, dtype=np.int32).reshape(1, lead)
        here = np.broadcast_to(np.asarray(index, dtype=np.int64), (len(names), lead))
        low = np.column_stack([here, measured[:, 3:5]])
        high = np.column_stack([here, measured[:, 5:] - 1])
        self.first[names] = np.minimum(self.first[names], low)
        self.last[names] = np.maximum(self.last[names], high)

    def columns(self) -> dict[str, AnyArray]:
        """All columns, without that of the background."""
        voxels, slices = self.voxels[1:], self.slices[1:]
        return {
            "voxels": voxels,
            "slices": slices,
            "confidence": (self.sure[1:] / np.maximum(slices, 1)).astype(np.float32),
            "lowest": np.where(slices > 0, self.lowest[1:], 0).astype(np.float32),
            "lowest_at": self.lowest_at[1:],
            "centroids": self.sums[1:] / np.maximum(voxels, 1)[:, None],
            "first": self.first[1:],
            "last": self.last[1:],
        }


def _plane(job: Job, plane: int) -> tuple[IntArray, IntArray]:
    """Objects of a plane, and what workers have measured of them in its blocks."""
    blocks = len(job.plan.blocks)
    parts = []
    for number in range(plane * blocks, (plane + 1) * blocks):
        about = _said(job, "write", number, "ids", "pixels", "sums", "boxes")
        names = np.array(about["ids"], dtype=np.int64)
        if len(names):
            columns = (about["pixels"], about["sums"], about["boxes"])
            parts.append((names, np.column_stack([np.array(one, np.int64) for one in columns])))
    return _joined(parts)


def _sureness(job: Job, plane: int, names: IntArray) -> FloatArray:
    """How sure the model is of the cross-sections of objects; 0 where they were filled in.

    Of a cross-section that several blocks saw the surest counts: it is whole there.
    """
    plan, folder = job.plan, job.folder
    offsets = folder.load("links", "offsets")
    ids = np.asarray(folder.load("links", "ids")[offsets[plane] : offsets[plane + 1]])
    if plan.links_volumes:
        ids = np.asarray(folder.load("tracks", "of"))[ids]
    blocks = len(plan.blocks)
    scores = [
        np.array(_said(job, "label", plane * blocks + block, "scores")["scores"], dtype=np.float32)
        for block in range(blocks)
    ]
    best = np.zeros(len(ids), dtype=np.float32)
    if blocks == 1:
        best[1 : len(scores[0]) + 1] = scores[0]
    else:
        parts = folder.load_table(f"seams/{plane:07d}")
        seams = Seams(parts["ids"], parts["offsets"], parts["cut"], int(parts["count"][0]))
        for block, found in enumerate(scores):
            np.maximum.at(best, seams.lookup(block)[1:], found)
    sure = np.zeros(len(names), dtype=np.float32)
    known = np.isin(ids, names) & (ids > 0)
    np.maximum.at(sure, np.searchsorted(names, ids[known]), best[known])
    return sure


def _said(job: Job, stage: str, number: int, *keys: str) -> dict[str, Any]:
    """What was written down of a finished block; one that is damaged is done again."""
    try:
        about = job.folder.about(stage, number)
        return {key: about[key] for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as error:
        job.folder.unmark(stage, number)
        raise JobError(
            f"What was written down of a finished block cannot be read any more ({error}); that "
            "block will be done again."
        ) from error


# ------------------------------------------------------------------------------------ the readers


@dataclass(frozen=True, eq=False)
class VolumeObjects:
    """The objects of labels that a job has written; object ``i`` is row ``i - 1``.

    Attributes
    ----------
    axes, shape
        Of the labels.
    origin
        Position of the labels' first pixel in the image.
    voxels, slices
        (N,) int: size, and number of planes that it is seen in.
    confidence
        (N,) float32 in [0, 1]: mean over its planes of what the model says of the cross-section; a
        plane that was filled in counts as 0.
    lowest, lowest_at
        (N,) float32 and (N, D - 2) int: its least sure cross-section, and where that is (T, Z).
    centroids
        (N, D) float, pixels of the labels.
    first, last
        (N, D) int: bounding box, both ends included.
    plane_confidence
        (P,) float32: mean over the objects of each plane, NaN where there are none.
    """

    axes: str
    shape: tuple[int, ...]
    origin: tuple[int, ...]
    voxels: IntArray
    slices: IntArray
    confidence: FloatArray
    lowest: FloatArray
    lowest_at: IntArray
    centroids: FloatArray
    first: IntArray
    last: IntArray
    plane_confidence: FloatArray
    _group: Any

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.voxels)

    @cached_property
    def worst_first(self) -> IntArray:
        """Numbers of the objects, the least sure first."""
        found: IntArray = np.argsort(self.confidence, kind="stable") + 1
        return found[self.voxels[found - 1] > 0]

    def sections(self, number: int) -> dict[tuple[int, ...], float]:
        """Return how sure the model is of the cross-sections of an object.

        Returns
        -------
        dict
            By plane, (T, Z); 0 where it was filled in.
        """
        row = number - 1
        spans = zip(self.first[row, :-2], self.last[row, :-2], strict=True)
        found: dict[tuple[int, ...], float] = {}
        for index in product(*(range(int(a), int(b) + 1) for a, b in spans)):
            plane = int(np.ravel_multi_index(index, self.shape[:-2])) if index else 0
            start, stop = (int(n) for n in self._group["section_offsets"][plane : plane + 2])
            ids = np.asarray(self._group["section_ids"][start:stop])
            at = int(np.searchsorted(ids, number))
            if at < len(ids) and ids[at] == number:
                found[index] = float(self._group["section_confidence"][start + at])
        return found

    def write_csv(self, file: Any) -> None:
        """Write the table as text with a header, positions in pixels of the image.

        Columns: ``id``, ``slices``, ``voxels``, ``confidence``, ``lowest``; ``lowest_z`` (and
        ``lowest_t``) where that is; for each axis, such as ``y``: ``centroid_y``, ``min_y`` and
        ``max_y`` (the last pixel).
        """
        letters = self.axes.lower()
        table = csv.writer(file, lineterminator="\n")
        header = ["id", "slices", "voxels", "confidence", "lowest"]
        header += [f"lowest_{letter}" for letter in letters[:-2]]
        table.writerow(
            header + [f"{what}_{a}" for what in ("centroid", "min", "max") for a in letters]
        )
        table.writerows(self._rows())

    def _rows(self) -> Iterator[list[Any]]:
        origin = np.asarray(self.origin)
        for row in range(len(self)):
            if not self.voxels[row]:
                continue
            yield [
                row + 1,
                int(self.slices[row]),
                int(self.voxels[row]),
                f"{self.confidence[row]:.4f}",
                f"{self.lowest[row]:.4f}",
                *(self.lowest_at[row] + origin[:-2]).tolist(),
                *(f"{value:.3f}" for value in self.centroids[row] + origin),
                *(self.first[row] + origin).tolist(),
                *(self.last[row] + origin).tolist(),
            ]


def read_objects(path: str | os.PathLike[str]) -> VolumeObjects:
    """Return the table that lies beside labels which `litesam.label_volume` has written.

    Parameters
    ----------
    path
        The labels, an OME-Zarr.

    Raises
    ------
    ReadError
        If there is none.
    """
    import zarr

    folder = Path(path) / GROUP
    try:
        group: Any = zarr.open_group(folder, mode="r")
        about = group.attrs[_ABOUT]
        columns = {name: np.asarray(group[name][...]) for name in _COLUMNS}
        axes, shape, origin = about["axes"], tuple(about["shape"]), tuple(about["origin"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ReadError(
            f"{path} holds no table of objects that can be read ({error or type(error).__name__}); "
            "it lies in OME-Zarr labels that litesam.label_volume (litesam label) has written."
        ) from error
    return VolumeObjects(axes, shape, origin, **columns, _group=group)
