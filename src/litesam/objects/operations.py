"""Operations on committed objects: delete, merge, split, fill holes, remove islands, smooth.

Every function looks at a label array and returns the `Change`; nothing is written. Holes, islands
and outlines never take a pixel of another object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from litesam.errors import ConfigError, ImageError, PromptError
from litesam.objects.changes import (
    Change,
    change_of,
    check_id,
    checked_index,
    plane_change,
    read_plane,
)
from litesam.objects.commit import next_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litesam.types import AnyArray, BoolArray

_EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)
_FOUR_CONNECTED = ndimage.generate_binary_structure(2, 1)

Index = tuple[int, ...] | None


def delete_objects(labels: Any, numbers: Sequence[int], index: Index = None) -> Change:
    """Make all pixels of some objects background.

    Parameters
    ----------
    labels
        Integers with the axes (plane axes, Y, X).
    numbers
        Ids of the objects.
    index
        Only in this plane; None: in all planes.

    Raises
    ------
    ImageError
        If one of the objects is not there, or the index does not fit.
    """
    return _renumbered(labels, numbers, 0, index)


def merge_objects(labels: Any, numbers: Sequence[int], index: Index = None) -> Change:
    """Give several objects the id of the first.

    Parameters
    ----------
    labels, index
        As in `delete_objects`.
    numbers
        At least two ids; the first is the one that stays.

    Raises
    ------
    ImageError
        If one of the objects is not there, or the index does not fit.
    ConfigError
        If there are fewer than two different ids.
    """
    if len(set(numbers)) < 2:
        raise ConfigError(f"Merging needs at least two objects; got the ids {tuple(numbers)}.")
    return _renumbered(labels, numbers, numbers[0], index)


def split_object(
    labels: Any,
    number: int,
    seeds: tuple[tuple[float, float], tuple[float, float]],
    index: tuple[int, ...] = (),
    *,
    new_number: int | None = None,
) -> Change:
    """Cut an object of one plane in two, between two clicks.

    The cut follows the waist: a watershed of the distance to the object's edge, flooded from the
    two clicks. Where the object has no waist between them (or is so thin that it has no depth) the
    cut is the line half way between the clicks.

    Parameters
    ----------
    labels, index
        As in `litesam.objects.commit_mask`.
    number
        Id of the object. The part of the first click keeps it.
    seeds
        (y, x) of the two clicks, pixels of the plane, both on the object.
    new_number
        Id of the part of the second click; None: `next_id`.

    Raises
    ------
    PromptError
        If a click is not on the object, or both are on the same pixel.
    ImageError
        If the index does not fit, or there is no room for the new id.
    """
    place = checked_index(labels, index)
    window, (y0, x0), mask = _object_window(labels, number, place)
    corners = []
    for y, x in seeds:
        at = (round(y) - y0, round(x) - x0)
        if not all(0 <= v < n for v, n in zip(at, mask.shape, strict=True)) or not mask[at]:
            raise PromptError(
                f"The click at (y={y:g}, x={x:g}) is not on the object {number}; click twice on "
                "the object, once on each of its parts."
            )
        corners.append(at)
    if corners[0] == corners[1]:
        raise PromptError(
            f"Both clicks are on the pixel (y={corners[0][0] + y0}, x={corners[0][1] + x0}); "
            "click on two different places of the object."
        )
    new_number = next_id(labels) if new_number is None else new_number
    check_id(labels, new_number)
    second = _second_part(mask, corners[0], corners[1])
    after = window.copy()
    after[second] = new_number
    return plane_change(window, after, place, (y0, x0))


def fill_holes(
    labels: Any, number: int, index: tuple[int, ...] = (), *, max_area_px: int | None = None
) -> Change:
    """Fill background that an object of one plane encloses.

    Parameters
    ----------
    labels, index
        As in `litesam.objects.commit_mask`.
    number
        Id of the object.
    max_area_px
        Only holes of at most so many pixels; None: all.

    Raises
    ------
    ImageError
        If the object is not in the plane, or the index does not fit.
    """
    return _mended(labels, number, index, 0, lambda mask: _without_holes(mask, max_area_px))


def remove_islands(
    labels: Any, number: int, index: tuple[int, ...] = (), *, max_area_px: int | None = None
) -> Change:
    """Remove parts of an object of one plane that are not connected with its largest part.

    Parameters
    ----------
    labels, index
        As in `litesam.objects.commit_mask`.
    number
        Id of the object.
    max_area_px
        Only parts (8-connected) of at most so many pixels; None: all. The largest part always
        stays.

    Raises
    ------
    ImageError
        If the object is not in the plane, or the index does not fit.
    """
    return _mended(labels, number, index, 0, lambda mask: _without_islands(mask, max_area_px))


def smooth_object(
    labels: Any, number: int, index: tuple[int, ...] = (), *, radius_px: int = 2
) -> Change:
    """Smooth the outline of an object of one plane.

    A median over a disc of the radius. No pixel farther than ``radius_px`` from the outline
    changes, and an object too small to survive it stays as it is.

    Parameters
    ----------
    labels, index
        As in `litesam.objects.commit_mask`.
    number
        Id of the object.
    radius_px
        Radius of the disc, 1 to 50.

    Raises
    ------
    ImageError
        If the object is not in the plane, or the index does not fit.
    ConfigError
        If the radius is out of range.
    """
    if not 1 <= radius_px <= 50:
        raise ConfigError(f"The radius is {radius_px} px; it must lie between 1 and 50.")
    return _mended(labels, number, index, radius_px, lambda mask: _smoothed(mask, radius_px))


# --------------------------------------------------------------------------------- of one or all


def _renumbered(labels: Any, numbers: Sequence[int], new: int, index: Index) -> Change:
    """Change that gives all pixels of some objects another id."""
    wanted = sorted(set(numbers))
    if index is not None:
        places = [checked_index(labels, index)]
    else:
        leading = tuple(int(size) for size in labels.shape[:-2])
        checked_index(labels, (0,) * len(leading))
        places = list(np.ndindex(leading))
    present: set[int] = set()
    found: list[tuple[tuple[int, ...], Change]] = []
    for place in places:
        before = read_plane(labels, place)
        is_one = _is_one_of(before, wanted)
        rows = np.flatnonzero(is_one.any(axis=1))
        if rows.size == 0:
            continue
        columns = np.flatnonzero(is_one.any(axis=0))
        corner = (int(rows[0]), int(columns[0]))
        window = (slice(corner[0], int(rows[-1]) + 1), slice(corner[1], int(columns[-1]) + 1))
        before, is_one = before[window], is_one[window]
        present |= {int(value) for value in np.unique(before[is_one])}
        after = np.where(is_one, np.asarray(new, dtype=before.dtype), before)
        found.append((place, plane_change(before, after, place, corner)))
    missing = sorted(set(wanted) - present)
    if missing:
        where = "" if index is None else f" in the plane {tuple(index)}"
        raise ImageError(
            f"There is no object {', '.join(map(str, missing))}{where}; choose ids that are there."
        )
    return _one_change(labels, [change for _, change in found if not change.empty])


def _is_one_of(plane: AnyArray, numbers: Sequence[int]) -> BoolArray:
    """Which pixels have one of some ids; for a few ids much quicker than numpy's isin."""
    if len(numbers) > 8:
        return np.isin(plane, numbers)
    result = np.zeros(plane.shape, dtype=np.bool_)
    for number in numbers:
        result |= plane == number
    return result


