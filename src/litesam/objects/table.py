"""The table of objects: where each is, how large, and what a model said about it."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.errors import ImageError
from litesam.io import atomic_path
from litesam.types import HqMode

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence


_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class ObjectDetails:
    """What is known about an object beside its pixels; None: nothing."""

    predicted_iou: float | None = None
    stability: float | None = None
    model: str | None = None
    hq: HqMode | None = None


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object of a label array.

    Attributes
    ----------
    id
        Its value.
    planes
        Indices of the planes in which it lies, in order; ``((),)`` for labels of two axes.
    area_px
        Number of pixels in all planes.
    area
        The same in square units, by the scale of Y and X; None without scale.
    volume
        In cubic units; None without scale or without the axis Z.
    centroid
        Mean position along each axis, pixels; a whole number is the centre of a pixel.
    box
        (start, stop) along each axis, pixels, half-open.
    details
        What a model said.
    times
        Number of times in which it lies, and which are summed up here; 1 without the axis T.
    """

    id: int
    planes: tuple[tuple[int, ...], ...]
    area_px: int
    area: float | None
    volume: float | None
    centroid: tuple[float, ...]
    box: tuple[tuple[int, int], ...]
    details: ObjectDetails = ObjectDetails()
    times: int = 1


def measure_objects(
    labels: Any,
    axes: str | None = None,
    scale: Sequence[float] | None = None,
    *,
    details: Mapping[int, ObjectDetails] | None = None,
    each_time: bool = False,
    known_planes: PlaneSums | None = None,
) -> list[ObjectRow]:
    """Measure all objects of a label array.

    Parameters
    ----------
    labels
        (plane axes, Y, X) integers, 0 is background; read in blocks.
    axes
        One letter for each axis, ending with Y, X; None: YX, ZYX or TZYX.
    scale
        Spacing of the pixels along each axis.
    details
        By id.
    each_time
        Measure an object anew at each time of the axis T, if there is one.
    known_planes
        Planes of the labels before a change, which need not be measured again; updated.

    Returns
    -------
    list of ObjectRow
        In the order of the ids, and then of the times.

    Raises
    ------
    ImageError
        If axes or scale do not fit, or the labels are no integers from 0 on.
    """
    letters = checked_axes(labels, axes)
    if scale is not None and len(scale) != len(letters):
        raise ImageError(
            f"The scale {tuple(scale)} does not fit the axes {letters}; one number each is needed."
        )
    time = letters.find("T")
    found: dict[tuple[int, int], _Sums] = {}
    for index in np.ndindex(*labels.shape[:-2]):
        at = index[time] if each_time and time >= 0 else 0
        for row in range(0, labels.shape[-2], _ROWS_AT_ONCE):
            block = np.asarray(labels[(*index, slice(row, row + _ROWS_AT_ONCE))])
            sums = _sums_of(block) if known_planes is None else known_planes.of(block)
            _add_block(found, sums, index, row, at)
    if known_planes is not None:
        known_planes.finish()
    steps = None if scale is None else dict(zip(letters, scale, strict=True))
    known = details or {}
    return [
        found[number, at].row(number, steps, known.get(number, ObjectDetails()), time)
        for number, at in sorted(found)
    ]


