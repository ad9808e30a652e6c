"""Autosave: what is done in the panel is on the disk at once, one session for each Labels layer.

Everything is written by a thread of its own, in order; the window never waits for the disk. What a
session is, and how a journal keeps it, is the engine's (`litesam.session`).
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication

from litesam.errors import Cancelled, LiteSamError
from litesam.objects import Change, revert_change
from litesam.session import (
    COPY_SUFFIX,
    JOURNAL_SUFFIX,
    LABEL_TYPES,
    Draft,
    LabelCopy,
    LabelsLoaded,
    ModelReference,
    Session,
    SessionJournal,
    record_change,
    remove_copy,
    sessions_dir,
)
from napari_litesam import __version__
from napari_litesam.label_axes import array_of
from napari_litesam.session_images import (
    LABELS,
    LEVEL,
    NUMBER,
    UNCOMMITTED,
    about_image,
    is_begun,
    layer_names,
    renamed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari.layers import Image, Labels, Layer

    from litesam.session import Action, FoundMasks, Recovered
    from napari_litesam.requests import ImageSource
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.session_images import Annotated

#: Labels that were there before the session are written down in it up to this size; more of them
#: are copied into a folder beside it, which takes the window no time.
_LARGEST_START_BYTES = 20_000_000
#: How often the end of a stroke is waited for, and for how long it is.
_STROKE_MS, _LONGEST_STROKE_S = 100, 30

#: Windows of one process never choose the same name, also in the same second.
_NUMBERS = itertools.count(1)


class _Copying:
    """Labels that are being copied, and what changed them meanwhile.

    Attributes
    ----------
    changes
        In their order.
    counted
        Whether ``changes`` has all that was seen by who read the labels.
    unwanted
        Whether the session is gone.
    """

    def __init__(self, copy: LabelCopy) -> None:
        self.copy = copy
        self.changes: list[Change] = []
        self.counted = threading.Event()
        self.unwanted = threading.Event()


@dataclass(slots=True, eq=False)
class _Kept:
    """A session that is open: as it is now, and its journal, which the writer makes first."""

    session: Session
    path: Path
    journal: Future[SessionJournal]
    saved: tuple[Any, ...] = ()
    copying: _Copying | None = None

    @property
    def needed(self) -> bool:
        """Whether there is work that is in no file of the user's."""
        return is_begun(self.session) or self.session.actions != self.saved

    def note(self, *changes: Change | None) -> None:
        """Take note of what changes labels that are being copied."""
        if self.copying is not None and not self.copying.counted.is_set():
            self.copying.changes += [change for change in changes if change is not None]


