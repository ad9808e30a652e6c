"""Sessions that are not open: work that a crash or a closed window left, and session files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from psygnal import Signal

from litesam.errors import ImageError, SessionError
from litesam.session import (
    Recovered,
    Session,
    find_journals,
    read_session,
    replay,
    sessions_dir,
    write_session,
)
from napari_litesam.image_axes import pixels, plane_axes
from napari_litesam.jobs import JobContext, Lane
from napari_litesam.label_layer import OBJECTS_NAME, fits
from napari_litesam.prompt_layers import placement
from napari_litesam.state import Unsaved

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from litesam.types import LabelArray
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

#: What the user does not want back is deleted for good after so many days.
_DISCARDED_DAYS = 30
_DISCARDED = ".discarded"


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A session that is open in the viewer now: its layers, and what it says."""

    image: Image
    target: Labels
    session: Session


class SessionDesk:
    """Looks for work that can be brought back, and reads and writes session files.

    Attributes
    ----------
    lane
        The worker.
    opened
        A session was opened: `Opened`. Its prompts are the receiver's to restore.
    failed
        It could not be opened: a `LiteSamError`.
    """

    opened = Signal(object)
    failed = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        layers: ViewerLayers,
        keeper: SessionKeeper,
    ) -> None:
        self._viewer = viewer
        self._state = state
        self._layers = layers
        self._keeper = keeper
        self.lane = Lane("session")
        self._found: list[Recovered] = []

    # ------------------------------------------------------------------------------- unsaved work

    def look(self) -> None:
        """Look for unsaved work, in the worker."""
        self.lane.submit(_find, self._on_found, self.failed.emit)

    def show(self) -> None:
        """Tell the panel about the newest unsaved work; what fits an open image comes first."""
        self._found.sort(key=lambda one: self._image_of(one.session) is None)
        if not self._found:
            self._state.offer_unsaved(None)
            return
        first = self._found[0]
        self._state.offer_unsaved(
            Unsaved(_text(first), len(self._found) - 1, self._why_not(first.session))
        )

    def bring_back(self) -> None:
        """Open what `show` tells about."""
        if not self._found:
            return
        first = self._found[0]
        image = self._image_of(first.session)
        path = first.session.image.path
        if image is None and path is not None:
            self._viewer.open(path)
            image = self._image_of(first.session)
        if image is None:
            self.failed.emit(SessionError(self._why_not(first.session) or _NO_FIT))
            return
        self.lane.submit(
            partial(_labels_of, first, pixels(image)),
            partial(self._on_recovered, image, first),
            self.failed.emit,
        )

    def put_off(self) -> None:
        """Do not ask again before the next start; the work stays on the disk."""
        self._found = []
        self.show()

    def throw_away(self) -> None:
        """The user does not want the work; it is deleted after a month."""
        if self._found:
            path = self._found.pop(0).path
            path.replace(path.with_name(path.name + _DISCARDED))
        self.show()

    # -------------------------------------------------------------------------------------- files

    def save(self, path: str | Path) -> Path:
        """Write the session of the chosen Labels layer as a file.

        Raises
        ------
        LiteSamError
            If there is none, or the disk refuses.
        """
        session = self._keeper.session(self._state.settings.target)
        if session is None:
            raise SessionError("There is nothing to save yet; commit an object first.")
        target = Path(path)
        return write_session(target, session, overwrite=True)

    def open(self, path: str | Path) -> None:
        """Read a session file and do all of it again, in the worker.

        Raises
        ------
        LiteSamError
            If it is no session, or its image is not there.
        """
        source = Path(path)
        session = read_session(source)
        image = self._image_of(session)
        named = session.image.path
        if image is None and named is not None:
            for place in (source.parent / named, source.parent / Path(named).name):
                if place.exists():
                    self._viewer.open(str(place))
                    image = self._image_of(session)
                    break
        if image is None:
            raise SessionError(self._why_not(session) or _NO_FIT)
        self.lane.submit(
            partial(_replayed, session, pixels(image), source.parent),
            partial(self._on_replayed, image),
            self.failed.emit,
        )

    # ------------------------------------------------------------------------------------- in parts

    def _on_found(self, found: list[Recovered]) -> None:
        self._found = found
        self.show()

    def _on_recovered(self, image: Image, recovered: Recovered, labels: LabelArray) -> None:
        target = self._add(image, recovered.session, labels)
        self._keeper.adopt(target, recovered)
        self._found = [one for one in self._found if one is not recovered]
        self.show()
        self.opened.emit(Opened(image, target, recovered.session))

    def _on_replayed(self, image: Image, reply: tuple[Session, LabelArray]) -> None:
        session, labels = reply
        target = self._add(image, session, labels)
        self._keeper.take(target, image, session)
        self.opened.emit(Opened(image, target, session))

    def _add(self, image: Image, session: Session, labels: LabelArray) -> Labels:
        """Add the layer of a session and choose it."""
        channel = session.image.channel
        target = Labels(
            labels,
            name=str(session.settings.get("labels", OBJECTS_NAME)),
            opacity=0.6,
            **placement(image, labels.ndim),
        )
        if not fits(target, image, plane_axes(image)):
            raise ImageError(f"The session's labels, {labels.shape}, do not fit {image.name!r}.")
        self._layers.insert(target)
        self._state.update(image=image, channel=channel)
        self._state.update(target=target)
        return target

    def _image_of(self, session: Session) -> Image | None:
        """The open image that a session belongs to."""
        about = session.image
        fitting = [
            layer
            for layer in self._layers.images()
            if tuple(pixels(layer).shape) == about.shape and str(pixels(layer).dtype) == about.dtype
        ]
        for layer in fitting:
            if about.path is not None and str(getattr(layer.source, "path", None)) == about.path:
                return layer
        name = session.settings.get("image")
        named = [layer for layer in fitting if layer.name == name or about.path is None]
        return next((one for one in named if one.name == name), None)

    def _why_not(self, session: Session) -> str:
        """Why a session cannot be opened now; "" if it can."""
        if self._image_of(session) is not None:
            return ""
        path = session.image.path
        if path is not None and Path(path).exists():
            return ""
        name = session.settings.get("image", "its image")
        shape = " × ".join(map(str, session.image.shape))
        where = "" if path is None else f", which is not at {path} any more"
        return f"Open the image first: {name!r}, {shape} {session.image.dtype}{where}."


