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
from napari_litesam.followers import lies, place_of, put
from napari_litesam.image_axes import pixels
from napari_litesam.label_axes import (
    CHANNEL_AXIS,
    array_of,
    channels_of,
    label_axes,
    label_placement,
    label_shape,
    raw_array_of,
    stand_in,
    with_channels,
)
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


def new_objects_layer(image: Image) -> Labels:
    """Return an empty Labels layer for the objects of an image."""
    return objects_layer(np.zeros(label_shape(image), np.int32), image)


def objects_layer(labels: npt.NDArray[Any], image: Image, name: str = OBJECTS_NAME) -> Labels:
    """Return a Labels layer over an image that shows, and is, an array of `label_shape`."""
    axis = stand_in(image)
    look = {
        "name": name,
        "opacity": 0.6,
        "metadata": {} if axis is None else {CHANNEL_AXIS: axis},
        **label_placement(image),
    }
    array = with_channels(labels, axis)
    if _is_large(labels.shape):
        return PyramidLabels(_levels(array), multiscale=True, **look)
    return Labels(array, **look)


def new_disk_layer(image: Image, levels: Sequence[Any], place: LevelPlace, path: str) -> Labels:
    """Return a layer that shows labels on the disk, and is not written to.

    Parameters
    ----------
    image
        The image.
    levels
        Arrays (plane axes, Y, X), the finest first.
    place
        Where their pixels lie in the image, along each of these axes.
    path
        Where they are.
    """
    axis = stand_in(image)
    shown = [with_channels(level, axis) for level in levels]
    labels = Labels(
        shown if len(shown) > 1 else shown[0],
        multiscale=len(shown) > 1,
        name=Path(path).name,
        opacity=0.6,
        metadata={ON_DISK: path} | ({} if axis is None else {CHANNEL_AXIS: axis}),
        **label_placement(image, place),
    )
    labels.editable = False
    return labels


def lay_as(layer: Labels, made: Labels) -> None:
    """Let a layer show the labels of another one, where that one lies."""
    layer.data = list(made.data) if made.multiscale else made.data
    layer.metadata.pop(CHANNEL_AXIS, None)
    if CHANNEL_AXIS in made.metadata:
        layer.metadata[CHANNEL_AXIS] = made.metadata[CHANNEL_AXIS]
    if not lies(layer, place_of(made)):
        put(layer, place_of(made))


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
    data, axis = tracks.data.copy(), stand_in(image)
    data[:, 1:] = (data[:, 1:] + 0.5) * place.factors - 0.5
    if axis is not None:
        # napari shows tracks of other channels, too.
        data = np.insert(data, 1 + axis, 0.0, axis=1)
    return TracksLayer(
        data,
        features={"area": tracks.areas},
        name=f"{Path(path).name} (tracks)",
        metadata={"litesam_tracks": path},
        **placement(image, data.shape[1] - 1),
    )


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
    return tuple(int(n) for n in pixels(image).shape[: image.ndim])


def fits(layer: Labels, image: Image) -> bool:
    """Whether a Labels layer can take the objects of an image."""
    return misfit(layer, image) is None


def misfit(layer: Labels, image: Image) -> str | None:
    """Return why a Labels layer cannot take the objects of an image; None if it can.

    It needs the same size along each axis, an array that can be written to, and no pyramid other
    than of views of one array, as `new_objects_layer` makes them. Without an axis in the place of
    channels it fits as well; `adopt` gives it one.
    """
    if ON_DISK in layer.metadata:
        return "It shows labels on the disk, which are not written to. A copy can be corrected."
    wanted, array, axis = label_shape(image), raw_array_of(layer), stand_in(image)
    if not _sizes_fit(layer, image):
        advice = "Choose *New layer* here"
        if len(wanted) == image.ndim:  # napari's button gives labels channels, too
            advice += (
                ", or choose the image in the layer list before you press napari's button for a "
                "new Labels layer"
            )
        return (
            f"Its size is {_sized(array.shape)}, but objects of {image.name!r} need "
            f"{_sized(wanted)}. {advice}."
        )
    if axis is not None and not isinstance(array, np.ndarray):
        return "Its array is not in memory. Choose *New layer*."
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


def _sizes_fit(layer: Labels, image: Image) -> bool:
    """Whether a layer has the sizes of labels of an image, with or without an axis for channels."""
    wanted, shape, axis = label_shape(image), tuple(raw_array_of(layer).shape), stand_in(image)
    own = layer.metadata.get(CHANNEL_AXIS)
    if axis is None:
        return shape == wanted and channels_of(layer) is None
    return (shape == wanted and own is None) or (
        shape == (*wanted[:axis], 1, *wanted[axis:]) and own in (None, axis)
    )


def needs_axis(layer: Labels, image: Image) -> bool:
    """Whether napari does not show a layer that fits at the slices and channels of the image."""
    return stand_in(image) != channels_of(layer)


def adopt(layer: Labels, image: Image) -> None:
    """Lay a layer that fits over the image, with an axis in the place of the channels."""
    axis = stand_in(image)
    if axis is None or not needs_axis(layer, image):
        return
    if layer.ndim == len(label_axes(image)):
        levels = [
            with_channels(one, axis) for one in (layer.data if layer.multiscale else [layer.data])
        ]
        layer.data = levels if layer.multiscale else levels[0]
    layer.metadata[CHANNEL_AXIS] = axis
    place = label_placement(image)
    put(layer, place)
    layer.axis_labels = place["axis_labels"]


def caution(layer: Labels, image: Image) -> str:
    """Return what is to be known of a layer that can take objects; "" if there is nothing."""
    array, said = array_of(layer), []
    if needs_axis(layer, image):
        said.append(
            "napari shows its slices where the channels of the image are. When you choose it, it "
            "gets an axis in their place, of length 1, and lies on the image."
        )
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
