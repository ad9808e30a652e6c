"""A session → its labels, without a window: every action again, by the functions that did it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import Cancelled, ImageError, LiteSamError, SessionError, UnknownModelError
from litesam.io import ImageData, read_image
from litesam.models.registry import get_spec
from litesam.objects import (
    Commit,
    ObjectDetails,
    apply_change,
    commit_mask,
    delete_objects,
    fill_holes,
    merge_objects,
    remove_islands,
    smooth_object,
    split_object,
)
from litesam.preprocess import COLOURS, Composite, CompositePart
from litesam.session.actions import (
    Action,
    BatchCommit,
    EverythingCommit,
    HandEdit,
    LabelsLoaded,
    MaskCommit,
    ObjectCommit,
    ObjectEdit,
)
from litesam.session.files import find_file
from litesam.session.hashes import mask_hash
from litesam.session.painting import load_labels, paint
from litesam.types import LabelArray, MaskRecord, Progress

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from litesam.segmenter import Segmenter  # noqa: TC004  (it loads torch; nobody asks for hints)
    from litesam.session.references import ImageReference, ModelReference, Outcome
    from litesam.session.values import Session
    from litesam.store import EmbeddingStore
    from litesam.types import IsCancelled, OnProgress


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that replay found otherwise than the session says: its id, and the action (from 0)
    that made it.
    """

    action: int
    id: int


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What replay gives.

    Attributes
    ----------
    labels
        Labels after all actions: leading axes of the stack, Y, X.
    axes
        Their axes.
    image
        The image, as it was read or given.
    segmenter
        Of the session's model; for its planes.
    records
        Mask of the newest commit of each id, before the commit; with its scores.
    different
        Objects whose masks are not those that were committed: the image, the weights or the
        machine is another.
    """

    labels: LabelArray
    axes: str
    image: ImageData
    segmenter: Segmenter
    records: dict[int, MaskRecord] = field(default_factory=dict)
    different: tuple[Difference, ...] = ()

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Spacing of the labels along each of their axes."""
        if self.image.scale is None or self.image.axes is None:
            return None
        steps = dict(zip(self.image.axes, self.image.scale, strict=True))
        return tuple(steps[letter] for letter in self.axes)


