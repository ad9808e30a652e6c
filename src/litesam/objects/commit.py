"""Masks → label array: one object, or all of a plane, under a policy about pixels of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from litesam.errors import ConfigError, ImageError
from litesam.objects.changes import (
    Change,
    check_id,
    checked_index,
    plane_change,
    read_plane,
)
from litesam.types import Box, MaskRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from litesam.types import AnyArray, BoolArray

#: What becomes of pixels that belong to other objects: name → sentence for people.
COMMIT_POLICIES: dict[str, str] = {
    "never_overwrite": "Pixels of other objects stay theirs; the new one gets the free ones.",
    "overwrite": "The new object gets all of its pixels; others lose them.",
    "free_area": "As never_overwrite, and parts that other objects cut off are left out: only the "
    "largest connected free part is written.",
}

_EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Commit:
    """What a commit would write.

    Attributes
    ----------
    change
        The pixels; write them with `litesam.objects.apply_change`.
    ids
        Ids that get pixels, in the order of the given objects; 0 for an object that gets none.
    pixels
        Pixels of these objects.
    refused_px
        Pixels that the objects wanted and did not get, because they belong to others or are cut off
        by them.
    overwritten
        Ids of other objects that lose pixels.
    """

    change: Change
    ids: tuple[int, ...]
    pixels: int
    refused_px: int
    overwritten: tuple[int, ...] = ()

    @property
    def objects(self) -> int:
        """Number of objects that get pixels."""
        return sum(number > 0 for number in self.ids)


def next_id(labels: Any) -> int:
    """Return the smallest id above all that the array has; read in blocks.

    Raises
    ------
    ImageError
        If the array is not made of integers.
    """
    if np.dtype(labels.dtype).kind not in "iu":
        raise ImageError(
            f"Labels are whole numbers, not {labels.dtype}; convert them, for example to int32."
        )
    if 0 in labels.shape:
        return 1
    if isinstance(labels, np.ndarray):
        return max(int(labels.max()), 0) + 1
    largest = 0
    for index in np.ndindex(*labels.shape[:-2]):
        for row in range(0, labels.shape[-2], _ROWS_AT_ONCE):
            block = np.asarray(labels[(*index, slice(row, row + _ROWS_AT_ONCE))])
            largest = max(largest, int(block.max()))
    return largest + 1


def has_id(labels: Any, number: int) -> bool:
    """Return whether an array has a pixel of an object; read in blocks, up to the first one."""
    for index in np.ndindex(*labels.shape[:-2]):
        for row in range(0, labels.shape[-2], _ROWS_AT_ONCE):
            block = np.asarray(labels[(*index, slice(row, row + _ROWS_AT_ONCE))])
            if (block == number).any():
                return True
    return False


def commit_mask(
    labels: Any,
    mask: BoolArray | MaskRecord,
    index: tuple[int, ...] = (),
    *,
    number: int | None = None,
    policy: str = "never_overwrite",
    reopened: bool = False,
) -> Commit:
    """Find what committing one object changes; nothing is written.

    Parameters
    ----------
    labels
        Integers with the axes (plane axes, Y, X); anything that slices to numpy.
    mask
        (H, W) bool of the plane, or a record, of which only the bounding box is looked at.
    index
        Plane; ``()`` for labels of two axes.
    number
        Id of the object; None: `next_id`. An id that is there already grows.
    policy
        One of `COMMIT_POLICIES`.
    reopened
        The object was committed before and was refined: its earlier pixels in this plane are free
        and are cleared where it does not cover them any more. Needs ``number``.

    Returns
    -------
    Commit
        ``ids`` has one entry: the id, or 0 where no pixel is left for the object; then nothing
        changes, also not the earlier pixels of a reopened one.

    Raises
    ------
    ImageError
        If index or mask do not fit the labels, or their dtype cannot hold the id.
    ConfigError
        If there is no such policy, or an object is reopened without its id.
    """
    _check_policy(policy)
    if reopened and number is None:
        raise ConfigError("A reopened object has an id already; give it as number=.")
    place = checked_index(labels, index)
    number = next_id(labels) if number is None else number
    check_id(labels, number)
    shape = (int(labels.shape[-2]), int(labels.shape[-1]))
    plane = read_plane(labels, place) if reopened else None
    box, crop = _cropped(mask, shape)
    window = box
    if plane is not None:
        window = _joined(box, _box_of(plane == number))
    before = np.array(labels[(*place, *window.slices)])
    wanted = np.zeros(before.shape, dtype=np.bool_)
    wanted[_inside(box, window)] = crop
    after, got, refused = _written(before, wanted, number, policy, reopened=reopened)
    if not got:
        empty = plane_change(before[:0, :0], before[:0, :0], place)
        return Commit(empty, (0,), 0, int(np.count_nonzero(wanted)))
    lost = before[(after == number) & (before != number) & (before != 0)]
    overwritten = tuple(int(value) for value in np.unique(lost))
    change = plane_change(before, after, place, (window.y0, window.x0))
    return Commit(change, (number,), got, refused, overwritten)


def commit_labels(
    labels: Any,
    objects: npt.NDArray[Any] | Sequence[MaskRecord],
    index: tuple[int, ...] = (),
    *,
    numbers: Sequence[int] | None = None,
    policy: str = "never_overwrite",
    min_free_share: float = 0.0,
) -> Commit:
    """Find what committing many objects of one plane changes; nothing is written.

    Parameters
    ----------
    labels, index, policy
        As in `commit_mask`. Objects are committed one after the other: under ``"overwrite"`` the
        later gets contested pixels, else the earlier.
    objects
        (H, W) labels, 0 is background, or records, which may overlap.
    numbers
        Id of each object (of labels: in the order of their values); None: from `next_id` on.
    min_free_share
        Objects of which a smaller share of pixels is free of objects *that were there before* are
        left out: they are these objects, found again. Not looked at under ``"overwrite"``.

    Returns
    -------
    Commit
        One change for all; ``ids`` in the order of ``objects``.

    Raises
    ------
    ImageError
        If index or objects do not fit the labels, or their dtype cannot hold the ids.
    ConfigError
        If there is no such policy, or there are not as many numbers as objects.
    """
    _check_policy(policy)
    place = checked_index(labels, index)
    before = read_plane(labels, place)
    records = _records(objects, (before.shape[0], before.shape[1]))
    if numbers is not None and len(numbers) != len(records):
        raise ConfigError(f"{len(numbers)} ids for {len(records)} objects; give one for each.")
    after = before.copy()
    first = next_id(labels) if numbers is None else 0
    ids: list[int] = []
    pixels = refused = 0
    overwritten: set[int] = set()
    for place_in_list, record in enumerate(records):
        old = before[record.box.slices]
        share = np.count_nonzero(record.crop & (old == 0)) / max(record.area, 1)
        if record.area == 0 or (policy != "overwrite" and share < min_free_share):
            ids.append(0)
            continue
        number = first if numbers is None else int(numbers[place_in_list])
        check_id(labels, number)
        window = after[record.box.slices]
        written, got, left = _written(window, record.crop, number, policy)
        ids.append(number if got else 0)
        refused += left
        if got:
            lost = window[(written == number) & (window != number) & (window != 0)]
            overwritten |= {int(value) for value in np.unique(lost)}
            after[record.box.slices] = written
            pixels += got
            first += numbers is None
    others = tuple(sorted(overwritten - set(ids)))
    return Commit(plane_change(before, after, place), tuple(ids), pixels, refused, others)


def _written(
    before: AnyArray, wanted: BoolArray, number: int, policy: str, *, reopened: bool = False
) -> tuple[AnyArray, int, int]:
    """Window after the commit, pixels that the object got, and pixels that it did not get."""
    own = before == number
    gets = wanted
    if policy != "overwrite":
        gets = wanted & ((before == 0) | own)
        if policy == "free_area":
            gets = _largest_part(gets)
    after = before.copy()
    if reopened:
        after[own] = 0
    after[gets] = number
    got = int(np.count_nonzero(gets))
    return after, got, int(np.count_nonzero(wanted)) - got


def _largest_part(mask: BoolArray) -> BoolArray:
    """Largest 8-connected part; of equal ones the first in raster order."""
    parts, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    if count <= 1:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


def _check_policy(policy: str) -> None:
    if policy not in COMMIT_POLICIES:
        names = ", ".join(map(repr, COMMIT_POLICIES))
        raise ConfigError(f"There is no commit policy {policy!r}; choose one of {names}.")


def _cropped(mask: BoolArray | MaskRecord, shape_yx: tuple[int, int]) -> tuple[Box, BoolArray]:
    """Bounding box of a mask in the plane, and its pixels there."""
    if isinstance(mask, MaskRecord):
        _check_box(mask.box, mask.crop.shape, shape_yx)
        return mask.box, mask.crop
    array = np.asarray(mask)
    if array.shape != shape_yx or array.dtype != np.bool_:
        raise ImageError(
            f"The mask is {array.dtype} of shape {array.shape}, the plane has {shape_yx} pixels; "
            "a bool mask of the same size is needed."
        )
    box = _box_of(array)
    return box, array[box.slices]


def _check_box(box: Box, crop_shape: tuple[int, ...], shape_yx: tuple[int, int]) -> None:
    inside = 0 <= box.y0 <= box.y1 <= shape_yx[0] and 0 <= box.x0 <= box.x1 <= shape_yx[1]
    if not inside or box.size_yx != tuple(crop_shape):
        raise ImageError(
            f"The object at {box} with {crop_shape} pixels does not fit a plane of {shape_yx}; it "
            "belongs to another image."
        )


def _box_of(mask: BoolArray) -> Box:
    """Bounding box; empty at (0, 0) for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return Box(0, 0, 0, 0)
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _joined(first: Box, second: Box) -> Box:
    """Smallest box around two; an empty one does not count."""
    if 0 in first.size_yx:
        return second
    if 0 in second.size_yx:
        return first
    return Box(
        min(first.y0, second.y0),
        min(first.x0, second.x0),
        max(first.y1, second.y1),
        max(first.x1, second.x1),
    )


def _inside(box: Box, window: Box) -> tuple[slice, slice]:
    """Index of a box in a window that holds it."""
    if 0 in box.size_yx:
        return slice(0, 0), slice(0, 0)
    y, x = box.y0 - window.y0, box.x0 - window.x0
    return slice(y, y + box.size_yx[0]), slice(x, x + box.size_yx[1])


def _records(
    objects: npt.NDArray[Any] | Sequence[MaskRecord], shape_yx: tuple[int, int]
) -> list[MaskRecord]:
    """Objects as records that fit the plane."""
    from litesam.merge import records_from_labels

    if isinstance(objects, np.ndarray):
        if objects.shape != shape_yx:
            raise ImageError(
                f"The result has {objects.shape} pixels and the labels have {shape_yx} there; "
                "choose labels of the image's size."
            )
        return records_from_labels(objects)
    records = list(objects)
    for record in records:
        if record.crop.size:
            _check_box(record.box, record.crop.shape, shape_yx)
    return records
