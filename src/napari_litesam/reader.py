"""For napari's *File ▸ Open*: labels of a volume that `litesam` has written, as a layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_litesam.label_layer import ON_DISK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    LayerData = tuple[Any, dict[str, Any], str]

_ARRAY_FILES = ("zarr.json", ".zarray")


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """Return what reads labels with a table of objects beside them; None: it is another folder."""
    if not isinstance(path, str):
        return None
    table = Path(path) / "objects" / "voxels"
    return read_layers if any((table / name).exists() for name in _ARRAY_FILES) else None


def read_layers(path: str) -> list[LayerData]:
    """Read labels as a layer that shows them on the disk, where their metadata says.

    An open panel lays it over its image, and goes through the objects.

    Raises
    ------
    ReadError
        If the labels are damaged.
    """
    from litesam.io.ome_zarr import open_pyramid

    pyramid = open_pyramid(Path(path))
    levels = pyramid.levels
    options: dict[str, Any] = {
        "name": Path(path).name,
        "opacity": 0.6,
        "multiscale": len(levels) > 1,
        "metadata": {ON_DISK: path},
    }
    if pyramid.scales[0] is not None:
        options["scale"] = pyramid.scales[0]
    if pyramid.translations[0] is not None:
        options["translate"] = pyramid.translations[0]
    if pyramid.axes is not None:
        options["axis_labels"] = tuple(pyramid.axes.lower())
    return [(list(levels) if len(levels) > 1 else levels[0], options, "labels")]
