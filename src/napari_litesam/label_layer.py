"""Layers of the panel: the preview, the candidates, objects, and their tracks. No Qt."""

from __future__ import annotations

import colorsys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.layers import Tracks as TracksLayer
from napari.utils.colormaps import DirectLabelColormap

from litesam.preprocess.large import LARGE_FROM_PX
from napari_litesam.candidates import COLOURS, REJECTED
from napari_litesam.prompt_layers import placement
from napari_litesam.pyramid_labels import PyramidLabels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from litesam.types import AnyArray, BoolArray, Box
    from litesam.volume import Tracks
    from napari_litesam.levels import LevelPlace

PREVIEW_NAME = "Lite-SAM preview"
CANDIDATES_NAME = "Lite-SAM candidates"
OBJECTS_NAME = "Lite-SAM objects"
#: The current object is yellow, as its box is; it stands out on grey and on stains.
_PREVIEW_COLOUR = "#ffd92e"
_GOLDEN = 0.618034
#: Longest side of the coarsest level of a large plane.
_COARSEST_PX = 2048
#: Metadata of a layer that shows labels on the disk, which the panel does not write to.
ON_DISK = "litesam_on_disk"
#: Metadata of such a layer while its labels are being written.
LIVE = "litesam_live"
#: A layer that holds fewer ids than this may be full one day.
_FEW_IDS = 1000
#: Metadata of a preview of a large plane: the part that is not empty.
_SHOWN = "litesam_shown"


def new_preview(image: Image) -> Labels:
    """Return an empty preview layer over the planes of an image."""
    return Labels(
        **_empty(image_shape(image)[-2:], np.uint8),
        name=PREVIEW_NAME,
        opacity=0.55,
        colormap=DirectLabelColormap(color_dict={None: "transparent", 1: _PREVIEW_COLOUR}),
        **placement(image, 2),
    )


def new_candidates(image: Image) -> Labels:
    """Return an empty layer for candidates of everything mode, see `candidates.picture`."""
    # Neighbours in score get hues that lie far apart.
    colours: dict[int | None, tuple[float, ...]] = {None: (0.0, 0.0, 0.0, 0.0)}
    for number in range(COLOURS):
        colours[number + 1] = (*colorsys.hls_to_rgb(number * _GOLDEN % 1.0, 0.55, 0.75), 1.0)
    colours[REJECTED] = (0.6, 0.6, 0.6, 0.6)
    return Labels(
        **_empty(image_shape(image)[-2:], np.uint8),
        name=CANDIDATES_NAME,
        opacity=0.5,
        visible=False,
        colormap=DirectLabelColormap(color_dict=colours),
        **placement(image, 2),
    )


def refit(layer: Labels, image: Image) -> bool:
    """Make an empty layer of one plane fit an image; False if it has to be another layer.

    napari takes 100 to 200 ms to add a layer, whatever is in it, and a few to change its array.
    """
    shape, array = image_shape(image)[-2:], array_of(layer)
    if layer.multiscale or _is_large(shape):
        return bool(layer.multiscale) == _is_large(shape) and tuple(array.shape) == shape
    if tuple(array.shape) != shape:
        layer.data = np.zeros(shape, dtype=array.dtype)
    return True


def show_picture(layer: Labels, picture: npt.NDArray[np.uint8] | None) -> None:
    """Show a (H, W) picture of candidates; None empties the layer."""
    if picture is None:
        if layer.visible:
            array_of(layer)[...] = 0
            layer.visible = False
        return
    # In place: a slider asks for this many times a second, and only pixels differ.
    np.copyto(array_of(layer), picture)
    if layer.visible:
        layer.refresh(thumbnail=False, highlight=False, extent=False)
    else:
        layer.visible = True


def show_preview(layer: Labels, mask: BoolArray | None, box: Box | None = None) -> None:
    """Show a (H, W) mask in the preview layer; None empties it.

    ``box``: nothing of the mask lies outside; saves time in a large plane.
    """
    if layer.multiscale:
        shown = layer.metadata.pop(_SHOWN, None)
        if shown is not None:
            array_of(layer)[shown] = 0
        if mask is not None:
            where = (slice(None), slice(None)) if box is None else box.slices
            array_of(layer)[where] = mask[where]
            layer.metadata[_SHOWN] = where
        layer.refresh(thumbnail=False, highlight=False, extent=False)
        return
    # In place: another array would have napari measure all layers anew, and with a thumbnail it
    # draws the layer list again, both within the time that a click takes.
    if mask is None:
        if not layer.data.any():
            return
        layer.data[...] = 0
    else:
        np.copyto(layer.data, mask)
    layer.refresh(thumbnail=False, highlight=False, extent=False)


def new_objects_layer(image: Image, plane_axes: tuple[int, ...]) -> Labels:
    """Return an empty Labels layer for the objects of an image.

    It has the image's axes, without a channel axis.
    """
    shape = image_shape(image)
    axes = (*plane_axes, image.ndim - 2, image.ndim - 1)
    return objects_layer(np.zeros([shape[axis] for axis in axes], np.int32), image)


def objects_layer(labels: npt.NDArray[Any], image: Image, name: str = OBJECTS_NAME) -> Labels:
    """Return a Labels layer over an image that shows, and is, an array (plane axes, Y, X)."""
    look = {"name": name, "opacity": 0.6, **placement(image, labels.ndim)}
    if _is_large(labels.shape):
        return PyramidLabels(_levels(labels), multiscale=True, **look)
    return Labels(labels, **look)


