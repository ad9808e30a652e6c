"""Time: objects of volumes → tracks, and the table of tracks.

The objects of each point in time are linked over z first (`linking`). Workers then count for each
point in time which of its objects share voxels with those before, one process links them from
these tables, and the table "track of each object" is what the result is written with.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.merge import Objects, Overlaps, count_overlaps, link_in_time
from litesam.types import Box, IntArray, LinkConfig
from litesam.volume.arrays import write_table

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from litesam.types import AnyArray, IsCancelled, LabelArray, OnProgress
    from litesam.volume.stages import Job

#: Rows of a plane in memory at once: those of a chunk.
_ROWS = 1024
#: Group of the labels' Zarr that holds the table.
TRACKS = "tracks"
_ABOUT = "litesam_tracks"


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


def measure_tracks(
    labels: Any,
    axes: str,
    origin: Sequence[int] | None = None,
    *,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> Tracks:
    """Return where each object of a time series is at each point in time.

    Labels that a job has written have this table beside them: see `read_tracks`.

    Parameters
    ----------
    labels
        Labels with the axes TYX or TZYX in which an object has one number at all times, such as
        `litesam.label_volume` writes them with ``time_axis="tracks"``; numpy, Zarr or anything that
        slices to numpy. It is read by parts of a plane, so the memory is that of the table.
    axes
        "TYX" or "TZYX".
    origin
        Position of the labels' first pixel in the image, which positions are counted from; None:
        they are counted in the labels.
    on_progress, cancelled
        Called after each point in time, and asked before each part of a plane.

    Returns
    -------
    Tracks
        Centroids in pixels, and areas.

    Raises
    ------
    ConfigError
        If the axes are others.
    Cancelled
        If ``cancelled`` said so.
    """
    from litesam.errors import Cancelled, ConfigError
    from litesam.types import Progress

    if axes not in ("TYX", "TZYX") or len(labels.shape) != len(axes):
        raise ConfigError(
            f"Tracks are measured in labels with the axes TYX or TZYX, not {axes} of shape "
            f"{tuple(labels.shape)}."
        )
    height, width = (int(n) for n in labels.shape[-2:])
    times, slices = int(labels.shape[0]), int(labels.shape[1]) if "Z" in axes else 1
    rows = [Box(y, 0, min(y + _ROWS, height), width) for y in range(0, height, _ROWS)]
    found = TrackRows()
    for time in range(times):
        for z in range(slices):
            index = (time, z) if "Z" in axes else (time,)
            for box in rows:
                if cancelled is not None and cancelled():
                    raise Cancelled(f"Tracks were measured up to t = {time} of {times}.")
                part = np.asarray(labels[(*index, *box.slices)])
                here, inverse = np.unique(part, return_inverse=True)
                inverse = inverse.ravel() + (1 if len(here) and here[0] else 0)
                here = here[here > 0]
                sums = _moments(inverse, box, z, len(here) + 1)[1:]
                found.add(time, here.astype(np.int64), sums)
        if on_progress is not None:
            on_progress(Progress(time + 1, times, f"{time + 1} of {times} points in time measured"))
    return found.tracks(axes, origin)


class TrackRows:
    """Collects the table of tracks, point in time by point in time."""

    def __init__(self) -> None:
        self._rows: list[npt.NDArray[np.float64]] = []
        self._parts: list[npt.NDArray[np.float64]] = []
        self._time = 0

    def add(self, time: int, names: IntArray, sums: npt.NDArray[Any]) -> None:
        """Take up objects of a part of a volume; times come in order.

        Parameters
        ----------
        time
            Point in time.
        names
            (N,) tracks.
        sums
            (N, 4) pixels, and sums of z, y and x.
        """
        if time != self._time:
            self._close()
            self._time = time
        self._parts.append(np.column_stack([names, sums]).astype(np.float64))

    def _close(self) -> None:
        """Make one row of each object of a point in time."""
        if not self._parts:
            return
        parts = np.concatenate(self._parts)
        self._parts = []
        ids, inverse = np.unique(parts[:, 0], return_inverse=True)
        sums = np.zeros((len(ids), 4))
        np.add.at(sums, inverse, parts[:, 1:])
        times = np.full(len(ids), self._time)
        self._rows.append(np.column_stack([ids, times, sums[:, 1:] / sums[:, :1], sums[:, 0]]))

    def tracks(self, axes: str, origin: Sequence[int] | None = None) -> Tracks:
        """Return the table, by track and then by time."""
        self._close()
        table = np.concatenate([np.zeros((0, 6)), *self._rows])
        table = table[np.lexsort((table[:, 1], table[:, 0]))]
        areas = table[:, -1].astype(np.int64)
        data = table[:, :-1] if "Z" in axes else np.delete(table[:, :-1], 2, axis=1)
        if origin is not None:
            data[:, 1:] += np.asarray(origin, dtype=float)
        return Tracks(axes, data, areas)


def write_tracks(path: Path, tracks: Tracks, version: str) -> None:
    """Write tracks as a group of arrays; ``version`` is that of the OME-Zarr it lies in."""
    columns = {"data": tracks.data, "areas": tracks.areas}
    write_table(path, columns, {_ABOUT: {"version": 1, "axes": tracks.axes}}, version)


def read_tracks(path: str | os.PathLike[str]) -> Tracks:
    """Return the table of tracks that lies beside labels which `litesam.label_volume` has written.

    Parameters
    ----------
    path
        The labels, an OME-Zarr, linked with ``time_axis="tracks"``.

    Returns
    -------
    Tracks
        In pixels of the image (of the level that was labelled).

    Raises
    ------
    ReadError
        If there is none.
    """
    import zarr

    from litesam.errors import ReadError

    try:
        group: Any = zarr.open_group(Path(path) / TRACKS, mode="r")
        axes = group.attrs[_ABOUT]["axes"]
        data, areas = (np.asarray(group[name][...]) for name in ("data", "areas"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ReadError(
            f"{path} holds no table of tracks that can be read ({error or type(error).__name__}); "
            "it lies in OME-Zarr labels that litesam.label_volume has written with "
            "time_axis='tracks' (litesam label --link --time tracks)."
        ) from error
    return Tracks(axes, data, areas)
