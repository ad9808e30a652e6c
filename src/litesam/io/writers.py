"""Write label images: TIFF (ImageJ or OME metadata), PNG, OME-Zarr 0.5 or 0.4. Always atomic.

Pixels are stored in the smallest unsigned type that holds the largest label; 0 is background.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.errors import WriteError
from litesam.io.atomic import atomic_path, check_output
from litesam.io.ome_metadata import (
    array_options,
    check_version,
    image_attributes,
    labels_attributes,
    zarr_format,
)
from litesam.io.readers import stem

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

_ORDER = "TCZYX"
_TIFF_SUFFIXES = (".tif", ".tiff")
_CHUNK_PX = 1024
_SMALLEST_LEVEL_PX = 256
_CLASSIC_TIFF_BYTES = 3_900_000_000


def label_axes(axes: str) -> str:
    """Return the axes of the labels of an image: the same without channels or colours."""
    return axes.replace("C", "")


def write_labels(
    path: str | os.PathLike[str],
    labels: npt.ArrayLike,
    axes: str | None = None,
    scale: Sequence[float] | None = None,
    *,
    unit: str | None = None,
    overwrite: bool = False,
    image: Any = None,
    image_axes: str | None = None,
    ome_zarr: str = "0.5",
) -> Path:
    """Write a label image; the ending of the name chooses the format.

    Parameters
    ----------
    path
        ``….tif``/``….tiff`` (zlib-compressed; ``….ome.tif`` with OME-XML, otherwise ImageJ metadata
        where ImageJ can hold the labels), ``….png`` (2-D, uint16), ``….zarr``/``….ome.zarr``
        (OME-Zarr, with a pyramid).
    labels
        Whole numbers >= 0, any number of axes that ends with Y, X; numpy or anything that slices to
        numpy.
    axes
        One letter of T, Z, Y, X for each axis; None: YX, ZYX or TZYX.
    scale
        Spacing of the pixels along each axis, in ``unit``.
    unit
        Unit of the scale, such as "micrometer".
    overwrite
        Replace an existing output.
    image, image_axes
        OME-Zarr only: the image (array-like) that the labels belong to. With it the output is an
        image with the labels in ``labels/NAME``, as the standard wants it; without it the output is
        the label image itself.
    ome_zarr
        Version of OME-Zarr: "0.5" (Zarr 3), or "0.4" (Zarr 2) for programs that do not read 0.5.

    Returns
    -------
    Path
        The output.

    Raises
    ------
    WriteError
        If the output exists, the format cannot hold the labels, or the system refuses (disk full,
        no permission).
    """
    target = Path(path)
    array: Any = labels if hasattr(labels, "shape") else np.asarray(labels)
    axes = _checked_axes(array.shape, axes, "labels")
    if scale is not None and len(scale) != len(axes):
        raise WriteError(
            f"The scale {tuple(scale)} does not fit the axes {axes}; one number for each is needed."
        )
    spacing = None if scale is None else tuple(float(s) for s in scale)
    order = _standard_places(axes)
    if order != list(range(len(axes))):  # formats want T before Z
        array = (array if hasattr(array, "transpose") else np.asarray(array)).transpose(order)
        axes = "".join(axes[place] for place in order)
        spacing = None if spacing is None else tuple(spacing[place] for place in order)
    name = target.name.lower()
    if name.endswith(".zarr"):
        check_version(ome_zarr)
        check_output(target, overwrite=overwrite)
        with atomic_path(target, overwrite=overwrite) as part:
            _write_zarr(
                part, stem(target), array, axes, spacing, unit, image, image_axes, version=ome_zarr
            )
        return target
    compact = _compact(np.asarray(array))
    if name.endswith(_TIFF_SUFFIXES):
        with atomic_path(target, overwrite=overwrite) as part:
            _write_tiff(part, compact, axes, spacing, unit, ome=".ome." in name)
    elif name.endswith(".png"):
        if compact.ndim != 2:
            raise WriteError(
                f"PNG holds one plane, the labels have axes {axes}; write .tif or .ome.zarr."
            )
        if compact.dtype.itemsize > 2:
            raise WriteError(
                f"PNG holds labels up to 65535, the largest is {int(compact.max())}; write .tif or "
                f".ome.zarr."
            )
        with atomic_path(target, overwrite=overwrite) as part:
            _write_png16(part, compact.astype(np.uint16))
    else:
        raise WriteError(f"{target} has an unknown ending; use .tif, .png, .zarr or .ome.zarr.")
    return target


def _checked_axes(shape: tuple[int, ...], axes: str | None, what: str) -> str:
    """Axes that fit the shape."""
    if axes is None:
        if not 2 <= len(shape) <= 4:
            raise WriteError(
                f"The {what} have {len(shape)} axes; name them, for example axes='TZYX'."
            )
        axes = "TZYX"[-len(shape) :]
    axes = axes.upper()
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not set(axes) <= set(_ORDER):
        raise WriteError(
            f"The axes {axes!r} do not fit {what} of shape {shape}; give one of {_ORDER} each."
        )
    if what == "labels" and ("C" in axes or not axes.endswith("YX")):
        raise WriteError(f"Labels have axes like YX, ZYX or TZYX, not {axes}.")
    return axes


def _compact(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels in the smallest unsigned type."""
    dtype = _smallest_type(_checked_maximum(labels))
    return np.ascontiguousarray(labels, dtype=dtype)


