"""Layers and files: which file an image layer shows, how a layer is made of what a file says, and
what a file of labels has to say. No Qt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from litesam.errors import ReadError
from napari_litesam.image_axes import axes_letters
from napari_litesam.label_axes import label_axes, without

if TYPE_CHECKING:
    from napari.layers import Labels

    from litesam.io import ImageData

#: Entry of a layer's metadata: the file that its pixels are of, where napari does not know it.
FILE = "litesam_file"


def file_of(image: Image) -> str | None:
    """Return the file or folder that an image layer shows; None: that is not known."""
    path = image.metadata.get(FILE) or getattr(image.source, "path", None)
    return None if path is None else str(path)


def image_layer(path: Path, read: ImageData) -> Image:
    """Return a new layer that shows an image as its file says.

    Raises
    ------
    ReadError
        If napari cannot show it.
    """
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
    try:
        try:
            return Image(read.array, **look)
        except (ValueError, TypeError, AttributeError):
            if "units" not in look:
                raise
            del look["units"]  # such as the "reference frame" of OME, which is none for napari
            return Image(read.array, **look)
    except (ValueError, TypeError) as error:
        raise ReadError(
            f"{path} cannot be shown: {error}. An image of two or more axes is needed, or an RGB "
            "image of three or four colours."
        ) from error


def _is_rgb(read: ImageData) -> bool:
    """Whether the last axis is the colours of an RGB image."""
    shape = read.array.shape
    if read.axes is not None:
        return read.axes.endswith("YXC") and shape[-1] in (3, 4)
    return len(shape) > 2 and shape[-1] in (3, 4) and str(read.array.dtype) == "uint8"


class AboutLabels:
    """Axes and scale of a Labels layer, and its image, for a worker.

    Attributes
    ----------
    axes, file_axes
        One letter for each axis of the labels; the same in letters that files of labels know.
    scale, unit
        Spacing along each axis, and its unit; None: it is not known.
    image_name
        File name of the image; of an image in no file the name of its layer.
    """

    def __init__(self, target: Labels, image: Image) -> None:
        letters = axes_letters(image)
        self.axes = "".join(letters[axis] for axis in label_axes(image))
        spare = [letter for letter in "ZT" if letter not in self.axes]
        self.file_axes = "".join(
            spare.pop(0) if letter not in "TZYX" and spare else letter for letter in self.axes
        )
        scale = tuple(float(step) for step in without(target, target.scale))
        unit = str(target.units[-1])
        self.unit = None if unit == "pixel" else unit
        self.scale = None if self.unit is None and set(scale) == {1.0} else scale
        path = file_of(image)
        # What reads COCO looks for the image by this name.
        self.image_name = image.name if path is None else Path(path).name
