"""Labels of a volume that are complete: shown on the disk, reviewed, copied into memory. No Qt.

They come from a job of this panel, or were there before: written by an earlier window or by the
command, opened with a button or in the viewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from napari_litesam.jobs import Lane
from napari_litesam.label_axes import array_of, label_shape
from napari_litesam.label_layer import (
    LIVE,
    ON_DISK,
    lay,
    lay_as,
    new_disk_layer,
    new_objects_layer,
    new_tracks_layer,
)
from napari_litesam.levels import LevelPlace
from napari_litesam.prompt_layers import placement
from napari_litesam.volume_open import OpenedLabels, open_labels, place_in
from napari_litesam.volume_review import VolumeReview

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Tracks as TracksLayer

    from litesam.errors import LiteSamError
    from litesam.volume import Tracks, VolumeObjects
    from napari_litesam.reports import Reporter
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

#: Labels of up to this size can be copied into memory.
_LARGEST_COPY_BYTES = 4_000_000_000
_NO_IMAGE = "There is no image: open the one that the labels are of."
_NO_LABELS = "There are no complete labels of a volume yet: label one, or open labels."
_NOT_YET = (
    "The objects of the volume are known when all of its slices are labelled and linked. Until "
    "then the layer shows the objects of each slice by itself."
)
_REVIEW = ("volume_least", "volume_next", "volume_back")


@dataclass(frozen=True, slots=True, eq=False)
class Complete:
    """Labels that are complete, and are shown.

    Attributes
    ----------
    image, layer
        The image, and the layer over it that shows the labels on the disk.
    place
        Where they lie in the image.
    path
        Where they lie on the disk.
    """

    image: Image
    layer: Labels
    place: LevelPlace
    path: str


class CompleteLabels:
    """The complete labels of one volume.

    Attributes
    ----------
    opener
        The worker that opens labels that are there.
    review
        Their objects, the least sure first.
    done
        A sentence about what was done.
    failed
        A `LiteSamError`.
    """

    done = Signal(str)
    failed = Signal(object)

    def __init__(self, state: PluginState, layers: ViewerLayers, reporter: Reporter) -> None:
        self._state = state
        self._layers = layers
        self._reporter = reporter
        self.opener = Lane("volume-open")
        self.review = VolumeReview(state)
        self._now: Complete | None = None
        self._tracks: TracksLayer | None = None
        #: Layers on the disk that need no look: with which image they were tried in vain, or None.
        self._seen: WeakKeyDictionary[Labels, ref[Image] | None] = WeakKeyDictionary()

    # -------------------------------------------------------------------------------------- intents

    def open(self, path: str) -> None:
        """Show labels that were written before, and take up their objects, in a worker.

        Parameters
        ----------
        path
            The folder of labels, which `litesam.label_volume` has written.
        """
        image = self._state.settings.image
        if image is None:
            self._reporter.refuse(_NO_IMAGE)
            return
        here = [layer for layer in self._settled() if layer.metadata[ON_DISK] == path]
        self._open(path, image, here[-1] if here else None, self.failed.emit)

    def copy(self) -> None:
        """Bring the labels on the disk into memory, where they can be corrected."""
        now, reason = self._now, self.copy_reason(running=False)
        if now is None or reason is not None:
            self._reporter.refuse(reason or _NO_LABELS)
            return
        target = new_objects_layer(now.image)
        target.name = f"{Path(now.path).name} (copy)"
        labels = np.asarray(array_of(now.layer))
        lay(labels, array_of(target), now.place)
        now.layer.visible = False
        self._layers.insert(target)
        self.review.follow_copy(target)
        self._state.update(target=target)
        text = f"{target.name!r} is in memory: correct it as any other objects."
        self.done.emit(text)

    # -------------------------------------------------------------------------------------- showing

    def begin(self, complete: Complete, objects: VolumeObjects, tracks: Tracks | None) -> None:
        """Take up labels that are shown now."""
        self._now = complete
        self._seen[complete.layer] = None
        self._show_tracks(tracks, complete)
        self.review.begin(objects, complete.layer, complete.image, complete.place)

    def let_go(self, path: str) -> None:
        """Forget the labels at a place, which are being replaced."""
        if self._now is not None and self._now.path == path:
            self._now = None
            self.review.end()

    def look(self) -> None:
        """Take up labels that the user opened in the viewer; of several the newest."""
        image = self._state.settings.image
        if image is None or not self.opener.idle:
            return
        for layer in self._settled():
            tried = self._seen.get(layer, _never)
            if tried is not None and tried() is not image:
                self._seen[layer] = ref(image)
                self._open(layer.metadata[ON_DISK], image, layer, lambda _: None)
                return

    def _settled(self) -> list[Labels]:
        """Layers of labels on the disk that no job is writing."""
        return [one for one in self._layers.on_disk() if LIVE not in one.metadata]

    def reasons(self, *, running: bool) -> dict[str, str]:
        """Return the reason by name of each control that cannot be used now.

        ``running``: a volume is being labelled.
        """
        found: dict[str, str] = {}
        copy = self.copy_reason(running=running)
        if copy is not None:
            found["volume_copy"] = copy
        if self._state.settings.image is None:
            found["volume_open"] = _NO_IMAGE
        elif self.opener.busy:
            found["volume_open"] = "Labels are being opened."
        if self.review.active:
            return found | self.review.reasons()
        return found | dict.fromkeys(_REVIEW, _NOT_YET if running else _NO_LABELS)

    def copy_reason(self, *, running: bool) -> str | None:
        """Why there can be no copy."""
        if self._now is None:
            return _NOT_YET if running else _NO_LABELS
        if 4 * math.prod(label_shape(self._now.image)) > _LARGEST_COPY_BYTES:
            return "The volume is too large for the memory."
        return None

    def note_removed(self, layer: Any) -> None:
        """A layer left the viewer; its labels stay on the disk."""
        self.review.note_removed(layer)
        now = self._now
        if now is not None and layer in (now.image, now.layer):
            if layer is now.image:
                self._seen.pop(now.layer, None)  # it may fit an image that is opened later
            self._now = None
        if layer is self._tracks:
            self._tracks = None

    def close(self) -> None:
        """Take nothing up any more."""
        self.opener.close()

    # -------------------------------------------------------------------------------------- replies

    def _open(
        self,
        path: str,
        image: Image,
        layer: Labels | None,
        on_error: Callable[[LiteSamError], None],
    ) -> None:
        """Open labels in the worker; ``layer`` shows them already, or they get one."""
        self.opener.submit(
            partial(open_labels, path),
            lambda opened: self._on_opened(opened, image, layer),
            on_error,
        )

    def _on_opened(self, opened: OpenedLabels, image: Image, layer: Labels | None) -> None:
        """Show labels that were there over the image, if they fit."""
        if image not in self._layers.images():
            return
        name, place = Path(opened.path).name, place_in(image, opened)
        if place is None:
            self._reporter.refuse(
                f"{name} does not fit {image.name!r}: its labels have the axes "
                f"{opened.objects.axes} and the shape {opened.objects.shape}. Choose the image "
                "that they are of."
            )
            return
        made = new_disk_layer(image, opened.levels, place, opened.path)
        if layer is None or layer not in self._layers.on_disk():
            layer = made
            self._seen[layer] = None
            self._layers.insert(layer)
        else:
            lay_as(layer, made)
            layer.editable, layer.visible = False, True
        self._layers.followers.add_labels(image, layer, place)
        complete = Complete(image, layer, place, opened.path)
        self.begin(complete, opened.objects, opened.tracks)
        count = len(opened.objects.worst_first)
        self.done.emit(f"{name} is open: {count} objects. Worst object begins their review.")

    def _show_tracks(self, tracks: Tracks | None, complete: Complete) -> None:
        """Show where each object is at each time; those of other labels are hidden."""
        if self._tracks is not None:
            self._tracks.visible = False
            self._tracks = None
        if tracks is None or len(tracks.data) == 0 or complete.image not in self._layers.images():
            return
        layer = self._tracks = new_tracks_layer(
            complete.image, tracks, complete.place, complete.path
        )
        self._layers.insert(layer)
        self._layers.followers.add(complete.image, layer, partial(placement, ndim=layer.ndim))


def _never() -> None:
    """No image was tried yet."""