def new_disk_layer(
    image: Image,
    plane_axes: tuple[int, ...],
    levels: Sequence[Any],
    place: LevelPlace,
    path: str,
) -> Labels:
    """Return a layer that shows labels on the disk, and is not written to.

    Parameters
    ----------
    image, plane_axes
        The image, and its axes that choose a plane.
    levels
        Arrays (plane axes, Y, X), the finest first.
    place
        Where their pixels lie in the image, along each of these axes.
    path
        Where they are.
    """
    ndim = len(plane_axes) + 2
    labels = Labels(
        list(levels) if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=Path(path).name,
        opacity=0.6,
        metadata={ON_DISK: path},
        **placement(image, ndim),
    )
    first = place.in_image((0.0,) * ndim)
    shift = np.subtract(labels.data_to_world(first), labels.data_to_world((0,) * ndim))
    labels.translate = np.asarray(labels.translate) + shift
    labels.scale = np.asarray(labels.scale) * place.factors
    labels.editable = False
    return labels


def lay(labels: AnyArray, array: AnyArray, place: LevelPlace) -> None:
    """Write labels of a part of a level into an array as large as level 0, of as many axes."""
    spans = [
        place.span(axis, 0, size - 1, length)
        for axis, (size, length) in enumerate(zip(labels.shape, array.shape, strict=True))
    ]
    *planes, rows, columns = (
        place.under(axis, span, size)
        for axis, (span, size) in enumerate(zip(spans, labels.shape, strict=True))
    )
    region = tuple(slice(span.start, span.stop) for span in spans[-2:])
    for index in product(*(range(len(span)) for span in spans[:-2])):
        at: Any = tuple(span[i] for span, i in zip(spans, index, strict=False))
        of = tuple(int(plane[i]) for plane, i in zip(planes, index, strict=True))
        array[at + region] = labels[of][rows[:, None], columns]


def new_tracks_layer(image: Image, tracks: Tracks, place: LevelPlace, path: str) -> TracksLayer:
    """Return a layer that shows where each object is at each time.

    Parameters
    ----------
    image
        The image.
    tracks
        In pixels of a level of the image.
    place
        Where labels of that level lie in the image.
    path
        Labels that they are of.
    """
    data = tracks.data.copy()
    data[:, 1:] = (data[:, 1:] + 0.5) * place.factors - 0.5
    return TracksLayer(
        data,
        features={"area": tracks.areas},
        name=f"{Path(path).name} (tracks)",
        metadata={"litesam_tracks": path},
        **placement(image, tracks.data.shape[1] - 1),
    )


def array_of(layer: Labels) -> Any:
    """Return the array with all pixels of a Labels layer; level 0 if it is a pyramid."""
    return layer.data[0] if layer.multiscale else layer.data


def _empty(shape: Sequence[int], dtype: npt.DTypeLike) -> dict[str, Any]:
    """Layer arguments for zeros. A large plane is a pyramid of views of the same array: napari
    draws a few megabytes of it and not all, and what is written is seen in all levels.
    """
    array = np.zeros(tuple(shape), dtype=dtype)
    large = _is_large(shape)
    return {"data": _levels(array) if large else array, "multiscale": large}


def _levels(array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """An array and coarser views of it."""
    levels = [array]
    while max(levels[-1].shape[-2:]) > _COARSEST_PX:
        levels.append(levels[-1][..., ::4, ::4])
    return levels


def _is_large(shape: Sequence[int]) -> bool:
    """Whether napari is given a pyramid of the plane."""
    return shape[-2] * shape[-1] > LARGE_FROM_PX


def image_shape(image: Image) -> tuple[int, ...]:
    """Shape of the layer's array without the colours of an RGB image."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(int(n) for n in data.shape[: image.ndim])


def fits(layer: Labels, image: Image, plane_axes: tuple[int, ...]) -> bool:
    """Whether a Labels layer can take the objects of an image."""
    return misfit(layer, image, plane_axes) is None


def misfit(layer: Labels, image: Image, plane_axes: tuple[int, ...]) -> str | None:
    """Return why a Labels layer cannot take the objects of an image; None if it can.

    It needs the same size along each axis, an array that can be written to, and no pyramid other
    than of views of one array, as `new_objects_layer` makes them.
    """
    if ON_DISK in layer.metadata:
        return "It shows labels on the disk, which are not written to. A copy can be corrected."
    shape, array = image_shape(image), array_of(layer)
    wanted = tuple(shape[axis] for axis in (*plane_axes, image.ndim - 2, image.ndim - 1))
    if tuple(array.shape) != wanted:
        return (
            f"Its size is {_sized(array.shape)}, but objects of {image.name!r} need "
            f"{_sized(wanted)}. Choose *New layer* here, or choose the image in the layer list "
            "before you press napari's button for a new Labels layer."
        )
    if layer.multiscale and not (
        isinstance(array, np.ndarray)
        and all(np.may_share_memory(array, level) for level in layer.data)
    ):
        return (
            "It is a pyramid of separate arrays: what is written to one of them would not be seen "
            "in the others. Choose *New layer*."
        )
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        return "Its array is read-only. Duplicate the layer, or choose *New layer*."
    if hasattr(array, "dask"):
        return "Its array is computed by dask and cannot be written to. Choose *New layer*."
    return None


def caution(layer: Labels) -> str:
    """Return what is to be known of a layer that can take objects; "" if there is nothing."""
    array, said = array_of(layer), []
    if not layer.multiscale and _is_large(array.shape):
        said.append(
            f"napari draws all of its {_sized(array.shape[-2:])} pixels anew after each change, "
            "which takes a second. *New layer* makes one of which it draws what is in sight."
        )
    most = int(np.iinfo(array.dtype).max)
    if most < _FEW_IDS:
        said.append(f"Its {array.dtype} pixels hold ids up to {most}; *New layer* holds all.")
    return " ".join(said)


def _sized(shape: Sequence[int]) -> str:
    return " × ".join(f"{int(n):,}" for n in shape)