def _checked_maximum(labels: npt.NDArray[Any]) -> int:
    """Largest label; refuses what is no label."""
    if labels.dtype.kind not in "biu":
        raise WriteError(f"Labels are whole numbers, not {labels.dtype}.")
    if labels.size == 0:
        raise WriteError(f"The label image is empty (shape {labels.shape}).")
    if int(labels.min()) < 0:
        raise WriteError(f"Labels are >= 0; the smallest is {int(labels.min())}.")
    if int(labels.max()) > np.iinfo(np.uint32).max:
        raise WriteError(f"Labels go up to 4294967295; the largest is {int(labels.max())}.")
    return int(labels.max())


def _smallest_type(maximum: int) -> np.dtype[Any]:
    for kind in (np.uint8, np.uint16):
        if maximum <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.uint32)


def write_label_planes(
    path: Path,
    planes: Iterator[npt.NDArray[Any]],
    shape: tuple[int, ...],
    largest: int,
    axes: str,
    scale: tuple[float, ...] | None = None,
    unit: str | None = None,
) -> None:
    """Write a TIFF of labels that come plane by plane; not atomic.

    Parameters
    ----------
    path
        ``….tif``, or ``….ome.tif`` with OME-XML.
    planes
        (H, W) whole numbers from 0 to ``largest``, in the order of the leading axes.
    shape, axes
        Of the labels, T before Z, Y and X last.
    largest
        Largest label.
    scale, unit
        As in `write_labels`.

    Raises
    ------
    WriteError
        If there are more labels than fit.
    OSError
        If the system refuses.
    """
    import tifffile

    if largest > np.iinfo(np.uint32).max:
        raise WriteError(f"TIFF holds labels up to 4294967295, the largest is {largest}.")
    dtype = _smallest_type(largest)
    options = _tiff_options(shape, dtype, axes, scale, unit, ome=".ome." in path.name.lower())
    data = (plane.astype(dtype, copy=False) for plane in planes)
    tifffile.imwrite(path, data, shape=shape, dtype=dtype, **options)


def _write_tiff(
    path: Path,
    labels: npt.NDArray[Any],
    axes: str,
    scale: tuple[float, ...] | None,
    unit: str | None,
    *,
    ome: bool,
) -> None:
    """One TIFF."""
    import tifffile

    options = _tiff_options(labels.shape, labels.dtype, axes, scale, unit, ome=ome)
    tifffile.imwrite(path, labels, **options)


def _tiff_options(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: str,
    scale: tuple[float, ...] | None,
    unit: str | None,
    *,
    ome: bool,
) -> dict[str, Any]:
    """How labels are written; ImageJ cannot hold uint32, so those get tifffile's own JSON."""
    options: dict[str, Any] = {
        "compression": "zlib",
        "photometric": "minisblack",
        "metadata": {"axes": axes},
    }
    large = math.prod(shape) * dtype.itemsize > _CLASSIC_TIFF_BYTES
    steps = dict(zip(axes, scale, strict=True)) if scale is not None else {}
    symbol = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm"}.get(unit or "", unit)
    if ome:
        options |= {"ome": True, "bigtiff": large}
        for axis in "XYZ":
            if axis in steps:
                options["metadata"][f"PhysicalSize{axis}"] = steps[axis]
                if symbol:
                    options["metadata"][f"PhysicalSize{axis}Unit"] = symbol
    elif dtype.itemsize <= 2 and not large:
        options["imagej"] = True
        if steps and symbol:
            options["resolution"] = (1 / steps["X"], 1 / steps["Y"])
            options["metadata"]["unit"] = symbol.replace("µm", "um")
            if "Z" in steps:
                options["metadata"]["spacing"] = steps["Z"]
    else:
        options |= {"ome": False, "bigtiff": large}
        if scale is not None:
            options["metadata"] |= {"scale": list(scale), "unit": unit}
    return options


def _write_png16(path: Path, labels: npt.NDArray[np.uint16]) -> None:
    from PIL import Image

    Image.fromarray(labels).save(path, format="PNG", optimize=False)


# ----------------------------------------------------------------------------------------- OME-Zarr