def write_table(
    path: str | os.PathLike[str],
    rows: Sequence[ObjectRow],
    axes: str = "YX",
    *,
    unit: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write objects as a CSV file with a header.

    Columns: ``id``; ``t`` (only for time series: the index of the time, with a row for each);
    ``planes`` (their indices, such as ``12 13``, or ``0:12 0:13`` for two leading axes; only for
    stacks); ``area_px``, ``area``, ``volume``, ``unit`` (empty without scale); for
    each axis, such as ``y``: ``centroid_y``, ``min_y``, ``max_y`` (pixels; the maximum is the last
    pixel's); ``predicted_iou``, ``stability``, ``model``, ``hq``.

    Parameters
    ----------
    path
        The file.
    rows
        Of `measure_objects`.
    axes
        Axes of the labels. With T, rows are those of each time.
    unit
        Unit of the scale.
    overwrite
        Replace an existing file.

    Raises
    ------
    WriteError
        If the file exists or the system refuses.
    """
    target = Path(path)
    time = axes.upper().find("T")
    names = [letter.lower() for letter in axes if letter not in "Tt"]
    stack = len(names) > 2
    header = ["id", *(["t"] if time >= 0 else []), *(["planes"] if stack else [])]
    header += ["area_px", "area", "volume", "unit"]
    header += [f"{what}_{name}" for what in ("centroid", "min", "max") for name in names]
    header += ["predicted_iou", "stability", "model", "hq"]
    with (
        atomic_path(target, overwrite=overwrite) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(_cells(row, stack, time, unit) for row in rows)
    return target


def checked_axes(labels: Any, axes: str | None) -> str:
    """Letters of the axes of a label array.

    Raises
    ------
    ImageError
        If they do not fit, or the labels are no integers.
    """
    count = len(labels.shape)
    letters = "TZYX"[-count:] if axes is None and 2 <= count <= 4 else (axes or "").upper()
    if len(letters) != count or len(set(letters)) != count or not letters.endswith("YX"):
        raise ImageError(
            f"The axes {axes!r} do not fit labels of shape {tuple(labels.shape)}; one letter each, "
            "ending with YX, is needed."
        )
    if np.dtype(labels.dtype).kind not in "iu":
        raise ImageError(f"Labels are whole numbers, not {labels.dtype}; convert them.")
    return letters


class _Sums:
    """What is summed up about one object while its pixels are read."""

    def __init__(self) -> None:
        self.planes: dict[tuple[int, ...], int] = {}
        self.sums = np.zeros(2)
        self.low = np.array([np.iinfo(np.int64).max] * 2)
        self.high = np.array([-1, -1])

    def row(
        self, number: int, steps: Mapping[str, float] | None, details: ObjectDetails, time: int
    ) -> ObjectRow:
        """Sum up; ``time``: the axis T, or -1."""
        pixels = sum(self.planes.values())
        indices = np.array(list(self.planes), dtype=np.float64).reshape(len(self.planes), -1)
        weights = np.array(list(self.planes.values()), dtype=np.float64)
        leading = (weights @ indices / pixels).tolist()
        plane_box = [(int(column.min()), int(column.max()) + 1) for column in indices.T]
        area = None if steps is None else pixels * steps["Y"] * steps["X"]
        volume = None if area is None or steps is None or "Z" not in steps else area * steps["Z"]
        return ObjectRow(
            number,
            tuple(self.planes),
            pixels,
            area,
            volume,
            (*leading, *(float(total) / pixels for total in self.sums)),
            (*plane_box, *((int(a), int(b) + 1) for a, b in zip(self.low, self.high, strict=True))),
            details,
            len({plane[time] for plane in self.planes}) if time >= 0 else 1,
        )


class PlaneSums:
    """What was summed up about planes, found again by their pixels: after a change only the planes
    that changed are measured anew.

    A plane is recognised by its hash (SHA-256), in a seventh of the time of measuring it.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], _BlockSums] = {}
        self._used: dict[tuple[Any, ...], _BlockSums] = {}

    def of(self, block: npt.NDArray[Any]) -> _BlockSums:
        """Return the sums of a block, measured now if it was in no labels before."""
        pixels = np.ascontiguousarray(block)
        key = (pixels.shape, pixels.dtype.str, sha256(pixels.data).digest())
        sums = self._known.get(key) or _sums_of(pixels)
        self._used[key] = sums
        return sums

    def finish(self) -> None:
        """Forget what the labels that were just measured do not have."""
        self._known, self._used = self._used, {}


@dataclass(frozen=True, slots=True)
class _BlockSums:
    """By object of a block: id, pixels; sums, least and largest of the positions along Y and X."""

    numbers: list[int]
    counts: list[int]
    sums: npt.NDArray[np.floating[Any]]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]


def _sums_of(block: npt.NDArray[Any]) -> _BlockSums:
    """Sum up the pixels of a block."""
    if block.size and int(block.min()) < 0:
        raise ImageError(f"Labels are 0 (background) or more; the least is {int(block.min())}.")
    places = np.nonzero(block)
    numbers, members = np.unique(block[places], return_inverse=True)
    shape = (numbers.size, 2)
    sums = np.zeros(shape)
    low, high = np.full(shape, np.iinfo(np.int64).max), np.full(shape, -1)
    for axis, positions in enumerate(places):
        sums[:, axis] = np.bincount(members, weights=positions, minlength=numbers.size)
        np.minimum.at(low[:, axis], members, positions)
        np.maximum.at(high[:, axis], members, positions)
    counts = np.bincount(members, minlength=numbers.size)
    return _BlockSums(numbers.tolist(), counts.tolist(), sums, low, high)


def _add_block(
    found: dict[tuple[int, int], _Sums],
    block: _BlockSums,
    index: tuple[int, ...],
    row: int,
    time: int,
) -> None:
    """Add the sums of some rows of one plane, from ``row`` on, to what is known of a time."""
    first = np.array([row, 0])
    for i, (number, count) in enumerate(zip(block.numbers, block.counts, strict=True)):
        one = found.setdefault((number, time), _Sums())
        one.planes[index] = one.planes.get(index, 0) + count
        one.sums += block.sums[i] + count * first
        one.low = np.minimum(one.low, block.low[i] + first)
        one.high = np.maximum(one.high, block.high[i] + first)


def _cells(row: ObjectRow, stack: bool, time: int, unit: str | None) -> list[Any]:
    """Return cells of an object; ``time``: the axis T, or -1."""
    planes = " ".join(":".join(map(str, _but(index, time))) for index in row.planes)
    about = row.details
    words: dict[HqMode | None, str] = {None: "", True: "yes", False: "no", "only": "only"}
    return [
        row.id,
        *([row.planes[0][time]] if time >= 0 else []),
        *([planes] if stack else []),
        row.area_px,
        _number(row.area),
        _number(row.volume),
        unit or "" if row.area is not None else "",
        *(_number(value) for value in _but(row.centroid, time)),
        *(start for start, _ in _but(row.box, time)),
        *(stop - 1 for _, stop in _but(row.box, time)),
        _number(about.predicted_iou),
        _number(about.stability),
        about.model or "",
        words[about.hq],
    ]


def _but(values: Sequence[Any], axis: int) -> list[Any]:
    """Return all values but that of an axis; -1: all."""
    return [value for at, value in enumerate(values) if at != axis]


def _number(value: float | None) -> str:
    """Seven digits are enough for people and for float32."""
    return "" if value is None or not math.isfinite(value) else f"{value:.7g}"
