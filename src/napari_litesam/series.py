"""The images of a folder, one after the other: their labels are written by themselves, and the next
image is read and embedded while the user works on this one. No Qt beside the lanes and a timer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer

from litesam.errors import ImageError, ReadError, WriteError
from litesam.io import ImageData, image_files, read_image, read_labels, stem, write_labels
from litesam.session import Session, write_session
from napari_litesam import embedding
from napari_litesam.image_files import AboutLabels, image_layer
from napari_litesam.jobs import JobContext, Lane
from napari_litesam.label_axes import array_of
from napari_litesam.label_layer import (
    OBJECTS_NAME,
    misfit,
    new_objects_layer,
    objects_layer,
)
from napari_litesam.requests import PlaneRequest, resolve_plane

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Labels

    from litesam.errors import LiteSamError
    from napari_litesam.history import History
    from napari_litesam.requests import Scene
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

#: Labels are written so long after the last change, milliseconds; larger ones only when the user
#: leaves the image, because that takes seconds.
_DELAY_MS = 2000
_LARGEST_AT_ONCE = 64_000_000
#: The next image is read so long after this one came, milliseconds: the first click goes first.
_AHEAD_MS = 1000
#: Folder of the labels, in that of the images.
LABELS_FOLDER = "labels"
#: What says where a layer lies, and what its axes are.
_PLACED = ("scale", "translate", "units", "axis_labels")
_NO_FOLDER = "Open a folder of images first."

FloatArray = npt.NDArray[np.floating[Any]]
LayerT = TypeVar("LayerT", bound=Layer)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the user is in a folder.

    Attributes
    ----------
    folder
        The folder.
    names
        File names of its images.
    labelled
        Which of them have labels in the folder for that.
    at
        Number of the one that is open, from 0.
    """

    folder: str
    names: tuple[str, ...]
    labelled: tuple[bool, ...]
    at: int


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """An image and its labels, from their files."""

    number: int
    image: ImageData
    labels: Any


@dataclass(frozen=True, slots=True, eq=False)
class _Labels:
    """Labels to be written: a worker needs no layer for it."""

    array: Any
    about: AboutLabels
    path: Path
    session: Session


