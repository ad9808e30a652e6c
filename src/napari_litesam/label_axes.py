"""How the axes of labels lie on those of their image.

Labels have the image's axes without its channels. napari aligns layers by their last axes: where
the channels lie behind slices or times (ZCYX, TZCYX: ImageJ's order), it would take the slices of
the labels for channels. A Labels layer of such an image has one axis more, in the place of the
channels. Its only pixel is as long as all channels together, so that napari shows the objects at
each of them. All else of the panel, and the engine, see labels without that axis. No Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.utils.transforms import Affine

from napari_litesam.image_axes import channel_axis, pixels, plane_axes
from napari_litesam.prompt_layers import placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

    from napari_litesam.levels import LevelPlace

#: Metadata of a layer: which of its axes stands for the channels of the image.
CHANNEL_AXIS = "litesam_channel_axis"


class WithChannels:
    """An array with an axis of one pixel more; what is read of it is read of the array itself.

    Parameters
    ----------
    array
        Labels on the disk.
    axis
        Place of the axis.
    """

    def __init__(self, array: Any, axis: int) -> None:
        self.array = array
        self.dtype = array.dtype
        self.shape = (*array.shape[:axis], 1, *array.shape[axis:])
        self.ndim = len(self.shape)
        self._axis = axis

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *(slice(None),) * (self.ndim - len(keys)))
        of_channels = keys[self._axis]
        part = np.asarray(self.array[keys[: self._axis] + keys[self._axis + 1 :]])
        if not isinstance(of_channels, slice):
            return part
        place = sum(isinstance(one, slice) for one in keys[: self._axis])
        taken = range(1)[of_channels]
        return np.repeat(np.expand_dims(part, place), len(taken), axis=place)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.expand_dims(np.asarray(self.array, dtype=dtype), self._axis)


def label_shape(image: Image) -> tuple[int, ...]:
    """Return the shape of labels of an image: (plane axes, Y, X)."""
    shape = pixels(image).shape
    return tuple(int(shape[axis]) for axis in label_axes(image))


def label_axes(image: Image) -> tuple[int, ...]:
    """Return the axes of an image layer that its labels have."""
    return (*plane_axes(image), image.ndim - 2, image.ndim - 1)


def stand_in(image: Image) -> int | None:
    """Return the axis of a Labels layer that stands for the channels of the image; None: no axis
    is needed, as there are no channels, or they come first.
    """
    axis = channel_axis(image)
    return axis if axis is not None and 0 < axis < image.ndim - 2 else None


def label_placement(image: Image, place: LevelPlace | None = None) -> dict[str, Any]:
    """Return layer arguments that put labels where an image lies.

    Parameters
    ----------
    image
        The image.
    place
        Where the labels lie in it; None: they are of all of it, at level 0.
    """
    axis = stand_in(image)
    own = [at for at in range(len(label_axes(image)) + (axis is not None)) if at != axis]
    result = placement(image, len(own) + (axis is not None))
    scale = np.array(result["scale"], dtype=float)
    factors, first = np.ones(scale.size), np.zeros(scale.size)
    if place is not None:
        factors[own], first[own] = place.factors, place.in_image((0.0,) * len(own))
    if axis is not None:
        count = int(pixels(image).shape[axis])
        factors[axis], first[axis] = count, (count - 1) / 2
    result["translate"] = np.asarray(result["translate"]) + linear_of(result) @ first
    result["scale"] = scale * factors
    return result


def linear_of(place: Mapping[str, Any]) -> npt.NDArray[np.floating[Any]]:
    """Return the matrix of scale, rotation and shear among layer arguments."""
    parts = {name: place[name] for name in ("scale", "rotate", "shear")}
    return np.asarray(Affine(ndim=len(place["scale"]), **parts).linear_matrix)


def with_channels(array: Any, axis: int | None) -> Any:
    """Return labels (plane axes, Y, X) as the array of a layer."""
    if axis is None:
        return array
    # A view: what is written to it is written to the array.
    return (
        np.expand_dims(array, axis) if isinstance(array, np.ndarray) else WithChannels(array, axis)
    )


def array_of(layer: Labels) -> Any:
    """Return the array with all pixels of a Labels layer, (plane axes, Y, X); level 0 if it is a
    pyramid.
    """
    array, axis = raw_array_of(layer), channels_of(layer)
    if axis is None:
        return array
    return array.array if isinstance(array, WithChannels) else array[(slice(None),) * axis + (0,)]


def raw_array_of(layer: Labels) -> Any:
    """Return the array with all pixels of a layer as napari has it; level 0 if it is a pyramid."""
    return layer.data[0] if layer.multiscale else layer.data


def channels_of(layer: Layer) -> int | None:
    """Return the axis of a layer that stands for channels; None if there is none."""
    axis = layer.metadata.get(CHANNEL_AXIS)
    if axis is None or axis >= layer.ndim - 2:
        return None
    # The user may have given it another array.
    return int(axis) if getattr(raw_array_of(layer), "shape", ())[axis : axis + 1] == (1,) else None


def to_pixels(layer: Labels, world: Sequence[float]) -> npt.NDArray[np.floating[Any]]:
    """Return the place in `array_of` of one in the world."""
    return np.asarray(without(layer, layer.world_to_data(world)), dtype=float)


def to_world(layer: Labels, position: Sequence[float]) -> npt.NDArray[np.floating[Any]]:
    """Return the place in the world of one in `array_of`."""
    return np.asarray(layer.data_to_world(within(layer, position, 0.0)), dtype=float)


def without(layer: Labels, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return values for the axes of `array_of` of those for the axes of the layer."""
    axis = channels_of(layer)
    return tuple(value for at, value in enumerate(values) if at != axis)


def within(layer: Labels, values: Sequence[Any], value: Any) -> tuple[Any, ...]:
    """Return values for the axes of the layer of those for the axes of `array_of`, and another one
    for channels.
    """
    axis = channels_of(layer)
    return tuple(values) if axis is None else (*values[:axis], value, *values[axis:])


def show_place(viewer: ViewerModel, layer: Labels, position: Sequence[float]) -> None:
    """Show a place of `array_of` in the middle of the canvas, at the channel that is shown."""
    world, channels = to_world(layer, position), channels_of(layer)
    for axis, value in enumerate(world[:-2]):
        if axis != channels:
            viewer.dims.set_point(axis + viewer.dims.ndim - len(world), float(value))
    # napari 0.9 moved the camera to the scene.
    scene = getattr(viewer, "scene", viewer)
    scene.camera.center = tuple(float(value) for value in world[-2:])
