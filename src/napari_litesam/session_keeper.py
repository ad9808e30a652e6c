"""Autosave: what is done in the panel is on the disk at once, one session for each Labels layer.

Everything is written by a thread of its own, in order; the window never waits for the disk. What a
session is, and how a journal keeps it, is the engine's (`litesam.session`).
"""

from __future__ import annotations

import itertools
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from litesam.errors import LiteSamError
from litesam.objects import Change, revert_change
from litesam.session import (
    JOURNAL_SUFFIX,
    LABEL_TYPES,
    Draft,
    ImageReference,
    ModelReference,
    Session,
    SessionJournal,
    colour_references,
    record_change,
    sessions_dir,
)
from napari_litesam import __version__
from napari_litesam.image_axes import plane_axes
from napari_litesam.label_axes import array_of
from napari_litesam.session_images import COLOURS, IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari.layers import Image, Labels, Layer

    from litesam.session import Action, Recovered
    from napari_litesam.requests import ImageSource
    from napari_litesam.segmenters import SegmenterPool

#: Labels that were there before the session are kept in it up to this size.
_LARGEST_START_BYTES = 256_000_000

#: Windows of one process never choose the same name, also in the same second.
_NUMBERS = itertools.count(1)


@dataclass(slots=True, eq=False)
class _Kept:
    """A session that is open: as it is now, and its journal, which the writer makes first."""

    session: Session
    journal: Future[SessionJournal]
    saved: tuple[Any, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether there is work that is in no file of the user's."""
        return bool(self.session.drafts) or self.session.actions != self.saved


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

    def __init__(self, pool: SegmenterPool) -> None:
        super().__init__()
        self._pool = pool
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="litesam-autosave")
        self._kept: dict[Layer, _Kept] = {}
        self._failing = False
        self._closed = False

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
        return session.image == _about(image, source)

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
            self._add_start(kept, target, change)
        if kept is None:
            settings: dict[str, Any] = {IMAGE: image.name}
            if source.colours is not None:
                settings[COLOURS] = [one and one.layer.name for one in source.colours.stains]
            if target is not None:
                settings["labels"] = target.name
            session = Session(
                image=_about(image, source),
                model=self.model(source),
                labels_dtype="int32" if target is None else _dtype(target),
                settings=settings,
                program=f"napari-litesam {__version__}",
                created=datetime.now().astimezone().isoformat(timespec="seconds"),
            )
            kept = self._kept[owner] = _Kept(session, self._open(self._new_path(image), session))
            self._add_start(kept, target, change)
        elif kept.session.model.weights_hash is None or not kept.session.actions:
            about = _about(image, source)
            if not kept.session.actions and about != kept.session.image:
                self._change(kept, image=about)
            model = self.model(source)
            if model != kept.session.model and (
                model.name == kept.session.model.name or not kept.session.actions
            ):
                self._change(kept, model=model)
        return kept.session

    def did(
        self, target: Labels, actions: Sequence[Action], changes: Sequence[Change | None]
    ) -> None:
        """Write down what was done to a layer, for which `begin` was called."""
        kept = self._kept.get(target)
        if kept is None or not actions:
            return
        kept.session = replace(kept.session, actions=(*kept.session.actions, *actions))
        self._write(kept, lambda journal: journal.append(*actions, changes=changes))

    def undid(self, target: Labels, actions: Sequence[Action]) -> None:
        """Write down that the last actions of a layer were taken back."""
        kept = self._kept.get(target)
        if kept is None or not actions:
            return
        kept.session = kept.session.without_last(len(actions))
        self._write(kept, lambda journal: journal.drop(len(actions)))

    def draft(
        self,
        image: Image,
        target: Labels | None,
        source: ImageSource,
        drafts: tuple[Draft, ...],
    ) -> None:
        """Write down the prompts that are not committed."""
        owner: Layer = image if target is None else target
        if owner not in self._kept and not drafts:
            return
        self.begin(image, target, source)
        kept = self._kept[owner]
        if drafts or kept.session.drafts:
            self._change(kept, drafts=drafts)

    def adopt(self, target: Labels, recovered: Recovered) -> None:
        """Go on with a session that was brought back; its journal is written on."""
        journal = self._open(recovered.path, recovered.session, recovered.pixels)
        self._kept[target] = _Kept(recovered.session, journal)

    def take(self, target: Labels, image: Image, session: Session) -> None:
        """Go on with a session that was opened from a file."""
        self._kept[target] = _Kept(session, self._open(self._new_path(image), session))

    def let_go(self, target: Layer) -> None:
        """The layer is gone, or got other pixels from elsewhere: its session stays on the disk."""
        kept = self._kept.pop(target, None)
        if kept is not None:
            self._write(kept, partial(SessionJournal.close, delete=not kept.needed))

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
            self._write(kept, partial(SessionJournal.close, delete=not kept.needed))
        self._kept.clear()
        self._writer.shutdown(wait=False)

    def flush(self) -> None:
        """Wait until all is written."""
        self._writer.submit(lambda: None).result()

    # ------------------------------------------------------------------------------------- in parts

    def _open(
        self, path: Path, session: Session, pixels: Sequence[Any] = ()
    ) -> Future[SessionJournal]:
        def make() -> SessionJournal:
            path.parent.mkdir(parents=True, exist_ok=True)
            return SessionJournal(path, session, pixels=pixels)

        return self._writer.submit(make)

    def _change(self, kept: _Kept, **changes: Any) -> None:
        kept.session = replace(kept.session, **changes)
        self._write(kept, lambda journal: journal.update(**changes))

    def _write(self, kept: _Kept, event: Callable[[SessionJournal], None]) -> None:
        """Let the writer do something with a journal."""
        self._writer.submit(self._attempt, kept.journal, event)

    def _attempt(
        self, journal: Future[SessionJournal], event: Callable[[SessionJournal], None]
    ) -> None:
        """Body of the writer's thread. A refusal of the disk is told once, not for every click."""
        try:
            event(journal.result())
        except (LiteSamError, OSError) as error:
            if not self._failing and not self._closed:
                self.failed.emit(error)
            self._failing = True
        else:
            self._failing = False

    def _add_start(self, kept: _Kept, target: Labels | None, made: Change | None) -> None:
        """Keep what the layer holds already."""
        if target is None or array_of(target).nbytes > _LARGEST_START_BYTES:
            return
        data = np.array(array_of(target))
        if made is not None:
            revert_change(data, made)
        if not data.any():
            return
        whole = tuple((0, size) for size in data.shape)
        start = record_change(Change(whole, np.zeros_like(data), data))
        kept.session = replace(kept.session, actions=(start,))
        self._write(kept, lambda journal: journal.append(start))

    def _new_path(self, image: Image) -> Path:
        name = re.sub(r"[^\w-]+", "-", image.name).strip("-")[:40] or "image"
        now = datetime.now().strftime("%Y%m%d-%H%M%S")
        return sessions_dir() / f"{now}-{name}-{os.getpid()}-{next(_NUMBERS)}{JOURNAL_SUFFIX}"


def _dtype(target: Labels) -> str:
    name = str(array_of(target).dtype)
    return name if name in LABEL_TYPES else "int64"


def _about(image: Image, source: ImageSource) -> ImageReference:
    """Describe an image layer, or several that are seen as colours."""
    path = getattr(image.source, "path", None)
    scale = tuple(float(step) for step in image.scale)
    if source.colours is not None:
        axes = (*plane_axes(image), image.ndim - 2, image.ndim - 1)
        scale = (*(scale[axis] for axis in axes), 1.0)
    elif image.rgb:
        scale = (*scale, 1.0)
    return ImageReference(
        None if path is None or source.colours is not None else str(path),
        source.axes,
        tuple(int(size) for size in source.layer.shape),
        str(source.layer.dtype),
        source.channel,
        source.normalize,
        scale=scale,
        unit=str(image.units[-1]),
        colours=colour_references(source.layer),
    )
