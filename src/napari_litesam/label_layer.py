"""Labels layers of the panel: the preview, the candidates, and the layer for objects. No Qt."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_litesam.candidates import COLOURS, REJECTED
from napari_litesam.prompt_layers import placement

if TYPE_CHECKING:
    from napari.layers import Image

    from litesam.types import BoolArray

PREVIEW_NAME = "Lite-SAM preview"
CANDIDATES_NAME = "Lite-SAM candidates"
OBJECTS_NAME = "Lite-SAM objects"
#: The current object is yellow, as its box is; it stands out on grey and on stains.
_PREVIEW_COLOUR = "#ffd92e"
_GOLDEN = 0.618034


def new_preview(image: Image) -> Labels:
    """Return an empty preview layer over the planes of an image."""
    height, width = image_shape(image)[-2:]
    return Labels(
        np.zeros((height, width), dtype=np.uint8),
        name=PREVIEW_NAME,
        opacity=0.55,
        colormap=DirectLabelColormap(color_dict={None: "transparent", 1: _PREVIEW_COLOUR}),
        **placement(image, 2),
    )


def new_candidates(image: Image) -> Labels:
    """Return an empty layer for candidates of everything mode, see `candidates.picture`."""
    height, width = image_shape(image)[-2:]
    # Neighbours in score get hues that lie far apart.
    colours: dict[int | None, tuple[float, ...]] = {None: (0.0, 0.0, 0.0, 0.0)}
    for number in range(COLOURS):
        colours[number + 1] = (*colorsys.hls_to_rgb(number * _GOLDEN % 1.0, 0.55, 0.75), 1.0)
    colours[REJECTED] = (0.6, 0.6, 0.6, 0.6)
    return Labels(
        np.zeros((height, width), dtype=np.uint8),
        name=CANDIDATES_NAME,
        opacity=0.5,
        colormap=DirectLabelColormap(color_dict=colours),
        **placement(image, 2),
    )


def show_picture(layer: Labels, picture: npt.NDArray[np.uint8] | None) -> None:
    """Show a (H, W) picture of candidates; None empties the layer."""
    if picture is None:
        if layer.visible:
            layer.data[...] = 0
            layer.visible = False
        return
    # In place: a slider asks for this many times a second, and only pixels differ.
    np.copyto(layer.data, picture)
    if layer.visible:
        layer.refresh(thumbnail=False, highlight=False, extent=False)
    else:
        layer.visible = True


def show_preview(layer: Labels, mask: BoolArray | None) -> None:
    """Show a (H, W) mask in the preview layer; None empties it."""
    if mask is None:
        data = np.asarray(layer.data)
        if data.any():
            layer.data = np.zeros_like(data)
        return
    layer.data = mask.astype(np.uint8)


def new_objects_layer(image: Image, plane_axes: tuple[int, ...]) -> Labels:
    """Return an empty Labels layer for the objects of an image.

    It has the image's axes, without a channel axis.
    """
    shape = image_shape(image)
    axes = (*plane_axes, image.ndim - 2, image.ndim - 1)
    return Labels(
        np.zeros([shape[axis] for axis in axes], dtype=np.int32),
        name=OBJECTS_NAME,
        opacity=0.6,
        **placement(image, len(axes)),
    )


def image_shape(image: Image) -> tuple[int, ...]:
    """Shape of the layer's array without the colours of an RGB image."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(int(n) for n in data.shape[: image.ndim])


def fits(layer: Labels, image: Image, plane_axes: tuple[int, ...]) -> bool:
    """Whether a Labels layer can take the objects of an image: same size along each axis, no
    pyramid.
    """
    shape = image_shape(image)
    wanted = tuple(shape[axis] for axis in (*plane_axes, image.ndim - 2, image.ndim - 1))
    return not layer.multiscale and tuple(layer.data.shape) == wanted
