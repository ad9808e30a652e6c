"""The objects of a stack that was labelled, one after the other, the least sure first. No Qt.

Where each lies and how sure the model is of it is the engine's table, which lies beside the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_litesam.image_axes import pixels
from napari_litesam.label_axes import array_of
from napari_litesam.propagation import Confidence
from napari_litesam.requests import NotReady

if TYPE_CHECKING:
    from napari.layers import Image

    from litesam.volume import VolumeObjects
    from napari_litesam.levels import LevelPlace
    from napari_litesam.requests import PlaneRequest
    from napari_litesam.state import PluginState

_NO_OBJECT = "There are no objects in the volume."


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """An object to look at.

    Attributes
    ----------
    number, confidence
        Its id, and the mean confidence of its slices.
    place, of
        Which it is in the order of confidence, from 1, and how many there are.
    layer
        A layer that holds it.
    position
        Its least sure slice and its middle there, pixels of the layer.
    at
        Slice in words: the index along the axes of the stack, in the image.
    corrects
        Whether the layer is the chosen one, where it can be corrected.
    """

    number: int
    confidence: float
    place: int
    of: int
    layer: Labels
    position: tuple[float, ...]
    at: tuple[int, ...]
    corrects: bool


class VolumeReview:
    """Goes through the objects of a stack.

    Attributes
    ----------
    changed
        A `Confidence`: of the object that is looked at along the stack, or, before there is one,
        the mean of all objects in each slice.
    """

    changed = Signal(Confidence)

    def __init__(self, state: PluginState) -> None:
        self._state = state
        self.confidence = Confidence()
        self._objects: VolumeObjects | None = None
        self._image: Image | None = None
        self._disk: Labels | None = None
        self._copy: Labels | None = None
        self._where: LevelPlace | None = None
        self._place = -1
        self._sections: dict[tuple[int, ...], float] | None = None

    # -------------------------------------------------------------------------------------- intents

    def begin(
        self, objects: VolumeObjects, layer: Labels | None, image: Image, where: LevelPlace
    ) -> None:
        """Take up the objects of labels that are complete."""
        self._objects, self._disk, self._image, self._copy = objects, layer, image, None
        self._where = where
        self._place, self._sections = -1, None

    def end(self) -> None:
        """Let go of the objects: their labels are being replaced."""
        self._objects = self._image = self._disk = self._copy = self._sections = None

    def follow_copy(self, layer: Labels) -> None:
        """Take up that the labels are in memory, too, as large as the image."""
        self._copy = layer

    def step(self, step: int) -> Doubt | None:
        """Go to the next object, or back; 0: to the least sure of all. None: there is none."""
        objects = self._objects
        if objects is None:
            return None
        order = objects.worst_first
        place, step = (0, 1) if step == 0 else (self._place + step, step)
        while 0 <= place < len(order):
            number = int(order[place])
            if self._is_there(number):
                self._place = place
                self._sections = objects.sections(number)
                return self._doubt(number)
            place += step
        return None

    def _doubt(self, number: int) -> Doubt:
        objects, copy = self._objects, self._copy
        assert objects is not None
        assert self._where is not None
        row = number - 1
        label_at = (*objects.lowest_at[row].tolist(), *objects.centroids[row, -2:].tolist())
        in_image = self._where.in_image(label_at)
        corrects = copy is not None and self._state.settings.target is copy
        layer = copy if copy is not None else self._disk
        assert layer is not None
        return Doubt(
            number,
            float(objects.confidence[row]),
            self._place + 1,
            len(objects.worst_first),
            layer,
            in_image if layer is copy else label_at,
            tuple(round(at) for at in in_image[:-2]),
            corrects,
        )

    def _is_there(self, number: int) -> bool:
        """Whether nobody has deleted it."""
        if self._copy is None or self._objects is None or self._where is None:
            return True
        array = array_of(self._copy)
        spans = [
            self._where.span(axis, int(first), int(last), length)
            for axis, (first, last, length) in enumerate(
                zip(
                    self._objects.first[number - 1],
                    self._objects.last[number - 1],
                    array.shape,
                    strict=True,
                )
            )
        ]
        region = tuple(slice(span.start, span.stop) for span in spans)
        return bool((np.asarray(array[region]) == number).any())

    # -------------------------------------------------------------------------------------- showing

    def look(self, plane: PlaneRequest | NotReady) -> None:
        """Bring what is shown up to date."""
        confidence = Confidence()
        if not isinstance(plane, NotReady) and plane.index:
            confidence = Confidence(plane.source.planes[-1], plane.index[-1])
            image = self._image
            if (
                self._objects is not None
                and image is not None
                and plane.source.layer is pixels(image)
            ):
                confidence = Confidence(
                    plane.source.planes[-1],
                    plane.index[-1],
                    self._values(plane.index, plane.source.planes),
                )
        if confidence != self.confidence:
            self.confidence = confidence
            self.changed.emit(confidence)

    def _values(
        self, index: tuple[int, ...], planes: tuple[int, ...]
    ) -> tuple[tuple[int, float], ...]:
        """Confidence by slice of the image: of the object looked at, or of all."""
        objects, where = self._objects, self._where
        assert objects is not None
        assert where is not None
        if self._sections is None:
            means = objects.plane_confidence.reshape(objects.shape[:-2])
            values = {
                tuple(at): float(means[tuple(at)]) for at in np.argwhere(~np.isnan(means)).tolist()
            }
        else:
            values = self._sections
        found: dict[int, float] = {}
        for at, value in values.items():
            spans = [
                where.span(axis, place, place, length)
                for axis, (place, length) in enumerate(zip(at, planes, strict=True))
            ]
            if all(here in span for here, span in zip(index[:-1], spans[:-1], strict=True)):
                found |= dict.fromkeys(spans[-1], value)
        return tuple(sorted(found.items()))

    @property
    def active(self) -> bool:
        """Whether there are objects to review, and a layer to show them in."""
        return self._objects is not None

    def reasons(self) -> dict[str, str]:
        """Return the reason by name of each control that cannot be used now."""
        found: dict[str, str] = {}
        if self._objects is None or len(self._objects.worst_first) == 0:
            return dict.fromkeys(("volume_least", "volume_next", "volume_back"), _NO_OBJECT)
        if self._place < 0:
            found["volume_next"] = found["volume_back"] = "Go to the least sure object first."
        elif self._place == 0:
            found["volume_back"] = "This is the least sure object."
        return found

    def note_removed(self, layer: Any) -> None:
        """A layer left the viewer."""
        if layer is self._disk:
            self._disk = None
        if layer is self._copy:
            self._copy = None
        if layer is self._image or (self._disk is None and self._copy is None):
            self._objects = self._image = None
