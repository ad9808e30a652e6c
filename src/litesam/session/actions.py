"""What a person does in a session: commits, operations, strokes; frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from litesam.errors import ConfigError
from litesam.objects import COMMIT_POLICIES
from litesam.session.drawn import Drawn
from litesam.session.references import ModelReference, Outcome
from litesam.types import AnyArray, BoolArray, Box, EverythingConfig, Prompts

Index = tuple[int, ...]

#: Operations of `ObjectEdit`, those of `litesam.objects`.
OPERATIONS = ("delete", "merge", "split", "fill_holes", "remove_islands", "smooth")


@dataclass(frozen=True, slots=True, eq=False)
class ObjectCommit:
    """One object of prompts, committed.

    Attributes
    ----------
    id
        Its value in the label image.
    index
        Plane; ``()`` for an image of one plane.
    prompts
        What was said about it.
    candidate
        Which of the decoder's masks was chosen; None: the one of highest predicted IoU.
    multimask, tile
        As given to `litesam.Segmenter.segment`; the tile by its number.
    model
        None: the session's.
    policy
        One of `litesam.objects.COMMIT_POLICIES`.
    reopened
        Its earlier pixels in this plane are replaced.
    outcome
        What the decoder said.
    drawn
        What ``prompts`` were made of, if shapes were drawn; replay does not look at it.
    """

    kind: ClassVar[str] = "object"
    id: int
    index: Index
    prompts: Prompts
    candidate: int | None = None
    multimask: bool | None = None
    tile: int | None = None
    model: ModelReference | None = None
    policy: str = "never_overwrite"
    reopened: bool = False
    outcome: Outcome = field(default_factory=Outcome)
    drawn: Drawn | None = None

    def __post_init__(self) -> None:
        _check_commit(self.policy, (self.id,))


@dataclass(frozen=True, slots=True, eq=False)
class BatchObject:
    """One of several objects that were decoded together; ``id`` 0: it got no pixel."""

    id: int
    prompts: Prompts
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True, slots=True, eq=False)
class BatchCommit:
    """Several objects of one plane, decoded with `litesam.Segmenter.segment_many` and committed in
    their order.
    """

    kind: ClassVar[str] = "batch"
    index: Index
    objects: tuple[BatchObject, ...]
    model: ModelReference | None = None
    policy: str = "never_overwrite"

    def __post_init__(self) -> None:
        _check_commit(self.policy, tuple(o.id for o in self.objects if o.id))


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted candidate of an everything run: its number, from 0, and its id."""

    candidate: int
    id: int
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True, slots=True)
class EverythingCommit:
    """A run of everything mode on one plane, and which of its candidates were committed.

    Attributes
    ----------
    index, model, policy
        As in `ObjectCommit`.
    candidates
        ``"objects"``: the candidates are the records of `litesam.Segmenter.everything`, which do
        not overlap; ``"masks"``: those of `litesam.Segmenter.find_objects`, which may.
    proposals, config, boxes
        As given to it.
    accepted
        In the order of their commits.
    """

    kind: ClassVar[str] = "everything"
    index: Index
    accepted: tuple[Accepted, ...]
    candidates: Literal["objects", "masks"] = "objects"
    proposals: str | None = None
    config: EverythingConfig = field(default_factory=EverythingConfig)
    boxes: tuple[tuple[float, float, float, float], ...] | None = None
    model: ModelReference | None = None
    policy: str = "never_overwrite"

    def __post_init__(self) -> None:
        _check_commit(self.policy, tuple(one.id for one in self.accepted))
        if self.candidates not in ("objects", "masks"):
            raise ConfigError(f"candidates is {self.candidates!r}; use 'objects' or 'masks'.")