class Series:
    """Goes through the images of a folder.

    Attributes
    ----------
    lane, ahead
        The workers: labels are written and images read; the next image is prepared.
    changed
        Emitted with the `Place` of now.
    told
        A sentence for the user.
    failed
        A `LiteSamError`; what was open is open still.
    """

    changed = Signal(object)
    told = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        pool: SegmenterPool,
        layers: ViewerLayers,
        history: History,
        keeper: SessionKeeper,
        scene: Callable[[], Scene],
    ) -> None:
        self._viewer, self._state, self._pool = viewer, state, pool
        self._layers, self._history, self._keeper = layers, history, keeper
        self._scene = scene
        self.lane, self.ahead = Lane("series"), Lane("next image")
        self._files: list[Path] = []
        self._place: Place | None = None
        self._image: Image | None = None
        self._target: Labels | None = None
        self._written: object = ()
        self._next: tuple[int, Image, Any] | None = None
        self._saving = False
        self._extent: FloatArray | None = None
        self._timers = [QTimer(), QTimer()]
        for timer, delay, call in zip(
            self._timers, (_DELAY_MS, _AHEAD_MS), (self.save, self._prepare), strict=True
        ):
            timer.setSingleShot(True)
            timer.setInterval(delay)
            timer.timeout.connect(call)
        state.objects_changed.connect(self._on_objects)

    @property
    def place(self) -> Place | None:
        """Where the user is; None: no folder is open."""
        return self._place

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        waits = any(timer.isActive() for timer in self._timers)
        return self.lane.idle and self.ahead.idle and not waits

    def reasons(self) -> dict[str, str]:
        """Return why one cannot go on or back, by name of control."""
        place = self._place
        if place is None:
            return dict.fromkeys(("next_image", "previous_image", "images"), _NO_FOLDER)
        found = {}
        if place.at == 0:
            found["previous_image"] = "This is the first image of the folder."
        if place.at == len(place.names) - 1:
            found["next_image"] = "This is the last image of the folder."
        if self._opening:
            found |= dict.fromkeys(("next_image", "previous_image"), "An image is being opened.")
        return found

    def close(self) -> None:
        """Stop. What was not written yet is in the autosave."""
        for timer in self._timers:
            timer.stop()
        self._state.objects_changed.disconnect(self._on_objects)
        self.lane.close()
        self.ahead.close()

    # ------------------------------------------------------------------------------------- intents

    def open_folder(self, folder: str) -> None:
        """Open the first image of a folder that has no labels yet.

        Raises
        ------
        ReadError
            If the folder holds no images.
        """
        files = image_files(folder)
        if not files:
            raise ReadError(
                f"There are no images (TIFF, PNG, JPEG, .npy) in {folder}; choose another folder."
            )
        self.save()
        self.ahead.cancel()
        self._files, self._image, self._target, self._next = files, None, None, None
        labelled = self._labelled()
        first = labelled.index(False) if False in labelled else 0
        self._open(first)

    def go_to(self, number: int) -> None:
        """Write the labels of the image that is open, and open another one."""
        if self._place is not None and 0 <= number < len(self._files) and not self._opening:
            self._open(number)

    def step(self, by: int) -> None:
        """Go on, or back."""
        if self._place is not None:
            self.go_to(self._place.at + by)

    def save(self) -> None:
        """Write the labels of the image that is open, if they changed."""
        wanted = self._to_write()
        if wanted is not None and not self.lane.busy:
            self._saving = True
            self.lane.submit(
                partial(_write, wanted), partial(self._on_written, wanted), self._on_error
            )

    @property
    def _opening(self) -> bool:
        """Whether an image is being opened, and not only labels written."""
        return self.lane.busy and not self._saving

    # -------------------------------------------------------------------------------------- writing

    def _on_objects(self) -> None:
        wanted = self._to_write()
        if wanted is not None and wanted.array.nbytes <= _LARGEST_AT_ONCE:
            self._timers[0].start()

    def _to_write(self) -> _Labels | None:
        """Labels of the image that is open, if they are others than those in the file."""
        image, target, place = self._image, self._labels_layer(), self._place
        session = self._keeper.session(target)
        if image is None or target is None or place is None or session is None:
            return None
        if session.actions == self._written or target not in self._viewer.layers:
            return None
        return _Labels(
            array_of(target), AboutLabels(target, image), self._label_file(place.at), session
        )

    def _labels_layer(self) -> Labels | None:
        """The layer with the objects of the image that is open; the user may have chosen another
        one, or looks at another image now.
        """
        settings = self._state.settings
        if settings.image is self._image:
            self._target = settings.target
        return self._target

    def _on_error(self, error: LiteSamError) -> None:
        self._saving = False
        self.failed.emit(error)

    def _on_written(self, wanted: _Labels, _path: Any) -> None:
        self._saving = False
        self._note(wanted)
        if self._place is not None:
            self._tell(self._place.at)

    def _note(self, wanted: _Labels) -> None:
        """Take note that labels are in their file."""
        self._written = wanted.session.actions
        target = self._labels_layer()
        session = self._keeper.session(target)
        if target is not None and session is not None and session.actions == self._written:
            self._keeper.saved(target)

    # -------------------------------------------------------------------------------------- opening

    def _open(self, number: int) -> None:
        self._timers[0].stop()
        self._saving = False
        wanted, ready = self._to_write(), self._next
        if ready is not None and ready[0] == number and wanted is None:
            self._show(number, ready[1], ready[2])
            return
        known = ready is not None and ready[0] == number
        job = partial(
            _write_and_read,
            wanted,
            None if known else number,
            self._files[number],
            self._label_file(number),
        )
        self.ahead.cancel()
        self.lane.submit(job, partial(self._on_read, number, wanted), self._on_error)

    def _on_read(self, number: int, wanted: _Labels | None, read: _Read | None) -> None:
        if wanted is not None:
            self._note(wanted)
            if self._to_write() is not None:  # the user went on meanwhile
                self._open(number)
                return
        if read is None:
            assert self._next is not None
            self._show(number, self._next[1], self._next[2])
        else:
            self._show(number, image_layer(self._files[number], read.image), read.labels)

    def _show(self, number: int, image: Image, labels: Any) -> None:
        """Put an image and its labels in the place of those that were open."""
        target = None if labels is None else objects_layer(np.asarray(labels), image, OBJECTS_NAME)
        reason = None if target is None else misfit(target, image)
        if reason is not None:
            self.failed.emit(
                ImageError(
                    f"{self._label_file(number)} does not fit {self._files[number].name}: {reason} "
                    "Put that file elsewhere, and open the image again."
                )
            )
            return
        self._history.forget()  # the steps were those of another image
        objects = self._labels_layer()
        self._image = self._put(self._image, image)
        self._state.update(image=self._image, channel=None, level=0, colours=None)
        if target is None and objects in self._viewer.layers:
            target = new_objects_layer(self._image)
        self._target = None if target is None else self._put(objects, target)
        self._state.update(target=self._target)
        self._next, self._written = None, ()
        extent = np.array(self._image.extent.world)
        if self._extent is None or not np.array_equal(extent, self._extent):
            self._extent = extent
            self._viewer.reset_view()
        self._tell(number)
        done = sum(self._place.labelled) if self._place is not None else 0
        self.told.emit(
            f"Image {number + 1} of {len(self._files)}: {self._files[number].name}. "
            f"{done} labelled so far."
        )
        self._timers[1].start()

    def _put(self, old: LayerT | None, new: LayerT) -> LayerT:
        """Show what a new layer holds: in the old one, if that is of the same kind, so that its
        colours and its place in the list stay; else in its stead.
        """
        there = old if old is not None and old in self._viewer.layers else None
        if there is None or not _alike(there, new):
            self._layers.insert(new)
            if there is not None:
                self._viewer.layers.remove(there)
            return new
        there.metadata = dict(new.metadata)
        there.data = new.data
        for name in _PLACED:
            if not np.array_equal(getattr(there, name), getattr(new, name)):
                setattr(there, name, getattr(new, name))
        if isinstance(there, Image):
            there.name = new.name
            there.reset_contrast_limits()
        return cast("LayerT", there)

    def _tell(self, number: int) -> None:
        names = tuple(file.name for file in self._files)
        folder = str(self._files[0].parent)
        self._place = Place(folder, names, tuple(self._labelled()), number)
        self.changed.emit(self._place)

    def _labelled(self) -> list[bool]:
        return [self._label_file(number).is_file() for number in range(len(self._files))]

    def _label_file(self, number: int) -> Path:
        """File of the labels of an image. Where two images differ by their endings alone, their
        labels keep these.
        """
        file = self._files[number]
        alike = Counter(stem(one) for one in self._files)
        name = stem(file) if alike[stem(file)] == 1 else file.name
        return file.parent / LABELS_FOLDER / f"{name}.tif"

    # ---------------------------------------------------------------------------------------- ahead

    def _prepare(self) -> None:
        """Read the next image, and embed its plane where it has one."""
        place = self._place
        if place is None or place.at + 1 >= len(self._files) or self.ahead.busy:
            return
        number = place.at + 1
        self.ahead.submit(
            partial(_write_and_read, None, number, self._files[number], self._label_file(number)),
            self._on_prepared,
            _ignore,
        )

    def _on_prepared(self, read: _Read) -> None:
        if self._place is None or read.number != self._place.at + 1:
            return
        image = image_layer(self._files[read.number], read.image)
        self._next = (read.number, image, read.labels)
        settings = replace(self._state.settings, image=image, channel=None, level=0, colours=None)
        plane = resolve_plane(settings, self._scene())
        if isinstance(plane, PlaneRequest) and not plane.source.planes:
            focus = embedding.Focus()
            self.ahead.submit(
                partial(embedding.embed, self._pool, plane, False, focus, quiet=True),
                _ignore,
                _ignore,
            )