def _one_change(labels: Any, changes: Sequence[Change]) -> Change:
    """One change of the box around several, each of other planes."""
    if len(changes) == 1:
        return changes[0]
    dtype, ndim = np.dtype(labels.dtype), len(labels.shape)
    if not changes:
        empty = np.zeros((0,) * ndim, dtype=dtype)
        return Change(((0, 0),) * ndim, empty, empty)
    low = [min(change.region[axis][0] for change in changes) for axis in range(ndim)]
    high = [max(change.region[axis][1] for change in changes) for axis in range(ndim)]
    slices = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    before = np.array(labels[slices])
    after = before.copy()
    for change in changes:
        inside = tuple(
            slice(start - base, stop - base)
            for (start, stop), base in zip(change.region, low, strict=True)
        )
        after[inside] = change.after
    return change_of(before, after, tuple(low))


# ------------------------------------------------------------------------------------ one object


def _object_window(
    labels: Any, number: int, place: tuple[int, ...], margin: int = 0
) -> tuple[AnyArray, tuple[int, int], BoolArray]:
    """Labels around an object of a plane, the window's top-left pixel, and the object there."""
    plane = read_plane(labels, place)
    own = plane == number
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    if rows.size == 0 or number < 1:
        where = f" in the plane {place}" if place else ""
        raise ImageError(f"There is no object {number}{where}; choose an id that is there.")
    y0, x0 = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    slices = (slice(y0, int(rows[-1]) + 1 + margin), slice(x0, int(columns[-1]) + 1 + margin))
    return np.array(plane[slices]), (y0, x0), own[slices]


