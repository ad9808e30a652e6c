"""Writes results into Labels layers: the preview, a committed object, all objects of a plane.

Objects get the next new ids and never take a pixel that another object has. Every write is one step
of the layer's own undo history and can also be withdrawn as a whole. No Qt.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from litesam.errors import ImageError
from napari_litesam.candidates import COLOURS, REJECTED
from napari_litesam.prompt_layers import placement

if TYPE_CHECKING:
    from napari.layers import Image

    from litesam.types import BoolArray, LabelArray

PREVIEW_NAME = "Lite-SAM preview"
CANDIDATES_NAME = "Lite-SAM candidates"
OBJECTS_NAME = "Lite-SAM objects"
#: The current object is yellow, as its box is; it stands out on grey and on stains.
_PREVIEW_COLOUR = "#ffd92e"
#: A new object of which a smaller share is free of other objects is one of them, found again.
MIN_FREE_SHARE = 0.5
_GOLDEN = 0.618034


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What one write did to a layer.

    Attributes
    ----------
    layer
        The Labels layer.
    where
        Index arrays of the pixels, one per axis of the layer.
    ids
        Value written to each of the pixels.
    objects
        Number of new objects.
    refused_px
        Pixels of the result that belong to other objects and were left alone.
    refused_objects
        Objects of the result that were left out because they lie mostly on others.
    """

    layer: Labels
    where: tuple[npt.NDArray[np.intp], ...]
    ids: npt.NDArray[Any]
    objects: int
    refused_px: int
    refused_objects: int = 0

    @property
    def pixels(self) -> int:
        """Number of pixels written."""
        return int(self.ids.size)

    @property
    def first_id(self) -> int:
        """Smallest new id; 0 if nothing was written."""
        return int(self.ids.min()) if self.ids.size else 0


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


def next_id(layer: Labels) -> int:
    """Return the smallest id above all that the layer has."""
    data = layer.data
    return int(np.asarray(data.max())) + 1 if data.size else 1


def commit_mask(layer: Labels, mask: BoolArray, index: tuple[int, ...] | None) -> Written:
    """Write one object under the next id.

    Parameters
    ----------
    layer
        Labels layer with axes (plane axes, Y, X).
    mask
        (H, W) bool.
    index
        Plane; None in a 2-D layer.

    Raises
    ------
    ImageError
        If the mask does not fit the layer, or the layer's dtype has no further id.
    """
    return commit_labels(layer, mask.astype(np.int32), index, min_free_share=0.0)


def commit_labels(
    layer: Labels,
    labels: LabelArray,
    index: tuple[int, ...] | None,
    *,
    min_free_share: float = MIN_FREE_SHARE,
) -> Written:
    """Write all objects of a plane under the next ids, beside those that are there.

    Parameters
    ----------
    layer
        Labels layer with axes (plane axes, Y, X).
    labels
        (H, W) int, 0 is background.
    index
        Plane; None in a 2-D layer.
    min_free_share
        Objects of which a smaller share is free of other objects are left out, so that no slivers
        appear around objects that are there already.

    Raises
    ------
    ImageError
        If the labels do not fit the layer, or its dtype cannot hold the new ids.
    """
    plane = np.asarray(layer.data[index] if index else layer.data)
    if plane.shape != labels.shape:
        raise ImageError(
            f"The result has {labels.shape} pixels and {layer.name!r} has {plane.shape} there; "
            "choose a Labels layer of the image's size or a new one."
        )
    free = plane == 0
    total = np.bincount(labels.ravel())
    available = np.bincount(labels[free].ravel(), minlength=total.size)
    keep = (available > 0) & (available >= min_free_share * total)
    keep[0] = False
    kept = np.flatnonzero(keep)
    start = next_id(layer)
    if kept.size and start + kept.size - 1 > np.iinfo(layer.data.dtype).max:
        raise ImageError(
            f"{layer.name!r} holds {layer.data.dtype} and has no room for the id "
            f"{start + kept.size - 1}; choose a new layer or convert it to int32."
        )
    lookup = np.zeros(total.size, dtype=layer.data.dtype)
    lookup[kept] = np.arange(start, start + kept.size)
    ids = np.where(free, lookup[labels], 0)
    y, x = np.nonzero(ids)
    where = (*(np.full(y.shape, at, dtype=np.intp) for at in index or ()), y, x)
    values = ids[y, x]
    if values.size:
        layer.data_setitem(where, values)
    present = np.flatnonzero(total[1:]) + 1
    return Written(
        layer,
        where,
        values,
        objects=int(kept.size),
        refused_px=int(total[kept].sum() - available[kept].sum()),
        refused_objects=int(present.size - kept.size),
    )


def withdraw(written: Written) -> int:
    """Take a write back where its pixels still have its ids; return the number of pixels
    cleared.
    """
    layer = written.layer
    still = np.asarray(layer.data[written.where]) == written.ids
    where = tuple(axis[still] for axis in written.where)
    if still.any():
        layer.data_setitem(where, 0)
    return int(np.count_nonzero(still))


def write_again(written: Written) -> int:
    """Do a write again that was withdrawn, where nothing lies now; return the number of pixels."""
    layer = written.layer
    free = np.asarray(layer.data[written.where]) == 0
    where = tuple(axis[free] for axis in written.where)
    if free.any():
        layer.data_setitem(where, written.ids[free])
    return int(np.count_nonzero(free))
