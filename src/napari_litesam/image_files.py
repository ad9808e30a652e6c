"""Files of images: which one a layer shows, and how a layer is made of what a file says. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.io import ImageData

#: Entry of a layer's metadata: the file that its pixels are of, where napari does not know it.
FILE = "litesam_file"


def file_of(image: Image) -> str | None:
    """Return the file or folder that an image layer shows; None: that is not known."""
    path = image.metadata.get(FILE) or getattr(image.source, "path", None)
    return None if path is None else str(path)


def image_layer(path: Path, read: ImageData) -> Image:
    """Return a new layer that shows an image as its file says."""
    axes = read.axes
    rgb = _is_rgb(read)
    look: dict[str, Any] = {"name": path.name, "rgb": rgb, "metadata": {FILE: str(path)}}
    ndim = len(read.array.shape) - rgb
    if axes is not None:
        look["axis_labels"] = tuple(axes[:ndim].lower())
    if read.scale is not None:
        look["scale"] = read.scale[:ndim]
        if read.unit is not None and axes is not None:
            look["units"] = tuple(read.unit if one in "ZYX" else "pixel" for one in axes[:ndim])
    if read.translation is not None:
        look["translate"] = read.translation[:ndim]
    return Image(read.array, **look)


def _is_rgb(read: ImageData) -> bool:
    """Whether the last axis is the colours of an RGB image."""
    shape = read.array.shape
    if read.axes is not None:
        return read.axes.endswith("YXC")
    return len(shape) > 2 and shape[-1] in (3, 4) and str(read.array.dtype) == "uint8"
