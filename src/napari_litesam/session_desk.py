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
    named_from,
    read_session,
    remove_copy,
    replay,
    sessions_dir,
    take_copies_along,
    write_session,
)
from napari_litesam.candidates import Candidates
from napari_litesam.contrast import contrast_of
from napari_litesam.jobs import JobContext, Lane
from napari_litesam.label_axes import label_shape
from napari_litesam.label_layer import OBJECTS_NAME, objects_layer
from napari_litesam.session_images import (
    LABELS,
    LEVEL,
    REVIEW,
    WORDS,
    Annotated,
    LayerNames,
    find_layers,
    is_begun,
    missing_files,
    no_fit,
    why_not_open,
)
from napari_litesam.session_keeper import copy_path
from napari_litesam.state import Unsaved
from napari_litesam.stored_review import candidates_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from litesam.types import LabelArray
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

    #: A session, its labels, and the candidates that were under review.
    _Reply = tuple[Session, LabelArray, Candidates | None]

#: What the user does not want back is deleted for good after so many days.
_DISCARDED_DAYS = 30
_DISCARDED = ".discarded"


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A session that is open in the viewer now: its layers, what it says, and the candidates of
    everything mode that were under review.
    """

    image: Image
    target: Labels
    session: Session
    candidates: Candidates | None


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
        self._names = LayerNames()

    # ------------------------------------------------------------------------------- unsaved work

    def look(self) -> None:
        """Look for unsaved work, in the worker."""
        self.lane.submit(_find, self._on_found, self.failed.emit)

    def show(self) -> None:
        """Tell the panel about the newest unsaved work; what fits an open image comes first."""
        for old, new in self._names.look(self._viewer.layers):
            self._keeper.rename(old, new)
        images = self._layers.images()
        self._found.sort(key=lambda one: find_layers(one.session, images, self._names) is None)
        if not self._found:
            self._state.offer_unsaved(None)
            return
        first = self._found[0]
        self._state.offer_unsaved(
            Unsaved(
                _text(first), len(self._found) - 1, why_not_open(first.session, images, self._names)
            )
        )

    def bring_back(self) -> None:
        """Open what `show` tells about."""
        if not self._found:
            return
        first = self._found[0]
        kept = first.without_missing()
        found = self._layers_of(first.session, Path())
        if found is None:
            self.failed.emit(self._no_fit(first.session))
            return
        self.lane.submit(
            partial(_recovered, kept, found.data),
            partial(self._on_recovered, found, kept),
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
        session = take_copies_along(session, sessions_dir(), target)
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
        found = self._layers_of(session, source.parent)
        if found is None:
            raise self._no_fit(session)
        session = named_from(session, source.parent)
        self.lane.submit(
            partial(_replayed, session, found.data, source.parent),
            partial(self._on_replayed, found),
            self.failed.emit,
        )

    # ------------------------------------------------------------------------------------- in parts

    def _on_found(self, found: list[Recovered]) -> None:
        self._found = found
        self.show()

    def _on_recovered(self, found: Annotated, recovered: Recovered, reply: _Reply) -> None:
        session, labels, candidates = reply
        target = self._add(found, session, labels)
        self._keeper.adopt(target, found, recovered)
        self._found = [one for one in self._found if one.path != recovered.path]
        self.show()
        self.opened.emit(Opened(found.image, target, session, candidates))

    def _on_replayed(self, found: Annotated, reply: _Reply) -> None:
        session, labels, candidates = reply
        target = self._add(found, session, labels)
        self._keeper.take(target, found, session)
        self.opened.emit(Opened(found.image, target, session, candidates))

    def _add(self, found: Annotated, session: Session, labels: LabelArray) -> Labels:
        """Add the layer of a session and choose it."""
        image = found.image
        channel = session.image.channel
        name = str(session.settings.get(LABELS, OBJECTS_NAME))
        if labels.shape != label_shape(image):
            raise ImageError(f"The session's labels, {labels.shape}, do not fit {image.name!r}.")
        target = objects_layer(labels, image, name)
        self._layers.insert(target)
        self._state.update(image=image, channel=channel, colours=found.colours)
        self._state.update(target=target, **_seen(found, session))
        return target

    def _layers_of(self, session: Session, folder: Path) -> Annotated | None:
        """The layers that a session belongs to; files that are not open are opened, by their path
        or from the folder of the session.
        """
        found = find_layers(session, self._layers.images(), self._names)
        if found is None:
            for path in list(missing_files(session, self._layers.images(), self._names)):
                for place in (folder / path, folder / Path(path).name):
                    if place.exists():
                        self._viewer.open(str(place))
                        break
            found = find_layers(session, self._layers.images(), self._names)
        return found

    def _no_fit(self, session: Session) -> SessionError:
        return SessionError(no_fit(session, self._layers.images(), self._names))


def _find(_context: JobContext) -> list[Recovered]:
    """Journals of sessions in which something was done, the newest first; job of the worker."""
    folder = sessions_dir()
    if not folder.is_dir():
        return []
    old = datetime.now().timestamp() - _DISCARDED_DAYS * 86_400
    for path in folder.glob(f"*{_DISCARDED}"):
        if path.stat().st_mtime < old:
            path.unlink(missing_ok=True)
            remove_copy(copy_path(path.with_name(path.name.removesuffix(_DISCARDED))))
    return [one for one in find_journals(folder) if one.session.actions or is_begun(one.session)]


def _recovered(recovered: Recovered, data: Any, context: JobContext) -> _Reply:
    """What a journal holds; job of the worker."""
    labels, session = recovered.labels(), recovered.session
    if labels is not None:
        return session, labels, candidates_of(session)
    return _replayed(session, data, recovered.path.parent, context)


def _replayed(session: Session, data: Any, folder: Path | None, context: JobContext) -> _Reply:
    """What a session holds, all actions done again; job of the worker."""
    done = replay(
        session,
        data,
        folder=folder,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
    return session, done.labels, candidates_of(session)


def _seen(found: Annotated, session: Session) -> dict[str, Any]:
    """Return how the image of a session was looked at: contrast and level, as settings.

    Where the contrast is that of the layers, these get theirs.
    """
    settings: dict[str, Any] = {"level": session.settings.get(LEVEL, 0)}
    about, layers = [session.image], [found.image]
    if found.colours is not None:
        about = [one for one in session.image.colours if one is not None]
        layers = [stain.layer for stain in found.colours.stains if stain is not None]
    contrast = contrast_of(about[0].normalize)
    if contrast is not None:
        settings["contrast"] = contrast
    for one, layer in zip(about, layers, strict=True):
        if one.normalize.limits is not None and not layer.rgb:
            layer.contrast_limits = one.normalize.limits
            layer.gamma = one.normalize.gamma
    return settings


def _text(recovered: Recovered) -> str:
    """What can be brought back, for people."""
    session = recovered.session
    name = session.settings.get("image") or Path(session.image.path or "an image").name
    when = datetime.fromtimestamp(recovered.saved)
    day = "today" if when.date() == datetime.now().date() else f"{when:%d %b %Y}"
    objects, review = len(session.objects()), session.settings.get(REVIEW)
    parts = [f"{objects} object(s)"] if objects or not is_begun(session) else []
    if session.drafts:
        parts.append("prompts that were not committed")
    if isinstance(review, dict):
        parts.append(f"a review of {review.get('candidates')} candidates of everything mode")
    if session.settings.get(WORDS):
        parts.append("words that were looked for")
    text = f"Unsaved work on {name}, {day} {when:%H:%M}: {' and '.join(parts)}."
    if not recovered.complete_labels:
        text += (
            " The labels that were in the layer before could not be copied in time and are not "
            "among it; open them from their own file."
        )
    return text