_NO_FIT = "The image of the session is another one now; open the one that was annotated."


def _find(_context: JobContext) -> list[Recovered]:
    """Journals of sessions in which something was done, the newest first; job of the worker."""
    folder = sessions_dir()
    if not folder.is_dir():
        return []
    old = datetime.now().timestamp() - _DISCARDED_DAYS * 86_400
    for path in folder.glob(f"*{_DISCARDED}"):
        if path.stat().st_mtime < old:
            path.unlink(missing_ok=True)
    return [one for one in find_journals(folder) if one.session.actions or one.session.drafts]


def _labels_of(recovered: Recovered, data: Any, context: JobContext) -> LabelArray:
    """Labels of a journal; job of the worker."""
    labels = recovered.labels()
    return _replayed(recovered.session, data, None, context)[1] if labels is None else labels


def _replayed(
    session: Session, data: Any, folder: Path | None, context: JobContext
) -> tuple[Session, LabelArray]:
    """A session and its labels, all actions done again; job of the worker."""
    done = replay(
        session,
        data,
        folder=folder,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
    return session, done.labels


def _text(recovered: Recovered) -> str:
    """What can be brought back, for people."""
    session = recovered.session
    name = session.settings.get("image") or Path(session.image.path or "an image").name
    when = datetime.fromtimestamp(recovered.saved)
    day = "today" if when.date() == datetime.now().date() else f"{when:%d %b %Y}"
    objects, drafts = len(session.objects()), len(session.drafts)
    parts = [f"{objects} object(s)"] if objects or not drafts else []
    if drafts:
        parts.append("prompts that were not committed")
    return f"Unsaved work on {name}, {day} {when:%H:%M}: {' and '.join(parts)}."