def _mended(
    labels: Any,
    number: int,
    index: tuple[int, ...],
    margin: int,
    mend: Callable[[BoolArray], BoolArray],
) -> Change:
    """Change of an object's mask; pixels of other objects are never taken."""
    place = checked_index(labels, index)
    window, corner, mask = _object_window(labels, number, place, margin)
    mended = mend(mask)
    after = window.copy()
    after[mask & ~mended] = 0
    after[mended & (window == 0)] = number
    return plane_change(window, after, place, corner)


def _without_holes(mask: BoolArray, max_area_px: int | None) -> BoolArray:
    # Background is 4-connected where objects are 8-connected: a diagonal line closes a hole.
    padded = np.pad(~mask, 1, constant_values=True)
    regions, count = ndimage.label(padded, structure=_FOUR_CONNECTED)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    fills = np.ones(count + 1, dtype=np.bool_) if max_area_px is None else sizes <= max_area_px
    fills[[0, regions[0, 0]]] = False
    return np.asarray(mask | fills[regions][1:-1, 1:-1])


def _without_islands(mask: BoolArray, max_area_px: int | None) -> BoolArray:
    parts, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    goes = np.ones(count + 1, dtype=np.bool_) if max_area_px is None else sizes <= max_area_px
    goes[[0, 1 + int(sizes[1:].argmax())]] = False
    return np.asarray(mask & ~goes[parts])


def _smoothed(mask: BoolArray, radius: int) -> BoolArray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = (y * y + x * x <= radius * radius).astype(np.float32)
    # Beyond the edge of the image the object goes on as it ends there.
    share = ndimage.convolve(mask.astype(np.float32), disc, mode="nearest") / disc.sum()
    result = np.asarray(share > 0.5)
    return result if result.any() else mask


def _second_part(mask: BoolArray, first: tuple[int, int], second: tuple[int, int]) -> BoolArray:
    """Pixels of a mask that go with the second of two seeds."""
    from skimage.segmentation import watershed

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    peaks = [_climbed(depth, seed) for seed in (first, second)]
    y, x = np.nonzero(mask)
    nearer = np.hypot(y - second[0], x - second[1]) < np.hypot(y - first[0], x - first[1])
    parts = np.zeros(mask.shape, dtype=np.int32)
    if peaks[0] == peaks[1]:  # one hill: no waist between the clicks
        parts[y, x] = 1 + nearer
    else:
        markers = np.zeros(mask.shape, dtype=np.int32)
        for number, (seed, peak) in enumerate(zip((first, second), peaks, strict=True), start=1):
            markers[peak] = markers[seed] = number
        markers[first], markers[second] = 1, 2
        parts = watershed(-depth, markers, mask=mask)
    # Parts of the object that neither flood reaches go with the nearer click.
    rest = mask & (parts == 0)
    parts[y, x] = np.where(rest[y, x], 1 + nearer, parts[y, x])
    return np.asarray(parts == 2)


def _climbed(depth: AnyArray, start: tuple[int, int]) -> tuple[int, int]:
    """Top of the hill that a seed stands on: always on to the deepest neighbour."""
    at = start
    while True:
        y, x = at
        rows = slice(max(y - 1, 0), y + 2)
        columns = slice(max(x - 1, 0), x + 2)
        around = depth[rows, columns]
        dy, dx = np.unravel_index(int(around.argmax()), around.shape)
        best = (rows.start + int(dy), columns.start + int(dx))
        if depth[best] <= depth[at]:
            return at
        at = best
