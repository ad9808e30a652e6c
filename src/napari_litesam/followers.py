"""Layers that lie on an image, and go with it when it gets another scale or place. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import numpy.typing as npt

from napari_litesam.label_axes import label_axes, label_placement, linear_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.layers import Image, Labels, Layer

    from napari_litesam.levels import LevelPlace

    Place = Callable[[Image], Mapping[str, Any] | None]

FloatArray = npt.NDArray[np.floating[Any]]

#: What puts a layer into the world, by the name of its event.
TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine", "units")


class _Follower:
    """A layer, where it is to lie on an image, and its frame there."""

    def __init__(self, layer: Layer, place: Place, frame: FloatArray) -> None:
        self.layer = ref(layer)
        self.place = place
        self.last = frame


class Followers:
    """Moves layers with their images.

    A layer that the user put elsewhere stays where it is.
    """

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Image, list[_Follower]] = WeakKeyDictionary()

    def add_labels(self, image: Image, layer: Labels, where: LevelPlace | None = None) -> None:
        """Let labels go with their image, as long as its axes mean the same.

        ``where``: where they lie in it, see `label_placement`.
        """
        axes = label_axes(image)

        def place(image: Image) -> Mapping[str, Any] | None:
            return label_placement(image, where) if label_axes(image) == axes else None

        self.add(image, layer, place)

    def add(self, image: Image, layer: Layer, place: Place) -> None:
        """Let a layer go with an image, and with no other one any more.

        Parameters
        ----------
        image, layer
            The image, and the layer.
        place
            Layer arguments that put the layer where the image lies, or None: it stays.
        """
        now = place(image)
        assert now is not None
        if image not in self._of:
            self._of[image] = []
            for name in TRANSFORMS:
                getattr(image.events, name).connect(self._on_transform)
        for known in self._of.values():
            known[:] = [one for one in known if one.layer() not in (None, layer)]
        self._of[image].append(_Follower(layer, place, frame_of(now)))

    def close(self) -> None:
        """Move nothing any more."""
        for image in self._of:
            for name in TRANSFORMS:
                getattr(image.events, name).disconnect(self._on_transform)
        self._of = WeakKeyDictionary()

    def _on_transform(self, event: Any) -> None:
        image = event.source
        for one in self._of.get(image, ()):
            layer, place = one.layer(), one.place(image)
            frame = None if place is None else frame_of(place)
            if layer is None or place is None or frame is None or len(frame) != layer.ndim + 1:
                continue
            if np.allclose(frame_of(place_of(layer)), one.last):
                put(layer, place)
            one.last = frame


def put(layer: Layer, place: Mapping[str, Any]) -> None:
    """Put a layer to a place."""
    for name in TRANSFORMS:
        if name in place:
            setattr(layer, name, place[name])


def lies(layer: Layer, place: Mapping[str, Any]) -> bool:
    """Whether a layer lies at a place."""
    frame = frame_of(place)
    return len(frame) == layer.ndim + 1 and np.allclose(frame_of(place_of(layer)), frame)


def frame_of(place: Mapping[str, Any]) -> FloatArray:
    """Return the matrix from pixels to the world of a place."""
    count = len(place["scale"])
    frame = np.eye(count + 1)
    frame[:-1, :-1] = linear_of(place)
    frame[:-1, -1] = place["translate"]
    affine = place["affine"]
    return np.asarray(getattr(affine, "affine_matrix", affine)) @ frame


def place_of(layer: Layer) -> Mapping[str, Any]:
    """Return where a layer lies, as layer arguments."""
    return {name: getattr(layer, name) for name in TRANSFORMS}
