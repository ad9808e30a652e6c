"""Label arrays of a job on disk: those of planes and blocks on the way, and the result.

A shard (or, where a plane is small, a chunk) is what one block writes, so no two workers write to
one file; the chunks inside are what a viewer reads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.io.ome_metadata import array_options, image_attributes, metadata_files, zarr_format
from litesam.volume.folder import sync_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from litesam.types import AnyArray, Box, LabelArray
    from litesam.volume.plan import Plan

_CHUNK_PX = 1024
_SMALLEST_LEVEL_PX = 256
#: Rows of a table in one chunk.
_TABLE_ROWS = 65_536


def make_planes(path: Path, plan: Plan) -> None:
    """Make the array of the labels of every plane by itself, (planes, H, W)."""
    shape = (plan.planes, *plan.plane_shape)
    _create(path, shape, _step(plan, 0), np.dtype(np.uint32))


def make_blocks_array(path: Path, plan: Plan) -> None:
    """Make the array of the labels of every block with its halo, (blocks, h, w)."""
    sizes = [tile.padded.size_yx for tile in plan.blocks]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    shape = (plan.planes * len(plan.blocks), height, width)
    step = _CHUNK_PX * math.ceil(max(height, width) / _CHUNK_PX)
    _create(path, shape, (step, step), np.dtype(np.uint32))


def make_result(path: Path, plan: Plan, name: str, largest: int) -> None:
    """Make the OME-Zarr of the result with the levels of its pyramid, without labels."""
    import zarr

    dtype = np.dtype(np.uint32 if largest <= np.iinfo(np.uint32).max else np.uint64)
    version, datasets = plan.ome_zarr, []
    group = zarr.open_group(path, mode="a", zarr_format=zarr_format(version))
    for level in range(level_count(plan)):
        shape = (*plan.shape[:-2], *level_shape(plan, level))
        _create(path / str(level), shape, _step(plan, level), dtype, version, plan.axes)
        datasets.append({"path": str(level), "coordinateTransformations": _place(plan, level)})
    group.attrs.update(
        image_attributes(version, name, plan.axes, plan.unit, datasets, image_label={})
    )
    for file in metadata_files(path, version):
        sync_file(file, path.parent)


def write_table(
    path: Path, columns: Mapping[str, AnyArray], about: Mapping[str, Any], version: str
) -> None:
    """Write columns of a table as a group of arrays; one that is there is replaced.

    Parameters
    ----------
    path
        The group, in a group that is there.
    columns
        Arrays by name; rows are their first axis.
    about
        Attributes of the group.
    version
        Of the OME-Zarr that the table lies in.
    """
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=zarr_format(version))
    for name, column in columns.items():
        rows = min(max(len(column), 1), _TABLE_ROWS)
        array = group.create_array(
            name,
            shape=column.shape,
            chunks=(rows, *(max(length, 1) for length in column.shape[1:])),
            dtype=column.dtype,
        )
        if column.size:
            array[...] = column
    group.attrs.update(about)  # last: now the others are complete
    for file in path.rglob("*"):
        if file.is_file():
            sync_file(file, path.parent)


def _place(plan: Plan, level: int) -> list[dict[str, Any]]:
    """Scale of a level, and where the labels begin: where the image does, or a part of it."""
    scale = plan.scale or (1.0,) * len(plan.axes)
    factor = [2**level if axis in "YX" else 1 for axis in plan.axes]
    found: list[dict[str, Any]] = [
        {"type": "scale", "scale": [s * f for s, f in zip(scale, factor, strict=True)]}
    ]
    if any(plan.origin) or plan.translation is not None:
        moved = plan.translation or (0.0,) * len(plan.axes)
        offset = [m + s * p for m, s, p in zip(moved, scale, plan.origin, strict=True)]
        found.append({"type": "translation", "translation": offset})
    return found


# ------------------------------------------------------------------------------------------ pyramid


def level_count(plan: Plan) -> int:
    """Return how many levels the result has: halved until a plane is one chunk."""
    height, width = plan.plane_shape
    count = 1
    while max(height, width) > _CHUNK_PX and min(height, width) > _SMALLEST_LEVEL_PX:
        if len(plan.blocks) > 1 and (plan.block_px >> count) % 2:
            break  # a block's part of the next level would not be a whole number of pixels
        height, width, count = (height + 1) // 2, (width + 1) // 2, count + 1
    return count


def level_shape(plan: Plan, level: int) -> tuple[int, int]:
    """Return height and width of a level."""
    height, width = (-(-n // 2**level) for n in plan.plane_shape)
    return (height, width)


def _step(plan: Plan, level: int) -> tuple[int, int]:
    """What one block writes at a level, rows and columns."""
    if len(plan.blocks) > 1:
        return (plan.block_px >> level, plan.block_px >> level)
    height, width = level_shape(plan, level)
    if max(height, width) <= _CHUNK_PX:
        return (height, width)
    return tuple(_CHUNK_PX * math.ceil(n / _CHUNK_PX) for n in (height, width))  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------- access


def _create(
    path: Path,
    shape: tuple[int, ...],
    step: tuple[int, int],
    dtype: np.dtype[Any],
    version: str = "0.5",
    axes: str | None = None,
) -> None:
    """Make an array that is written in steps of rows and columns; one that is there stays.

    Zarr 2 has no shards: what a block writes are whole chunks, of no other block.
    """
    import zarr

    files = metadata_files(path, version, array=True)
    if files[0].exists():
        return
    leading = (1,) * (len(shape) - 2)
    chunk = tuple(_inner(size) for size in step)
    options = {} if axes is None else array_options(version, axes)
    if chunk != step and zarr_format(version) == 3:
        options["shards"] = (*leading, *step)
    zarr.create_array(
        path,
        shape=shape,
        chunks=(*leading, *chunk),
        dtype=dtype,
        zarr_format=zarr_format(version),
        **options,
    )
    for file in files:
        sync_file(file, path.parent)


def _inner(step: int) -> int:
    """Largest divisor of a step that is a good chunk."""
    while step > _CHUNK_PX and step % 2 == 0 and step % _CHUNK_PX:
        step //= 2
    return _CHUNK_PX if step > _CHUNK_PX and step % _CHUNK_PX == 0 else step


def write_region(path: Path, index: tuple[int, ...], box: Box, labels: AnyArray) -> None:
    """Write what one block has to write, and flush it to the disk.

    Parameters
    ----------
    path
        A zarr array.
    index
        Position on the leading axes.
    box
        Rows and columns; they begin at a multiple of the array's step.
    labels
        (h, w) integers.

    Raises
    ------
    OSError
        If the system refuses.
    """
    import zarr

    array: Any = zarr.open_array(path, mode="r+")
    array[(*index, *box.slices)] = labels.astype(array.dtype, copy=False)
    steps = (array.shards or array.chunks)[-2:]
    rows = range(box.y0 // steps[0], -(-box.y1 // steps[0]))
    columns = range(box.x0 // steps[1], -(-box.x1 // steps[1]))
    names = path if array.metadata.zarr_format == 2 else path / "c"
    for row in rows:
        for column in columns:
            sync_file(names.joinpath(*map(str, (*index, row, column))), path)


def read_region(path: Path, index: tuple[int, ...], box: Box) -> LabelArray:
    """Return labels of a region.

    Raises
    ------
    OSError, ValueError, RuntimeError
        If the files are damaged.
    """
    import zarr

    array: Any = zarr.open_array(path, mode="r")
    return np.asarray(array[(*index, *box.slices)])


def read_plane(path: Path, index: tuple[int, ...]) -> LabelArray:
    """Return the labels of a whole plane."""
    import zarr

    array: Any = zarr.open_array(path, mode="r")
    return np.asarray(array[index])
