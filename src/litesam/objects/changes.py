"""What an operation changed in a label array: the pixels, before and after.

A change costs what it touches: the bounding box of the pixels that differ. Written with
`apply_change` and taken back with `revert_change`, which restores the array exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from litesam.errors import ImageError
from litesam.types import AnyArray, BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Pixels of a label array, before and after.

    Attributes
    ----------
    region
        (start, stop) along each axis of the array.
    before, after
        Values in the region, dtype of the array. Both are empty (and ``region`` of size 0) where
        nothing changes.
    """

    region: tuple[tuple[int, int], ...]
    before: AnyArray
    after: AnyArray

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index of the region in the array."""
        return tuple(slice(start, stop) for start, stop in self.region)

    @property
    def changed(self) -> BoolArray:
        """(shape of the region) bool: which of its pixels differ."""
        return np.asarray(self.before != self.after)

    @property
    def pixels(self) -> int:
        """Number of pixels that differ."""
        return int(np.count_nonzero(self.changed))

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        return self.before.size == 0

    @property
    def nbytes(self) -> int:
        """Memory of the pixels."""
        return int(self.before.nbytes + self.after.nbytes)

    def where(self) -> tuple[AnyArray, ...]:
        """Return index arrays of the pixels that differ, one per axis of the whole array."""
        inside = np.nonzero(self.changed)
        return tuple(axis + start for axis, (start, _) in zip(inside, self.region, strict=True))


def apply_change(labels: Any, change: Change) -> None:
    """Write a change into the array that it was made for (numpy, zarr …).

    Raises
    ------
    ImageError
        If the region does not lie in the array.
    """
    _write(labels, change, change.after)


def revert_change(labels: Any, change: Change) -> None:
    """Take a change back: the pixels that it changed get their values from before.

    Pixels of the region that it did not change stay as they are now.

    Raises
    ------
    ImageError
        If the region does not lie in the array.
    """
    _write(labels, change, change.before)


def _write(labels: Any, change: Change, values: AnyArray) -> None:
    if change.empty:
        return
    shape = tuple(int(size) for size in labels.shape)
    if len(shape) != len(change.region) or any(
        not 0 <= start <= stop <= size
        for (start, stop), size in zip(change.region, shape, strict=True)
    ):
        raise ImageError(
            f"A change of the pixels {change.region} does not fit labels of shape {shape}; it was "
            "made for another array."
        )
    window = np.array(labels[change.slices])
    window[change.changed] = values[change.changed]
    labels[change.slices] = window


def change_of(before: AnyArray, after: AnyArray, origin: tuple[int, ...]) -> Change:
    """Change from one region to another, cut to the pixels that differ.

    Parameters
    ----------
    before, after
        Values of a region, of the same shape and dtype.
    origin
        Where the region begins in the whole array.
    """
    differs = before != after
    region: list[tuple[int, int]] = []
    for axis in range(before.ndim):
        others = tuple(a for a in range(before.ndim) if a != axis)
        where = np.flatnonzero(differs.any(axis=others))
        if where.size == 0:
            empty = np.zeros((0,) * before.ndim, dtype=before.dtype)
            return Change(tuple((start, start) for start in origin), empty, empty)
        region.append((int(where[0]), int(where[-1]) + 1))
    inside = tuple(slice(start, stop) for start, stop in region)
    shifted = tuple((a + o, b + o) for (a, b), o in zip(region, origin, strict=True))
    return Change(shifted, before[inside].copy(), after[inside].copy())


# ------------------------------------------------------------------------------------ label arrays


def checked_index(labels: Any, index: tuple[int, ...]) -> tuple[int, ...]:
    """Index of one plane of a label array, counted from 0.

    Raises
    ------
    ImageError
        If the array is not made of integers, or the index does not choose one of its planes.
    """
    shape = tuple(int(size) for size in labels.shape)
    if len(shape) < 2 or np.dtype(labels.dtype).kind not in "iu":
        raise ImageError(
            f"Labels are whole numbers with at least two axes; got {labels.dtype} of shape "
            f"{shape}. Convert them, for example to int32."
        )
    leading = shape[:-2]
    given = tuple(index)
    if len(given) != len(leading) or any(
        not -size <= at < size for at, size in zip(given, leading, strict=False)
    ):
        raise ImageError(
            f"index={given} does not choose a plane of labels of shape {shape}; give "
            f"{len(leading)} numbers, one for each axis before (y, x)."
        )
    return tuple(int(at) % size for at, size in zip(given, leading, strict=True))


def read_plane(labels: Any, index: tuple[int, ...]) -> AnyArray:
    """Read one plane of a label array; ``index`` from `checked_index`."""
    return np.asarray(labels[index] if index else labels[...])


def plane_change(
    before: AnyArray, after: AnyArray, index: tuple[int, ...], corner: tuple[int, int] = (0, 0)
) -> Change:
    """Change of a window of one plane whose top-left pixel is ``corner``."""
    leading = (1,) * len(index)
    return change_of(
        before.reshape(*leading, *before.shape),
        after.reshape(*leading, *after.shape),
        (*index, *corner),
    )


def check_id(labels: Any, value: int) -> None:
    """Refuse an id that is no label or that the dtype of the labels cannot hold.

    Raises
    ------
    ImageError
        If it is below 1 or too large.
    """
    largest = int(np.iinfo(labels.dtype).max)
    if not 1 <= value <= largest:
        advice = (
            "ids begin with 1"
            if value < 1
            else f"{labels.dtype} goes up to {largest}: convert the labels, for example to int32"
        )
        raise ImageError(f"The labels have no room for the id {value}; {advice}.")