def replay(
    session: Session,
    image: Any = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    device: str = "auto",
    store: EmbeddingStore | None = None,
    check_weights: bool = True,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> Replayed:
    """Do all actions of a session again.

    On the same machine with the same weights the labels are those of the session, bit for bit.

    Parameters
    ----------
    session
        What was done.
    image
        The image: array-like, or a file; None: the file that the session names.
    folder
        Folder of the session's file; paths in it start there.
    device, store
        As in `litesam.Segmenter`.
    check_weights
        Refuse other weights than the session's.
    on_progress, cancelled
        Called before every action.

    Returns
    -------
    Replayed
        Labels, and which objects are not as they were.

    Raises
    ------
    ReadError
        If the image, a label file or a weights file is not there.
    SessionError
        If the image is of another shape, the weights are others, or an action cannot be done; the
        message names the action.
    Cancelled
        If ``cancelled`` said so.
    """
    data = _open_image(session, image, folder)
    replayer = _Replayer(session, data, folder, device, store, check_weights)
    for number, action in enumerate(session.actions):
        if cancelled is not None and cancelled():
            raise Cancelled("The replay was cancelled.")
        if on_progress is not None:
            on_progress(Progress(number, len(session.actions), action.kind))
        replayer.do(number, action)
    if on_progress is not None:
        on_progress(Progress(len(session.actions), len(session.actions), ""))
    return Replayed(
        replayer.labels,
        session.image.label_axes,
        data,
        replayer.segmenter(None),
        replayer.records,
        tuple(replayer.different),
    )


def object_details(
    session: Session, records: Mapping[int, MaskRecord] | None = None
) -> dict[int, ObjectDetails]:
    """Return what models said about the objects of a session, by id: for the object table.

    Parameters
    ----------
    session
        Its notes are taken.
    records
        Of a replay; their scores are taken instead where they are given.
    """
    found = {}
    for number, one in session.objects().items():
        model = one.model(session)
        noted, record = one.outcome(), (records or {}).get(number)
        scores = (noted.predicted_iou, noted.stability)
        if record is not None and model is not None:
            scores = (record.predicted_iou, record.stability)
        name, hq = (None, None) if model is None else (model.name, model.hq or _is_hq(model.name))
        found[number] = ObjectDetails(*scores, name, hq)
    return found


def _is_hq(name: str) -> bool:
    """Whether a model is an HQ one by itself; of one that is not known here nothing is."""
    try:
        return get_spec(name).hq == name
    except UnknownModelError:
        return False


def _open_image(session: Session, image: Any, folder: str | os.PathLike[str] | None) -> ImageData:
    """The image of a session, if it can be that image."""
    about = session.image
    if about.colours and image is None:
        return _open_composite(about, folder)
    if about.colours and isinstance(image, (str, Path)):
        raise SessionError(
            "The session's image is a composite of several images, one file is none; put the files "
            "that the session names into its folder and leave the image out."
        )
    return _open_one(about, image, folder, "image")


def _open_composite(about: ImageReference, folder: str | os.PathLike[str] | None) -> ImageData:
    """The composite that a session was made with, of the files of its colours."""
    parts: list[CompositePart | None] = []
    for name, one in zip(COLOURS, about.colours, strict=True):
        if one is None:
            parts.append(None)
            continue
        array = _open_one(one, None, folder, name).array
        parts.append(CompositePart(array, one.axes, one.channel, one.normalize, one.path))
    return ImageData(Composite(parts), about.axes, about.scale, "composite", about.unit)


def _open_one(
    about: ImageReference, image: Any, folder: str | os.PathLike[str] | None, what: str
) -> ImageData:
    """An image that a session names, or that is given, if it can be that image."""
    if image is None and about.path is None:
        raise SessionError(f"The session's {what} is in no file; give the image.")
    if image is None and about.path is not None:
        image = find_file(about.path, folder, f"The {what}")
    if isinstance(image, (str, Path)):
        image = read_image(image)
    array = image.array if isinstance(image, ImageData) else image
    array = array if hasattr(array, "shape") else np.asarray(array)
    shape = tuple(int(size) for size in array.shape)
    if shape != about.shape or str(array.dtype) != about.dtype:
        hint = "give the image that was annotated."
        if what in COLOURS:
            hint = (
                "where a viewer made several layers of one file, open them there and the session "
                "beside them."
            )
        raise SessionError(
            f"The {what} is {array.dtype} of shape {shape}, the session's is {about.dtype} of "
            f"shape {about.shape}; {hint}"
        )
    scale, unit, name = about.scale, about.unit, "image"
    if isinstance(image, ImageData):
        scale, unit, name = scale or image.scale, unit or image.unit, image.name
    return ImageData(array, about.axes, scale, name, unit)


class _Replayer:
    """Labels of a session, action by action."""

    def __init__(
        self,
        session: Session,
        data: ImageData,
        folder: str | os.PathLike[str] | None,
        device: str,
        store: EmbeddingStore | None,
        check_weights: bool,
    ) -> None:
        self._session = session
        self._data = data
        self._folder = folder
        self._device = device
        self._store = store
        self._check_weights = check_weights
        self._segmenters: dict[ModelReference, Segmenter] = {}
        self.labels: LabelArray = np.zeros(
            session.image.label_shape, dtype=np.dtype(session.labels_dtype)
        )
        self.records: dict[int, MaskRecord] = {}
        self.different: list[Difference] = []

    def segmenter(self, model: ModelReference | None) -> Segmenter:
        """Segmenter of a model; None: the session's."""
        wanted = model or self._session.model
        if wanted not in self._segmenters:
            self._segmenters[wanted] = self._new_segmenter(wanted)
        return self._segmenters[wanted]

    def _new_segmenter(self, model: ModelReference) -> Segmenter:
        # Torch is loaded by who replays, not by who writes a session down.
        from litesam.predictors import load_predictor
        from litesam.segmenter import Segmenter

        weights = None
        if model.weights is not None:
            weights = find_file(model.weights, self._folder, "The weights file")
        predictor = load_predictor(model.name, weights, self._device, model.hq)
        known = model.weights_hash
        if self._check_weights and known is not None and known != predictor.weights_hash:
            raise SessionError(
                f"The session was made with other weights of {model.name!r} ({known[:12]}…) than "
                f"those here ({predictor.weights_hash[:12]}…); get these weights, or replay "
                "without the check, which gives other labels."
            )
        for other in self._segmenters.values():  # planes and embeddings are shared
            return other.with_model(predictor)
        image = self._session.image
        return Segmenter(
            self._data.array,
            predictor,
            image.axes,
            self._store,
            channel=image.channel,
            normalize=image.normalize,
            tiling=image.tiling,
        )

    def do(self, number: int, action: Action) -> None:
        """Do one action."""
        try:
            match action:
                case ObjectCommit():
                    self._object(number, action)
                case BatchCommit():
                    self._batch(number, action)
                case EverythingCommit():
                    self._everything(number, action)
                case MaskCommit():
                    self._commit(number, action, action.id, _known(action), action.outcome)
                case ObjectEdit():
                    self._edit(action)
                case HandEdit():
                    paint(self.labels, action)
                case LabelsLoaded():
                    load_labels(self.labels, action, self._folder)
        except SessionError:
            raise
        except (ValueError, KeyError) as error:
            if not isinstance(error, LiteSamError):
                raise
            raise SessionError(f"Action {number} ({action.kind}): {error}") from error

    def _object(self, number: int, action: ObjectCommit) -> None:
        segmenter = self.segmenter(action.model)
        tile = None
        if action.tile is not None:
            if not 0 <= action.tile < len(segmenter.tiles):
                raise ImageError(f"there is no tile {action.tile} of {len(segmenter.tiles)}.")
            tile = segmenter.tiles[action.tile]
        result = segmenter.segment(
            action.prompts, action.index or None, multimask=action.multimask, tile=tile
        )
        if action.candidate is not None:
            result = result.with_candidate(action.candidate)
        self._commit(number, action, action.id, result.record, action.outcome)

    def _batch(self, number: int, action: BatchCommit) -> None:
        segmenter = self.segmenter(action.model)
        prompts = [one.prompts for one in action.objects]
        records = segmenter.segment_many(prompts, action.index or None)
        for one, record in zip(action.objects, records, strict=True):
            if one.id:
                self._commit(number, action, one.id, record, one.outcome)

    def _everything(self, number: int, action: EverythingCommit) -> None:
        segmenter = self.segmenter(action.model)
        options: dict[str, Any] = {
            "proposals": action.proposals,
            "config": action.config,
            "boxes": action.boxes,
        }
        if action.candidates == "masks":
            found = segmenter.find_objects(action.index or None, **options)
        else:
            found = list(segmenter.everything(action.index or None, **options)[1])
        for one in action.accepted:
            if not 0 <= one.candidate < len(found):
                self.different.append(Difference(number, one.id))
                continue
            self._commit(number, action, one.id, found[one.candidate], one.outcome)

    def _commit(
        self,
        number: int,
        action: ObjectCommit | BatchCommit | EverythingCommit | MaskCommit,
        identity: int,
        record: MaskRecord,
        outcome: Outcome,
    ) -> None:
        commit: Commit = commit_mask(
            self.labels,
            record,
            action.index,
            number=identity,
            policy=action.policy,
            reopened=getattr(action, "reopened", False),
        )
        apply_change(self.labels, commit.change)
        self.records[identity] = record
        if outcome.mask_hash not in (None, mask_hash(record)):
            self.different.append(Difference(number, identity))

    def _edit(self, action: ObjectEdit) -> None:
        labels, first, size = self.labels, action.ids[0] if action.ids else 0, action.size_px
        index = action.index or ()
        match action.operation:
            case "delete":
                change = delete_objects(labels, action.ids, action.index)
            case "merge":
                change = merge_objects(labels, action.ids, action.index)
            case "split":
                seeds = (action.seeds[0], action.seeds[1])
                change = split_object(labels, first, seeds, index, new_number=action.new_id)
            case "fill_holes":
                change = fill_holes(labels, first, index, max_area_px=size)
            case "remove_islands":
                change = remove_islands(labels, first, index, max_area_px=size)
            case _:
                change = smooth_object(labels, first, index, radius_px=size or 0)
        apply_change(labels, change)


def _known(action: MaskCommit) -> MaskRecord:
    """Record of a mask whose pixels the session holds."""
    outcome = action.outcome
    scores = (outcome.predicted_iou or 0.0, outcome.stability or 0.0)
    return MaskRecord(action.box, action.crop, *scores, scores[0])
