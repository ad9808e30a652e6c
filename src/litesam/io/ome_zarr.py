"""OME-Zarr images, 0.4 and 0.5: the arrays of their pyramid and what their metadata says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ReadError
from litesam.io.units import factor_between

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_AXES = frozenset("TCZYX")
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
_PerLevel = tuple[tuple[float, ...] | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """The levels of an OME-Zarr image, or the one array of a plain Zarr.

    Attributes
    ----------
    levels
        zarr arrays, the finest first.
    axes
        One letter of T, C, Z, Y, X for each axis, or None where the metadata do not say.
    scales
        Spacing of the pixels along each axis for each level, or None where it is not said.
    unit
        Unit of the scale in space, or None.
    translations
        Where the first pixel of each level lies along each axis, or None where it is not said.
    """

    levels: tuple[Any, ...]
    axes: str | None = None
    scales: tuple[tuple[float, ...] | None, ...] = (None,)
    unit: str | None = None
    translations: tuple[tuple[float, ...] | None, ...] = (None,)


def is_zarr(path: Path) -> bool:
    """Whether a folder says that it is a Zarr array or group."""
    return any((path / name).exists() for name in _ZARR_FILES)


class ReadableArray:
    """A zarr array that says in words where it cannot be read.

    Parameters
    ----------
    array
        The zarr array.
    path
        Its image; for messages.
    """

    def __init__(self, array: Any, path: Path) -> None:
        self._array, self._path = array, path
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._array[key]
        except Exception as error:  # stores and codecs raise all kinds on damaged chunks
            raise ReadError(
                f"A part of {self._path} cannot be read; it is truncated or damaged ({error}). "
                "Copy it again."
            ) from error


def open_zarr(path: Path) -> Any:
    """Open a zarr array or group for reading.

    Raises
    ------
    ReadError
        If it is none.
    """
    import zarr

    try:
        return zarr.open(path, mode="r")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(
            f"The folder {path} is not a readable Zarr image (damaged, or no Zarr at all); give a "
            f"file or an "
            "OME-Zarr folder."
        ) from error


def ome_attributes(group: Any) -> Mapping[str, Any]:
    """Return the OME metadata of a group: under "ome" in 0.5, at the top before."""
    attributes = dict(group.attrs)
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def label_names(path: Path) -> list[str]:
    """Return the names of the label images of an OME-Zarr image."""
    if not (path / "labels").is_dir():
        return []
    return [str(name) for name in ome_attributes(open_zarr(path / "labels")).get("labels", [])]


def open_pyramid(path: Path) -> Pyramid:
    """Open an OME-Zarr image, or a plain Zarr array, without reading pixels.

    Raises
    ------
    ReadError
        If the folder is no complete image.
    """
    import zarr

    node = open_zarr(path)
    if isinstance(node, zarr.Array):
        return Pyramid((node,))
    attributes = ome_attributes(node)
    if "multiscales" not in attributes and "bioformats2raw.layout" in attributes:
        node = open_zarr(path / "0")  # the first image of a collection
        attributes = ome_attributes(node)
    if "plate" in attributes or "well" in attributes:
        raise ReadError(
            f"{path} is a plate or a well of many images; name one of its fields, such as …/A/1/0."
        )
    try:
        multiscale = attributes["multiscales"][0]
        datasets = multiscale["datasets"]
        levels = tuple(node[dataset["path"]] for dataset in datasets)
        dimensions = levels[0].ndim
        axes, scales, unit, translations = _metadata(multiscale)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ReadError(
            f"{path} has no complete OME-Zarr image (multiscales metadata or level 0 is missing: "
            f"{error!r}); "
            "name the group of the image inside it."
        ) from error
    if axes is not None and len(axes) != dimensions:
        raise ReadError(
            f"{path} names the axes {axes} but its array has {dimensions} axes; it is damaged."
        )
    return Pyramid(levels, axes, scales, unit, translations)


def _metadata(
    multiscale: Mapping[str, Any],
) -> tuple[str | None, _PerLevel, str | None, _PerLevel]:
    """Axes, scale of each level, spatial unit, and translation of each level."""
    datasets = multiscale["datasets"]
    entries = multiscale.get("axes")
    if not entries:
        return None, (None,) * len(datasets), None, (None,) * len(datasets)
    names = [entry if isinstance(entry, str) else entry["name"] for entry in entries]
    axes: str | None = "".join(name.upper() for name in names)
    if len(str(axes)) != len(names) or not set(str(axes)) <= _AXES:
        axes = None
    units = [entry.get("unit") if isinstance(entry, dict) else None for entry in entries]
    # That of the plane, which an axis of slices in another unit is converted to.
    in_space = [u for u, name in zip(units, names, strict=True) if u and name.lower() in "xyz"]
    unit = in_space[-1] if in_space else None
    factors = tuple(
        factor_between(u, unit) if name.lower() in "xyz" else 1.0
        for u, name in zip(units, names, strict=True)
    )
    places = [_place((dataset, multiscale), factors) for dataset in datasets]
    return axes, tuple(scale for scale, _ in places), unit, tuple(offset for _, offset in places)


def _place(
    sources: Sequence[Mapping[str, Any]], factors: Sequence[float]
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Scale and translation that a level and then its image state, one after the other; in one unit
    for all axes, of which each has ``factors`` as many.
    """
    count = len(factors)
    scale, offset = np.ones(count), np.zeros(count)
    scaled = moved = False
    for source in sources:
        for transform in source.get("coordinateTransformations") or ():
            kind = transform.get("type")
            if kind == "scale" and len(transform["scale"]) == count:
                factor = np.asarray(transform["scale"], dtype=float)
                scale, offset, scaled = scale * factor, offset * factor, True
            elif kind == "translation" and len(transform["translation"]) == count:
                offset = offset + np.asarray(transform["translation"], dtype=float)
                moved = True
    return (
        tuple(float(s) for s in scale * factors) if scaled else None,
        tuple(float(t) for t in offset * factors) if moved else None,
    )