class SessionKeeper(QObject):  # type: ignore[misc]  # qtpy is untyped
    """Holds the sessions of one panel and keeps them on the disk.

    A session begins with the first prompt or object. It belongs to the image until there is a
    Labels layer, and to that from then on.

    Attributes
    ----------
    failed
        The disk refused: a `LiteSamError`. Emitted once for a row of failures.
    """

    failed = Signal(object)
    _copied = Signal(object)

    def __init__(self, pool: SegmenterPool) -> None:
        super().__init__()
        self._pool = pool
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="litesam-autosave")
        self._copier = ThreadPoolExecutor(max_workers=1, thread_name_prefix="litesam-labels")
        self._kept: dict[Layer, _Kept] = {}
        self._empty: WeakSet[Layer] = WeakSet()
        self._failing = False
        self._closed = False
        self._copied.connect(self._on_copied)

    # -------------------------------------------------------------------------------------- reading

    def session(self, target: Labels | None) -> Session | None:
        """The session of a Labels layer, or None if nothing was done to it yet."""
        kept = None if target is None else self._kept.get(target)
        return None if kept is None else kept.session

    def model(self, source: ImageSource) -> ModelReference:
        """The model of a source, as a session writes it down."""
        return ModelReference(
            source.model, False, source.weights, self._pool.weights_hash(source.model_key)
        )

    def model_beside(self, target: Labels, source: ImageSource) -> ModelReference | None:
        """The model of a source, None if it is the one of the session."""
        model, session = self.model(source), self.session(target)
        return None if session is not None and session.model == model else model

    def decodable(self, target: Labels, image: Image | None, source: ImageSource) -> bool:
        """Whether a mask of a source can be decoded again from what the session says of its image.

        Not after a change of contrast or channel, and not from another level of a pyramid: then
        pixels are written down.
        """
        session = self.session(target)
        if session is None or image is None or source.reduced:
            return False
        return session.image == about_image(image, source)

    # -------------------------------------------------------------------------------------- writing

    def begin(
        self,
        image: Image,
        target: Labels | None,
        source: ImageSource,
        change: Change | None = None,
    ) -> Session:
        """Return the session of a target layer (None: of the image, until there is one).

        What the layer holds now is where the session begins, but for ``change``, which was made
        just before.
        """
        owner: Layer = image if target is None else target
        kept = self._kept.get(owner)
        waiting = None if target is None else self._kept.get(image)
        if kept is None and target is not None and waiting is not None:
            # Drafts that were there before the layer.
            del self._kept[image]
            self._kept[target] = kept = waiting
            self._change(kept, labels_dtype=_dtype(target))
            self._set(kept, {LABELS: target.name})
            self._add_start(kept, target, change)
        if kept is None:
            session = Session(
                image=about_image(image, source),
                model=self.model(source),
                labels_dtype="int32" if target is None else _dtype(target),
                settings=layer_names(image, target, source.colours),
                program=f"napari-litesam {__version__}",
                created=datetime.now().astimezone().isoformat(timespec="seconds"),
            )
            kept = self._kept[owner] = self._new(self._new_path(image), session)
            self._add_start(kept, target, change)
        elif kept.session.model.weights_hash is None or not kept.session.actions:
            about = about_image(image, source)
            if not kept.session.actions and about != kept.session.image:
                self._change(kept, image=about)
            model = self.model(source)
            if model != kept.session.model and (
                model.name == kept.session.model.name or not kept.session.actions
            ):
                self._change(kept, model=model)
        self._set(kept, {LEVEL: _level(image, source)})
        return kept.session

    def did(
        self, target: Labels, actions: Sequence[Action], changes: Sequence[Change | None]
    ) -> None:
        """Write down what was done to a layer, for which `begin` was called."""
        kept = self._kept.get(target)
        if kept is None or not actions:
            return
        kept.note(*changes)
        kept.session = replace(kept.session, actions=(*kept.session.actions, *actions))
        self._write(kept, lambda journal: journal.append(*actions, changes=changes))

    def undid(self, target: Labels, actions: Sequence[Action], change: Change) -> None:
        """Write down that actions of a layer were taken back.

        ``change``: what that did to its pixels. Steps are undone image by image: if the layer got
        something of another image since, these are not its last actions, and only their pixels go.
        """
        kept = self._kept.get(target)
        if kept is None or not actions:
            return
        count = len(actions)
        last = kept.session.actions[-count:]
        if len(last) < count or any(a is not b for a, b in zip(last, actions, strict=True)):
            self.painted(target, change)
            return
        kept.note(change)
        kept.session = kept.session.without_last(count)
        self._write(kept, lambda journal: journal.drop(count))

    def painted(self, target: Labels, change: Change) -> None:
        """Write down pixels of a layer alone."""
        kept = self._kept.get(target)
        if kept is not None and not change.empty:
            kept.note(change)
            self.did(target, (record_change(change),), ())

    def draft(
        self,
        image: Image,
        target: Labels | None,
        source: ImageSource | None,
        drafts: tuple[Draft, ...],
        found: FoundMasks | None,
        more: Mapping[str, Any],
    ) -> bool:
        """Write down what is not committed: prompts, masks under review, and ``more`` settings;
        None: not set. Without a source, as in 3-D display, no session is begun: False if one would
        have to be.
        """
        owner: Layer = image if target is None else target
        begun = bool(drafts) or any(more.get(name) is not None for name in UNCOMMITTED)
        if owner not in self._kept and (source is None or not begun):
            return not begun
        if source is not None:
            self.begin(image, target, source)
        kept = self._kept[owner]
        if drafts or kept.session.drafts:
            self._change(kept, drafts=drafts)
        if found is not kept.session.found:
            self._change(kept, found=found)
        self._set(kept, more)
        return True

    def withdraw(self, owner: Layer | None) -> None:
        """What is not committed belongs to another layer's session from now on."""
        kept = None if owner is None else self._kept.get(owner)
        if kept is None:
            return
        if kept.session.drafts:
            self._change(kept, drafts=())
        if kept.session.found is not None:
            self._change(kept, found=None)
        self._set(kept, dict.fromkeys((NUMBER, *UNCOMMITTED)))

    def adopt(self, target: Labels, found: Annotated, recovered: Recovered) -> None:
        """Go on with a session that was brought back; its journal is written on."""
        self._go_on(target, found, recovered.path, recovered.session, recovered.pixels)

    def take(self, target: Labels, found: Annotated, session: Session) -> None:
        """Go on with a session that was opened from a file."""
        self._go_on(target, found, self._new_path(found.image), session)

    def _go_on(
        self,
        target: Labels,
        found: Annotated,
        path: Path,
        session: Session,
        pixels: Sequence[Any] = (),
    ) -> None:
        # Layers may have other names than when the session was written.
        names = layer_names(found.image, target, found.colours)
        session = replace(session, settings={**session.settings, **names})
        self._kept[target] = self._new(path, session, pixels)

    def note_empty(self, target: Labels) -> None:
        """A layer was made now: nothing is in it."""
        self._empty.add(target)

    def rename(self, old: str, new: str) -> None:
        """A layer that was called ``old`` has another name now."""
        for kept in self._kept.values():
            self._set(kept, renamed(kept.session, old, new))

    def let_go(self, target: Layer) -> None:
        """The layer is gone, or got other pixels from elsewhere: its session stays on the disk."""
        self._empty.discard(target)
        kept = self._kept.pop(target, None)
        if kept is not None:
            self._end(kept)

    def saved(self, target: Labels) -> None:
        """All that was done to a layer is in a file of the user's now."""
        kept = self._kept.get(target)
        if kept is not None:
            kept.saved = kept.session.actions

    def close(self) -> None:
        """Let go of all journals. What is in no file of the user's is kept."""
        if self._closed:
            return
        self._closed = True
        for kept in list(self._kept.values()):
            self._end(kept)
        self._kept.clear()
        self._writer.shutdown(wait=False)
        self._copier.shutdown(wait=False)

    def flush(self) -> None:
        """Wait until all is written."""
        for kept in self._kept.values():
            if kept.copying is not None:
                kept.copying.counted.set()
        for thread in (self._copier, self._writer):
            thread.submit(lambda: None).result()

    # ------------------------------------------------------------------------------------- in parts

    def _new(self, path: Path, session: Session, pixels: Sequence[Any] = ()) -> _Kept:
        def make() -> SessionJournal:
            path.parent.mkdir(parents=True, exist_ok=True)
            return SessionJournal(path, session, pixels=pixels)

        return _Kept(session, path, self._writer.submit(make))

    def _end(self, kept: _Kept) -> None:
        """Close a journal; what is needed no more is deleted."""
        needed, copying = kept.needed, kept.copying
        self._write(kept, partial(SessionJournal.close, delete=not needed))
        if copying is not None:
            copying.counted.set()  # nothing more is told of it
        if not needed:
            if copying is not None:
                copying.unwanted.set()
            self._copier.submit(remove_copy, copy_path(kept.path))

    def _change(self, kept: _Kept, **changes: Any) -> None:
        kept.session = replace(kept.session, **changes)
        self._write(kept, lambda journal: journal.update(**changes))

    def _set(self, kept: _Kept, settings: Mapping[str, Any]) -> None:
        """Change some settings; None: not set any more."""
        whole = {**kept.session.settings, **settings}
        whole = {name: value for name, value in whole.items() if value is not None}
        if whole != kept.session.settings:
            self._change(kept, settings=whole)

    def _write(self, kept: _Kept, event: Callable[[SessionJournal], None]) -> None:
        """Let the writer do something with a journal."""
        self._writer.submit(self._attempt, kept.journal, event)

    def _attempt(
        self, journal: Future[SessionJournal], event: Callable[[SessionJournal], None]
    ) -> None:
        """Body of the writer's thread. A refusal of the disk is told once, not for every click."""
        try:
            event(journal.result())
        except Exception as error:  # whatever it is: the work is not on the disk
            if not self._failing and not self._closed:
                self.failed.emit(error)
            self._failing = True
        else:
            self._failing = False

    def _add_start(self, kept: _Kept, target: Labels | None, made: Change | None) -> None:
        """Keep what the layer holds already."""
        if target is None or target in self._empty:
            return
        array = array_of(target)
        if array.nbytes > _LARGEST_START_BYTES:
            self._copy_start(kept, array, made)
            return
        data = np.array(array)
        if made is not None:
            revert_change(data, made)
        if not data.any():
            return
        whole = tuple((0, size) for size in data.shape)
        self._start(kept, record_change(Change(whole, np.zeros_like(data), data)))

    def _start(self, kept: _Kept, start: Action) -> None:
        """Let the session begin with labels that were there."""
        kept.session = replace(kept.session, actions=(start,))
        self._write(kept, lambda journal: journal.append(start))

    def _copy_start(self, kept: _Kept, array: Any, made: Change | None) -> None:
        """Copy what is too large to be written down into a folder, while the user goes on."""
        path = copy_path(kept.path)
        kept.copying = copying = _Copying(LabelCopy(path, array))
        if made is not None:
            copying.changes.append(made)
        self._start(kept, LabelsLoaded(path.name))
        self._copier.submit(self._copy, copying)

    def _copy(self, copying: _Copying) -> None:
        """Body of the copier's thread."""
        try:
            copying.copy.read(copying.unwanted.is_set)
            with suppress(RuntimeError):  # at the end of a program Qt may be gone
                self._copied.emit(copying)
            copying.counted.wait(_LONGEST_STROKE_S)
            copying.copy.complete(copying.changes)
            copying.changes.clear()
        except Cancelled:
            return
        except (LiteSamError, OSError) as error:
            if not self._closed:
                self.failed.emit(error)

    def _on_copied(self, copying: _Copying) -> None:
        """All pixels were read; what changed them is known as soon as no stroke is being made."""
        if QApplication.mouseButtons() == Qt.MouseButton.NoButton:
            copying.counted.set()
        else:
            QTimer.singleShot(_STROKE_MS, partial(self._on_copied, copying))

    def _new_path(self, image: Image) -> Path:
        name = re.sub(r"[^\w-]+", "-", image.name).strip("-")[:40] or "image"
        now = datetime.now().strftime("%Y%m%d-%H%M%S")
        return sessions_dir() / f"{now}-{name}-{os.getpid()}-{next(_NUMBERS)}{JOURNAL_SUFFIX}"


def _level(image: Image, source: ImageSource) -> int | None:
    """The level of a pyramid that is encoded; None: level 0."""
    if not source.reduced or not image.multiscale:
        return None
    return next((level for level, data in enumerate(image.data) if data is source.data), None)


def copy_path(journal: Path) -> Path:
    """Where the copy of the labels lies that were there before a session."""
    return journal.with_name(f"{journal.name.removesuffix(JOURNAL_SUFFIX)}{COPY_SUFFIX}")


def _dtype(target: Labels) -> str:
    name = str(array_of(target).dtype)
    return name if name in LABEL_TYPES else "int64"
