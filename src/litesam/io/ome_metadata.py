"""What is written beside the pixels of an OME-Zarr, in both of its versions in use.

0.5 lies in Zarr 3 and keeps its metadata under one key, ``ome``; 0.4 lies in Zarr 2, has them at
the top of the attributes, and names its version in each part. The parts themselves are the same.

Sources: https://ngff.openmicroscopy.org/0.4/ and https://ngff.openmicroscopy.org/0.5/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from litesam.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OmeVersion = Literal["0.5", "0.4"]
#: Versions that can be written, the usual one first.
OME_VERSIONS: tuple[str, ...] = get_args(OmeVersion)
#: The codec of Zarr 2 that all readers of it know; that of Zarr 3 is the library's own choice.
_BLOSC = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1}


def check_version(version: str) -> None:
    """Refuse a version of OME-Zarr that cannot be written.

    Raises
    ------
    WriteError
        If it is none of `OME_VERSIONS`.
    """
    if version not in OME_VERSIONS:
        raise WriteError(
            f"OME-Zarr {version} cannot be written; choose {' or '.join(OME_VERSIONS)}."
        )


def zarr_format(version: str) -> Literal[2, 3]:
    """Return the format of Zarr that a version of OME-Zarr lies in."""
    return 2 if version == "0.4" else 3


def array_options(version: str, axes: str) -> dict[str, Any]:
    """Return what `zarr.create_array` is told besides shape, type and chunks.

    Parameters
    ----------
    version
        Of OME-Zarr.
    axes
        One letter for each axis.
    """
    if version == "0.4":
        return {
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
            "compressors": _BLOSC,
            "fill_value": 0,
        }
    return {"dimension_names": [axis.lower() for axis in axes]}


def axes_entries(axes: str, unit: str | None) -> list[dict[str, str]]:
    """Return the axes: name, type and, in space, unit."""
    entries = []
    for axis in axes:
        kind = {"T": "time", "C": "channel"}.get(axis, "space")
        entry = {"name": axis.lower(), "type": kind}
        if kind == "space" and unit:
            entry["unit"] = unit
        entries.append(entry)
    return entries


def image_attributes(
    version: str,
    name: str,
    axes: str,
    unit: str | None,
    datasets: Sequence[Mapping[str, Any]],
    *,
    image_label: Mapping[str, Any] | None = None,
    omero: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the attributes of an image's group.

    Parameters
    ----------
    version
        Of OME-Zarr.
    name
        Of the image.
    axes, unit
        Letters of the axes, and the unit of those in space.
    datasets
        Path and coordinate transformations of each level.
    image_label
        What a label image says of itself; None: it is no label image.
    omero
        How an image is displayed.
    """
    old = {"version": "0.4"} if version == "0.4" else {}
    multiscale = {
        **old,
        "name": name,
        "axes": axes_entries(axes, unit),
        "datasets": [dict(dataset) for dataset in datasets],
    }
    parts: dict[str, Any] = {"multiscales": [multiscale]}
    if image_label is not None:
        parts["image-label"] = {**old, **image_label}
    if omero is not None:
        parts["omero"] = {**old, **omero}
    return parts if old else {"ome": {"version": version, **parts}}


def labels_attributes(version: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of the group that holds the label images of an image."""
    parts = {"labels": list(names)}
    return parts if version == "0.4" else {"ome": {"version": version, **parts}}


def metadata_files(path: Path, version: str, *, array: bool = False) -> tuple[Path, ...]:
    """Return the files that hold the metadata of a group or an array, the telling one first."""
    if zarr_format(version) == 3:
        return (path / "zarr.json",)
    return (path / (".zarray" if array else ".zgroup"), path / ".zattrs")