@dataclass(frozen=True, slots=True, eq=False)
class MaskCommit:
    """One object whose pixels are known and are not asked of a model again.

    Attributes
    ----------
    id, index, policy, reopened, outcome
        As in `ObjectCommit`.
    box, crop
        Bounding box in the plane, and the bool pixels inside it.
    source
        Where it comes from, for people, such as "words: a dark nucleus".
    model
        Whose mask it is; None: not known, or of no model.
    """

    kind: ClassVar[str] = "mask"
    id: int
    index: Index
    box: Box
    crop: BoolArray
    source: str = ""
    model: ModelReference | None = None
    policy: str = "never_overwrite"
    reopened: bool = False
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        _check_commit(self.policy, (self.id,))


@dataclass(frozen=True, slots=True)
class ObjectEdit:
    """An operation of `litesam.objects` on committed objects.

    Attributes
    ----------
    operation
        One of `OPERATIONS`.
    ids
        Objects; of a merge the first stays.
    index
        Plane; None: all planes (delete and merge only).
    seeds
        The two clicks (y, x) of a split.
    new_id
        Id of the second part of a split.
    size_px
        ``max_area_px`` of holes and islands (None: no limit), ``radius_px`` of smoothing.
    """

    kind: ClassVar[str] = "edit"
    operation: str
    ids: tuple[int, ...]
    index: Index | None = None
    seeds: tuple[tuple[float, float], ...] = ()
    new_id: int | None = None
    size_px: int | None = None

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            names = ", ".join(map(repr, OPERATIONS))
            raise ConfigError(f"There is no operation {self.operation!r}; choose one of {names}.")
        one_plane = self.operation not in ("delete", "merge")
        if one_plane and (self.index is None or len(self.ids) != 1):
            raise ConfigError(f"The operation {self.operation} needs one id and a plane.")
        if self.operation == "split" and (len(self.seeds) != 2 or self.new_id is None):
            raise ConfigError("A split needs two clicks and the id of the new object.")
        if self.operation == "smooth" and self.size_px is None:
            raise ConfigError("Smoothing needs its radius.")


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels of one plane that were painted by hand.

    Attributes
    ----------
    index, box
        Where: plane, and a rectangle in it.
    where
        (h, w) bool: which pixels of the box.
    values
        One label for all of them, or one for each, in raster order.
    """

    index: Index
    box: Box
    where: BoolArray
    values: int | AnyArray

    def __post_init__(self) -> None:
        if self.where.shape != self.box.size_yx:
            raise ConfigError(
                f"A patch of {self.where.shape} pixels does not fit the box {self.box}."
            )
        if isinstance(self.values, np.ndarray) and (
            self.values.shape != (int(np.count_nonzero(self.where)),)
            or self.values.dtype.kind not in "iu"
        ):
            raise ConfigError("A patch needs one label, or one whole number for each pixel.")


@dataclass(frozen=True, slots=True, eq=False)
class HandEdit:
    """Strokes of a brush, an eraser, a fill …: pixels that a person set."""

    kind: ClassVar[str] = "paint"
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class LabelsLoaded:
    """All labels were replaced by those of a file.

    Attributes
    ----------
    path
        File, absolute or from the folder of the session's file.
    sha256
        Of the labels, see `litesam.session.labels_hash`; None: not checked.
    """

    kind: ClassVar[str] = "labels"
    path: str
    sha256: str | None = None


Commit = ObjectCommit | BatchCommit | EverythingCommit | MaskCommit
Action = Commit | ObjectEdit | HandEdit | LabelsLoaded


def _check_commit(policy: str, ids: tuple[int, ...]) -> None:
    if policy not in COMMIT_POLICIES:
        names = ", ".join(map(repr, COMMIT_POLICIES))
        raise ConfigError(f"There is no commit policy {policy!r}; choose one of {names}.")
    if any(number < 1 for number in ids) or len(set(ids)) != len(ids):
        raise ConfigError(f"The ids {ids} are not different numbers from 1 on.")


def ids_of(action: Commit) -> list[int]:
    """Ids that a commit writes."""
    if isinstance(action, BatchCommit):
        return [one.id for one in action.objects if one.id]
    if isinstance(action, EverythingCommit):
        return [one.id for one in action.accepted]
    return [action.id]
