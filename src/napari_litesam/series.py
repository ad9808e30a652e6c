"""The images of a folder, one after the other: their labels are written by themselves, and the next
image is read and embedded while the user works on this one. No Qt beside the lanes and two timers.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from psygnal import Signal
from qtpy.QtCore import QTimer

from litesam.errors import ImageError, LiteSamError, ReadError
from napari_litesam import embedding
from napari_litesam.image_axes import axes_letters
from napari_litesam.image_files import AboutLabels, image_layer
from napari_litesam.jobs import Lane
from napari_litesam.label_axes import array_of, label_axes, label_shape
from napari_litesam.label_layer import misfit
from napari_litesam.requests import PlaneRequest, resolve_plane
from napari_litesam.series_files import (
    LabelFile,
    Read,
    SeriesFiles,
    Wanted,
    digest_of,
    holds,
    laid_out,
    read_one,
    write_and_read,
    write_changed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_litesam.requests import Scene
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.session_desk import Opened
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

#: Labels are written so long after the last change, milliseconds; larger ones only when the user
#: leaves the image, because that takes seconds.
_DELAY_MS = 2000
_LARGEST_AT_ONCE = 64_000_000
#: … or closes napari; what is larger is brought back at the next start.
_LARGEST_AT_THE_END = 1_000_000_000
#: The next image is read so long after this one came, milliseconds: the first click goes first.
_AHEAD_MS = 1000
_NO_FOLDER = "Open a folder of images first."
#: What the next image takes over of how this one is shown; colours unless they are its own.
_LOOK, _COLOURS = ("opacity", "blending"), ("colormap", "gamma")

FloatArray = npt.NDArray[np.floating[Any]]


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
class _Trial:
    """An image that is to be opened, how many may be tried from it on, which were before it and
    why they could not be, and what was prepared of it.
    """

    files: SeriesFiles
    number: int
    search: int
    skipped: tuple[str, ...]
    ready: tuple[Read, Image] | None


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
        keeper: SessionKeeper,
        scene: Callable[[], Scene],
        may_leave: Callable[[], bool],
    ) -> None:
        self._viewer, self._state, self._pool = viewer, state, pool
        self._layers, self._keeper = layers, keeper
        self._scene, self._may_leave = scene, may_leave
        self.lane, self.ahead = Lane("series"), Lane("next image")
        self._files: SeriesFiles | None = None
        self._at = 0
        self._image: Image | None = None
        self._target: Labels | None = None
        self._file: LabelFile | None = None
        self._next: tuple[Read, Image] | None = None
        self._changed = self._opening = False
        self._extent: FloatArray | None = None
        self._timers = [QTimer(), QTimer()]
        for timer, delay, call in zip(
            self._timers, (_DELAY_MS, _AHEAD_MS), (self._save, self._prepare), strict=True
        ):
            timer.setSingleShot(True)
            timer.setInterval(delay)
            timer.timeout.connect(call)
        self.lane.broken.connect(self._on_broken)
        self._signals = (state.objects_changed, layers.painted, layers.replaced)
        for signal in self._signals:
            signal.connect(self._on_objects)

    @property
    def image(self) -> Image | None:
        """The image of the folder that is open."""
        return self._image

    @property
    def place(self) -> Place | None:
        """Where the user is; None: no folder is open."""
        files = self._files
        if files is None:
            return None
        names = tuple(file.name for file in files.images)
        return Place(str(files.folder), names, tuple(files.labelled), self._at)

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        waits = any(timer.isActive() for timer in self._timers)
        return self.lane.idle and self.ahead.idle and not waits

    def reasons(self) -> dict[str, str]:
        """Return why one cannot go on or back, by name of control."""
        if self._files is None:
            return dict.fromkeys(("next_image", "previous_image", "images"), _NO_FOLDER)
        found = {}
        if self._at == 0:
            found["previous_image"] = "This is the first image of the folder."
        if self._at == len(self._files.images) - 1:
            found["next_image"] = "This is the last image of the folder."
        if self._opening:
            found |= dict.fromkeys(("next_image", "previous_image"), "An image is being opened.")
        return found

    def close(self) -> None:
        """Write what was not written yet, and stop."""
        for timer in self._timers:
            timer.stop()
        wanted = self._wanted() if self._changed or not self.lane.idle else None
        if wanted is not None and wanted.array.nbytes <= _LARGEST_AT_THE_END:
            with suppress(LiteSamError):  # there is nobody to tell; the autosave has it
                write_changed(wanted)
                self._note(wanted)
        for signal in self._signals:
            signal.disconnect(self._on_objects)
        self.lane.close()
        self.ahead.close()

    # ------------------------------------------------------------------------------------- intents

    def open_folder(self, folder: str) -> None:
        """Open the first image of a folder that has no labels yet; damaged ones are passed over.

        Raises
        ------
        ReadError
            If the folder holds no images.
        """
        if self._opening:
            return
        files = SeriesFiles(folder)
        first = files.labelled.index(False) if False in files.labelled else 0
        self._open(files, first, search=len(files.images))

    def go_to(self, number: int) -> None:
        """Write the labels of the image that is open, and open another one."""
        files = self._files
        if files is not None and 0 <= number < len(files.images) and not self._opening:
            self._open(files, number)

    def step(self, by: int) -> None:
        """Go on, or back."""
        self.go_to(self._at + by)

    def follow(self, opened: Opened) -> None:
        """A session of some image was opened, which brought a layer of its own: if it is the image
        of the folder, that layer's labels are in the file from now on.
        """
        if opened.image is not self._image or opened.target is self._target:
            return
        old = self._target
        self._take(opened.target)
        self._layers.made.add(opened.target)
        if old is not None and old in self._viewer.layers:
            if self._file is not None and holds(array_of(opened.target), array_of(old)):
                self._file.others = False
            if old in self._layers.made:
                name = old.name
                self._viewer.layers.remove(old)
                opened.target.name = name
        self._on_objects()

    # -------------------------------------------------------------------------------------- writing

    def _on_objects(self, *_about: Any) -> None:
        """Something was done to some labels; what is to be written shows in a moment."""
        if self._files is not None:
            self._labels_layer()
            self._changed = True
            self._timers[0].start()

    def _save(self) -> None:
        """Write the labels of the image that is open, if they changed."""
        wanted = self._wanted()
        if wanted is None or wanted.array.nbytes > _LARGEST_AT_ONCE:
            return
        if self.lane.busy:
            self._timers[0].start()
            return
        self._changed = False
        self.lane.submit(
            partial(write_changed, wanted), partial(self._on_written, wanted), self._on_error
        )

    def _wanted(self) -> Wanted | None:
        """Labels of the image that is open, as they are to be in their file."""
        image, target, file = self._image, self._labels_layer(), self._file
        if image is None or target is None or file is None:
            return None
        about = AboutLabels(target, image)
        return Wanted(array_of(target), about, file, self._keeper.session(target))

    def _labels_layer(self) -> Labels | None:
        """The layer whose objects are in the file: the first that is chosen for the image. Others
        that are chosen later are the user's to save; they stay in the window.
        """
        settings, layers, image = self._state.settings, self._viewer.layers, self._image
        target = self._target
        if target is not None and (
            target not in layers or (image is not None and misfit(target, image) is not None)
        ):
            self._take(None)
        if self._target is None and image is not None and settings.image is image:
            self._take(settings.target)
        return self._target

    def _take(self, target: Labels | None) -> None:
        """Another layer, or none, is the one of the file: what that holds of the one before is kept
        under another name when it is written again.
        """
        if self._target is not None and self._file is not None:
            self._file.others = self._file.digest is not None
        self._target = target

    def _on_written(self, wanted: Wanted, _none: None) -> None:
        self._note(wanted)
        self.changed.emit(self.place)

    def _note(self, wanted: Wanted) -> None:
        """Take note that labels are in their file."""
        files, file = self._files, wanted.file
        if files is not None and file is self._file:
            files.labelled[self._at] = file.digest is not None
            files.labels[self._at] = file.path
        if file.kept is not None:
            self.told.emit(
                f"The labels that {file.path.name} held before are kept in {file.kept.name}: the "
                "layer that they were in was removed, or another one took its place."
            )
            file.kept = None
        target, session = self._labels_layer(), wanted.session
        if target is not None and session is not None and not session.drafts:
            now = self._keeper.session(target)
            if now is not None and now.actions == session.actions:
                self._keeper.saved(target)

    # -------------------------------------------------------------------------------------- opening

    def _open(
        self, files: SeriesFiles, number: int, *, search: int = 1, skipped: tuple[str, ...] = ()
    ) -> None:
        """Open an image; ``search``: try so many until one can be opened, after ``skipped``."""
        for timer in self._timers:
            timer.stop()
        wanted, ready = self._wanted(), self._next
        if ready is not None and (files is not self._files or ready[0].number != number):
            ready = None
        self._changed, self._opening = False, True
        self.ahead.cancel()
        read = None if ready is None else ready[0]
        trial = _Trial(files, number, search, skipped, ready)
        self.lane.submit(
            partial(write_and_read, wanted, files, number, read, search),
            partial(self._on_read, trial, wanted, self._labels_layer()),
            self._on_error,
        )

    def _on_error(self, error: LiteSamError) -> None:
        self._on_broken()
        self.failed.emit(error)

    def _on_broken(self, _error: object = None) -> None:
        """What was to be written may not be; the user can go on."""
        self._opening, self._changed = False, True

    def _on_read(
        self,
        trial: _Trial,
        wanted: Wanted | None,
        left: Labels | None,
        read: Read | ReadError,
    ) -> None:
        """Go on to an image that was read; ``left``: the layer whose labels were written."""
        self._opening = False
        files, ready = trial.files, trial.ready
        if wanted is not None:
            self._note(wanted)
        if isinstance(read, ReadError):
            self._refuse(read)
            return
        search, skipped = trial.search - len(read.skipped), (*trial.skipped, *read.skipped)
        if not self._may_leave():  # prompts were set meanwhile
            return
        if self._changed or self._labels_layer() is not left:
            self._open(files, read.number, search=search, skipped=skipped)
            return
        try:
            image = self._layer_of(files, read, ready)
            read = _laid_on(image, read)
            target = self._objects_of(files, read, image)
        except LiteSamError as error:
            if search > 1:
                skipped = (*skipped, f"{files.images[read.number].name}: {error}")
                following = (read.number + 1) % len(files.images)
                self._open(files, following, search=search - 1, skipped=skipped)
            else:
                self._refuse(error)
            return
        self._show(image, target, left)
        self._files, self._at, self._next = files, read.number, None
        self._file = LabelFile(files.labels[read.number], read.digest, read.stamp)
        self.changed.emit(self.place)
        name, count = files.images[read.number].name, len(files.images)
        passed = "".join(f" Passed over {one}" for one in skipped)
        self.told.emit(
            f"Image {read.number + 1} of {count}: {name}. {sum(files.labelled)} labelled so far."
            + passed
        )
        self._timers[1].start()

    def _refuse(self, error: LiteSamError) -> None:
        """Tell why an image cannot be opened, and what can be done where the user has one."""
        if self._files is not None:
            error = type(error)(f"{error} Or choose another image in the list of the folder.")
        self.failed.emit(error)

    def _layer_of(
        self, files: SeriesFiles, read: Read, ready: tuple[Read, Image] | None = None
    ) -> Image:
        """A layer of an image that was read, the one that is ready if it is of the same. Where its
        file does not name its axes they are those of the image that is open.
        """
        if ready is not None and read.image is ready[0].image:
            image = ready[1]
        else:
            image = image_layer(files.images[read.number], read.image)
        old = self._image
        same = old is not None and (old.ndim, old.rgb) == (image.ndim, image.rgb)
        if old is not None and same and read.image.axes is None:
            image.axis_labels = old.axis_labels
        return image

    def _objects_of(self, files: SeriesFiles, read: Read, image: Image) -> Labels | None:
        """A layer of the labels that were read; None if there are none."""
        if read.labels is None:
            return None
        wanted, there = label_shape(image), tuple(read.labels.shape)
        reason = f"Its size is {there}, but objects of the image need {wanted}."
        target = None
        if there == wanted:
            target = self._layers.objects_of(read.labels, image)
            reason = misfit(target, image) or ""
        if reason:
            raise ImageError(
                f"{files.labels[read.number]} does not fit {files.images[read.number].name}: "
                f"{reason} Put that file elsewhere, and open the image again."
            )
        return target

    def _show(self, image: Image, target: Labels | None, left: Labels | None) -> None:
        """Put an image and its labels in the place of those that were open; layers of the user's
        own stay.
        """
        old = self._image
        if old is not None:
            for name in (*_LOOK, *(() if old.rgb or image.rgb else _COLOURS)):
                setattr(image, name, getattr(old, name))
        self._layers.insert(image)
        self._state.update(image=image, channel=None, level=0, colours=None)
        if target is not None:
            self._layers.insert(target)
            self._state.update(target=target)
        self._image, self._target = image, target
        for layer in (old, left):
            own = layer is old or layer in self._layers.made
            if layer is not None and own and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        extent = np.array(image.extent.world)
        if self._extent is None or not np.array_equal(extent, self._extent):
            self._extent = extent
            self._viewer.reset_view()

    # ---------------------------------------------------------------------------------------- ahead

    def _prepare(self) -> None:
        """Read the next image, and embed its plane where it has one."""
        files = self._files
        if files is not None and self._at + 1 < len(files.images) and not self.ahead.busy:
            self.ahead.submit(
                partial(read_one, files, self._at + 1, None),
                partial(self._on_prepared, files),
                _ignore,
            )

    def _on_prepared(self, files: SeriesFiles, read: Read) -> None:
        if files is not self._files or read.number != self._at + 1:
            return
        try:
            image = self._layer_of(files, read)
        except LiteSamError:
            return  # told when the image is opened
        self._next = (read, image)
        settings = replace(self._state.settings, image=image, channel=None, level=0, colours=None)
        plane = resolve_plane(settings, self._scene())
        if isinstance(plane, PlaneRequest) and not plane.source.planes:
            focus = embedding.Focus()
            self.ahead.submit(
                partial(embedding.embed, self._pool, plane, False, focus, quiet=True),
                _ignore,
                _ignore,
            )


def _laid_on(image: Image, read: Read) -> Read:
    """Return what was read with the labels in the axes of the image."""
    if read.labels is None:
        return read
    letters = axes_letters(image)
    axes = "".join(letters[axis] for axis in label_axes(image))
    labels = laid_out(read.labels, read.axes, axes, label_shape(image))
    if labels is read.labels:
        return read
    return replace(read, labels=labels, digest=digest_of(labels))


def _ignore(_value: Any) -> None:
    """What was prepared is a convenience: what fails is told when the image is opened."""