def _write_zarr(
    path: Path,
    name: str,
    labels: Any,
    axes: str,
    scale: tuple[float, ...] | None,
    unit: str | None,
    image: Any,
    image_axes: str | None,
    *,
    version: str,
) -> None:
    """An image with ``labels/name``, or the label image alone."""
    import zarr

    maximum = max(
        _checked_maximum(np.asarray(labels[index])) for index in np.ndindex(labels.shape[:-2])
    )
    dtype = _smallest_type(maximum)
    root = zarr.open_group(path, mode="w", zarr_format=zarr_format(version))
    if image is None:
        levels = _write_levels(root, labels, axes, dtype, scale, version)
        root.attrs.update(image_attributes(version, name, axes, unit, levels, image_label={}))
        return
    picture, image_axes = _standard_order(image, image_axes, axes)
    steps = dict(zip(axes, scale, strict=True)) if scale is not None else None
    image_scale = None if steps is None else tuple(steps.get(axis, 1.0) for axis in image_axes)
    levels = _write_levels(root, picture, image_axes, np.dtype(picture.dtype), image_scale, version)
    omero = None
    if (
        "C" in image_axes
        and picture.shape[image_axes.index("C")] == 3
        and picture.dtype == np.uint8
    ):
        omero = {"channels": [_rgb_channel(*pair) for pair in _RGB]}
    root.attrs.update(image_attributes(version, name, image_axes, unit, levels, omero=omero))
    folder = root.create_group("labels")
    folder.attrs.update(labels_attributes(version, [name]))
    group = folder.create_group(name)
    levels = _write_levels(group, labels, axes, dtype, scale, version)
    about = {"source": {"image": "../../"}}
    group.attrs.update(image_attributes(version, name, axes, unit, levels, image_label=about))


_RGB = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))


def _rgb_channel(label: str, color: str) -> dict[str, Any]:
    """Display metadata of one colour."""
    return {
        "label": label,
        "color": color,
        "active": True,
        "window": {"min": 0, "max": 255, "start": 0, "end": 255},
    }


def _standard_places(axes: str) -> list[int]:
    """Places of the axes in the order T, C, Z, Y, X."""
    return sorted(range(len(axes)), key=lambda place: _ORDER.index(axes[place]))


def _standard_order(image: Any, image_axes: str | None, axes: str) -> tuple[Any, str]:
    """Image with its axes in the order T, C, Z, Y, X that OME-Zarr wants; bool becomes uint8."""
    picture: Any = image if hasattr(image, "shape") else np.asarray(image)
    image_axes = _checked_axes(tuple(picture.shape), image_axes or axes, "image")
    if label_axes(image_axes) != axes:
        raise WriteError(
            f"Labels {axes} do not belong to an image {image_axes}; all axes but C must agree."
        )
    order = _standard_places(image_axes)
    if order != list(range(len(order))):
        picture = picture.transpose(order)
    if picture.dtype == np.bool_:
        picture = picture.astype(np.uint8)
    return picture, "".join(image_axes[axis] for axis in order)


def _write_levels(
    group: Any,
    array: Any,
    axes: str,
    dtype: np.dtype[Any],
    scale: tuple[float, ...] | None,
    version: str,
) -> list[dict[str, Any]]:
    """Write a pyramid plane by plane (nearest pixel, factor 2) and return what its levels are."""
    levels: list[dict[str, Any]] = []
    source, factor = array, 1
    while True:
        shape = tuple(int(n) for n in source.shape)
        target = group.create_array(
            str(len(levels)),
            shape=shape,
            chunks=(1,) * (len(shape) - 2) + tuple(min(_CHUNK_PX, n) for n in shape[-2:]),
            dtype=dtype,
            **array_options(version, axes),
        )
        for index in np.ndindex(shape[:-2]):
            target[index] = np.asarray(source[index]).astype(dtype, copy=False)
        steps = [
            (1.0 if scale is None else scale[i]) * (factor if axis in "YX" else 1)
            for i, axis in enumerate(axes)
        ]
        levels.append(
            {
                "path": str(len(levels)),
                "coordinateTransformations": [{"type": "scale", "scale": steps}],
            }
        )
        if max(shape[-2:]) <= _CHUNK_PX or min(shape[-2:]) <= _SMALLEST_LEVEL_PX:
            return levels
        source, factor = _HalfSize(target), factor * 2


class _HalfSize:
    """A view of every second row and column of an array, read plane by plane."""

    def __init__(self, array: Any) -> None:
        self._array = array
        *leading, height, width = array.shape
        self.shape = (*leading, (height + 1) // 2, (width + 1) // 2)

    def __getitem__(self, index: tuple[int, ...]) -> npt.NDArray[Any]:
        return np.asarray(self._array[index])[::2, ::2]
