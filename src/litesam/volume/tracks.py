"""Time: objects of volumes → tracks, and the table of tracks.

The objects of each point in time are linked over z first (`linking`). Workers then count for each
point in time which of its objects share voxels with those before, one process links them from
these tables, and the table "track of each object" is what the result is written with.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.merge import Objects, Overlaps, count_overlaps, link_in_time
from litesam.types import Box, IntArray, LinkConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from litesam.types import AnyArray, LabelArray
    from litesam.volume.stages import Job

#: Rows of a plane in memory at once: those of a chunk.
_ROWS = 1024


# ------------------------------------------------------------------------------ linking of volumes


def prepare_motion(job: Job) -> None:
    """Write down where the ids of each point in time begin, for the workers."""
    plan, folder = job.plan, job.folder
    offsets, ids = folder.load("links", "offsets"), folder.load("links", "ids")
    bases = [0]
    for first in range(0, plan.planes, plan.series):
        part = ids[offsets[first] : offsets[first + plan.series]]
        bases.append(max(bases[-1], int(part.max(initial=0))))
    folder.save("motion", bases=np.array(bases, dtype=np.int64))


def count_motion(job: Job, time: int) -> int:
    """Measure the objects of a point in time and count what they share with those before.

    Returns
    -------
    int
        Number of objects.
    """
    plan = job.plan
    bases = job.folder.load("motion", "bases")
    count = int(bases[time + 1] - bases[time])
    height, width = plan.plane_shape
    rows = [Box(y, 0, min(y + _ROWS, height), width) for y in range(0, height, _ROWS)]
    slices = range(plan.series)
    sums = np.zeros((count + 1, 4))
    for z in slices:
        for box in rows:
            labels = _objects_of(job, time, z, box)
            sums += _moments(labels.ravel(), box, z, count + 1)
    areas = sums[:, 0].astype(np.int64)
    about: dict[str, AnyArray] = {
        "areas": areas,
        "centres": sums[:, 1:] / np.maximum(areas, 1)[:, None] * _steps(plan.scale),
    }
    assert plan.link is not None
    for lag in range(1, min(time, plan.link.max_gap + 1) + 1):
        overlaps = count_overlaps(
            (_objects_of(job, time - lag, z, box), _objects_of(job, time, z, box))
            for z in slices
            for box in rows
        )
        about |= {f"{key}{lag}": value for key, value in overlaps._asdict().items()}
    job.folder.save_table(f"motion/{time:07d}", **about)
    return count


def _objects_of(job: Job, time: int, z: int, box: Box) -> LabelArray:
    """Objects of a point in time in a region of one of its slices, numbered 1 … N."""
    plane = time * job.plan.series + z
    base = int(job.folder.load("motion", "bases")[time])
    offsets = job.folder.load("links", "offsets")
    ids = np.asarray(job.folder.load("links", "ids")[offsets[plane] : offsets[plane + 1]])
    names = np.where(ids > 0, ids - base, 0).astype(np.int32)
    found: LabelArray = names[job.plane_region(plane, box)]
    return found


def _moments(labels: AnyArray, box: Box, z: int, length: int) -> npt.NDArray[np.float64]:
    """(N, 4) pixels, and sums of z, y and x, by label."""
    here = np.flatnonzero(labels)
    names = labels[here]
    y, x = np.divmod(here, box.size_yx[1])
    pixels = np.bincount(names, minlength=length).astype(float)
    return np.stack(
        [
            pixels,
            pixels * z,
            np.bincount(names, y + box.y0, minlength=length),
            np.bincount(names, x + box.x0, minlength=length),
        ],
        axis=1,
    )


def _steps(scale: Sequence[float] | None) -> npt.NDArray[np.float64]:
    """Spacing along z, y and x in pixels of the plane; slices of unknown spacing count as one."""
    if scale is None or scale[-1] <= 0:
        return np.ones(3)
    return np.asarray(scale[-3:], dtype=float) / scale[-1]


def link_times(job: Job, check_cancelled: Callable[[], None]) -> int:
    """Link the objects of all points in time and keep the table that `write_block` needs.

    Returns
    -------
    int
        Number of tracks.
    """
    plan, folder = job.plan, job.folder
    if (folder.path / "tracks" / "count.npy").exists():
        return int(folder.load("tracks", "count")[0])
    config = plan.link or LinkConfig()

    def volumes() -> Iterator[Objects]:
        for time in range(plan.planes // plan.series):
            check_cancelled()
            table = folder.load_table(f"motion/{time:07d}")
            overlaps = [
                Overlaps(*(table[f"{key}{lag}"] for key in Overlaps._fields))
                for lag in range(1, min(time, config.max_gap + 1) + 1)
            ]
            yield Objects(table["areas"], table["centres"], overlaps)

    tracks, count = link_in_time(volumes(), config)
    zero = np.zeros(1, dtype=np.int64)
    folder.save("tracks", of=np.concatenate([zero, *(part[1:] for part in tracks)]))
    folder.save("tracks", count=np.array([count]))  # last: now the other is complete
    return count


# ---------------------------------------------------------------------------------- table of tracks


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Where each object is at each point in time, as napari's Tracks layer takes it.

    Attributes
    ----------
    axes
        Letters of the columns after the first: T, Z where there is one, Y, X.
    data
        (N, 1 + D) float: track, t, (z,) y, x; by track and then by time.
    areas
        (N,) int64: pixels (voxels) of the object at that time.
    """

    axes: str
    data: npt.NDArray[np.float64]
    areas: IntArray

    def to_csv(self) -> str:
        """Return the table as text, with a header: ``track_id,t,z,y,x,area``."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["track_id", *self.axes.lower(), "area"])
        for row, area in zip(self.data, self.areas, strict=True):
            centre = (f"{value:.3f}" for value in row[2:])
            table.writerow([int(row[0]), int(row[1]), *centre, int(area)])
        return text.getvalue()


def measure_tracks(labels: Any, axes: str, origin: Sequence[int] | None = None) -> Tracks:
    """Return where each object of a time series is at each point in time.

    Parameters
    ----------
    labels
        Labels with the axes TYX or TZYX in which an object has one number at all times, such as
        `litesam.label_volume` writes them with ``time_axis="tracks"``; numpy, Zarr or anything that
        slices to numpy. It is read by parts of a plane.
    axes
        "TYX" or "TZYX".
    origin
        Position of the labels' first pixel in the image, which positions are counted from; None:
        they are counted in the labels.

    Returns
    -------
    Tracks
        Centroids in pixels, and areas.

    Raises
    ------
    ConfigError
        If the axes are others.
    """
    from litesam.errors import ConfigError

    if axes not in ("TYX", "TZYX") or len(labels.shape) != len(axes):
        raise ConfigError(
            f"Tracks are measured in labels with the axes TYX or TZYX, not {axes} of shape "
            f"{tuple(labels.shape)}."
        )
    height, width = (int(n) for n in labels.shape[-2:])
    slices = int(labels.shape[1]) if "Z" in axes else 1
    rows = [Box(y, 0, min(y + _ROWS, height), width) for y in range(0, height, _ROWS)]
    found = []
    for time in range(int(labels.shape[0])):
        names, parts = [], []
        for z in range(slices):
            index = (time, z) if "Z" in axes else (time,)
            for box in rows:
                part = np.asarray(labels[(*index, *box.slices)])
                here, inverse = np.unique(part, return_inverse=True)
                inverse = inverse.ravel() + (1 if len(here) and here[0] else 0)
                here = here[here > 0]
                names.append(here.astype(np.int64))
                parts.append(_moments(inverse, box, z, len(here) + 1)[1:])
        ids, inverse = np.unique(np.concatenate(names), return_inverse=True)
        sums = np.zeros((len(ids), 4))
        np.add.at(sums, inverse, np.concatenate(parts))
        centres = sums[:, 1:] / sums[:, :1]
        found.append(np.column_stack([ids, np.full(len(ids), time), centres, sums[:, 0]]))
    table = np.concatenate(found)
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    areas = table[:, -1].astype(np.int64)
    data = table[:, :-1] if "Z" in axes else np.delete(table[:, :-1], 2, axis=1)
    if origin is not None:
        data[:, 1:] += np.asarray(origin, dtype=float)
    return Tracks(axes, data, areas)