def _alike(old: Layer, new: Layer) -> bool:
    """Whether a layer can show what another one holds."""
    if type(old) is not type(new) or old.multiscale or new.multiscale or old.ndim != new.ndim:
        return False
    return bool(getattr(old, "rgb", False) == getattr(new, "rgb", False))


def _write(wanted: _Labels, _context: JobContext) -> Path:
    """Write labels, and the session beside them; job of the worker."""
    try:
        wanted.path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"The folder {wanted.path.parent} cannot be made: {error.strerror or error}. The "
            "labels are not written; what is open stays open."
        ) from error
    write_session(wanted.path.with_suffix(".session.json"), wanted.session, overwrite=True)
    about = wanted.about
    return write_labels(
        wanted.path, wanted.array, about.file_axes, about.scale, unit=about.unit, overwrite=True
    )


def _write_and_read(
    wanted: _Labels | None, number: int | None, path: Path, labels: Path, context: JobContext
) -> _Read | None:
    """Write labels if there are some, then read an image and its labels (``number`` None: it was
    read already); job of the worker.
    """
    if wanted is not None:
        _write(wanted, context)
    if number is None:
        return None
    image = read_image(path)
    found = np.asarray(read_labels(labels).array) if labels.is_file() else None
    return _Read(number, image, found)


def _ignore(_value: Any) -> None:
    """What was prepared is a convenience: what fails is told when the image is opened."""
