"""A session: an image, a model, and what a person did, in order.

A session is its list of actions. Everything else, the label image and the prompts of each object,
follows from it: undo takes the last action away, and replaying all of them gives the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from litesam.errors import ConfigError
from litesam.session.actions import (
    Action,
    BatchCommit,
    Commit,
    HandEdit,
    Index,
    LabelsLoaded,
    MaskCommit,
    ObjectCommit,
    ObjectEdit,
    ids_of,
)
from litesam.session.drawn import Drawn, DrawnShape
from litesam.session.references import ImageReference, ModelReference, Outcome
from litesam.types import MaskRecord, Prompts

#: Types that the labels of a session can have.
LABEL_TYPES = ("uint8", "uint16", "uint32", "int32", "int64")


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Prompts that are not committed yet.

    Attributes
    ----------
    index
        Plane.
    prompts
        Points and the box that counts; None: there are only shapes.
    id
        The object that they refine, or None.
    shapes
        What was drawn besides.
    """

    index: Index
    prompts: Prompts | None
    id: int | None = None
    shapes: tuple[DrawnShape, ...] = ()

    def __post_init__(self) -> None:
        if self.prompts is None and not self.shapes:
            raise ConfigError("A draft needs prompts or shapes.")


@dataclass(frozen=True, slots=True, eq=False)
class FoundMasks:
    """What everything mode found in a plane and nobody has accepted or discarded yet.

    Attributes
    ----------
    index
        Plane.
    records
        The masks, which may overlap.
    """

    index: Index
    records: tuple[MaskRecord, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StoredObject:
    """What a session knows of one object that is there now.

    Attributes
    ----------
    id
        Its value in the label image.
    commits
        The commits that made it, the newest of each plane, in their order. Objects that a split
        made, or that came from a file or a brush, have none.
    """

    id: int
    commits: tuple[Commit, ...] = ()

    def prompts(self, index: Index) -> Prompts | None:
        """Prompts with which it can be opened again in a plane; None where there are none."""
        for commit in reversed(self.commits):
            if commit.index != index:
                continue
            if isinstance(commit, ObjectCommit):
                return commit.prompts
            if isinstance(commit, BatchCommit):
                return next(one.prompts for one in commit.objects if one.id == self.id)
        return None

    def drawn(self, index: Index) -> Drawn | None:
        """What was drawn of which these prompts were made; None where no shapes were."""
        for commit in reversed(self.commits):
            if commit.index == index and isinstance(commit, ObjectCommit | BatchCommit):
                return commit.drawn if isinstance(commit, ObjectCommit) else None
        return None

    def outcome(self) -> Outcome:
        """Scores of the newest commit."""
        for commit in reversed(self.commits):
            if isinstance(commit, (ObjectCommit, MaskCommit)):
                return commit.outcome
            members = commit.objects if isinstance(commit, BatchCommit) else commit.accepted
            return next(one.outcome for one in members if one.id == self.id)
        return Outcome()

    def model(self, session: Session) -> ModelReference | None:
        """Model of the newest commit; None where no model made the object."""
        for commit in reversed(self.commits):
            return commit.model if isinstance(commit, MaskCommit) else commit.model or session.model
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """An annotation session.

    Attributes
    ----------
    image, model
        The image; the model of all actions that name no other.
    actions
        What was done, in order.
    drafts
        Prompts that are not committed yet.
    found
        Masks of everything mode that are under review, or None.
    labels_dtype
        Type of the label array, one of `LABEL_TYPES`.
    settings
        Whatever a program wants to find again; JSON values. Not looked at here.
    program, created
        Who wrote it, and when (ISO 8601).
    """

    image: ImageReference
    model: ModelReference
    actions: tuple[Action, ...] = ()
    drafts: tuple[Draft, ...] = ()
    found: FoundMasks | None = None
    labels_dtype: str = "int32"
    settings: Mapping[str, Any] = field(default_factory=dict)
    program: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        if self.labels_dtype not in LABEL_TYPES:
            raise ConfigError(
                f"Labels of type {self.labels_dtype!r} are not possible; choose one of "
                f"{', '.join(LABEL_TYPES)}."
            )

    @property
    def newest_model(self) -> ModelReference:
        """The model of the newest commit of which a model is known."""
        for action in reversed(self.actions):
            if isinstance(action, MaskCommit) and action.model is None:
                continue
            if isinstance(action, Commit):
                return action.model or self.model
        return self.model

    def with_action(self, action: Action) -> Session:
        """Return the session with one more action."""
        return replace(self, actions=(*self.actions, action))

    def without_last(self, count: int = 1) -> Session:
        """Return the session without its last actions: undo."""
        return replace(self, actions=self.actions[: max(len(self.actions) - count, 0)])

    def objects(self) -> dict[int, StoredObject]:
        """Return the objects that are there after all actions, by id.

        Objects that came with a file or a brush are unknown here, and an object all of whose pixels
        others took is still there.
        """
        found: dict[int, StoredObject] = {}
        for action in self.actions:
            if isinstance(action, LabelsLoaded):
                found.clear()
            elif isinstance(action, ObjectEdit):
                _edit_objects(found, action)
            elif not isinstance(action, HandEdit):
                for number in ids_of(action):
                    old = found[number].commits if number in found else ()
                    replaced = getattr(action, "reopened", False)
                    kept = [c for c in old if not (replaced and c.index == action.index)]
                    found[number] = StoredObject(number, (*kept, action))
        return found


def _edit_objects(found: dict[int, StoredObject], action: ObjectEdit) -> None:
    """Follow an operation in the table of objects."""
    if action.operation == "split" and action.new_id is not None:
        found[action.new_id] = StoredObject(action.new_id)
    if action.operation not in ("delete", "merge"):
        return
    gone = action.ids if action.operation == "delete" else action.ids[1:]
    for number in gone:
        if number not in found:
            continue
        left = tuple(
            commit
            for commit in found[number].commits
            if action.index is not None and commit.index != action.index
        )
        if left:
            found[number] = StoredObject(number, left)
        else:
            del found[number]
