"""Operations on committed objects: open again, delete, merge, split, mend. No Qt."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam import objects
from litesam.merge import records_from_labels
from litesam.session import Draft, ObjectEdit
from napari_litesam.committer import Outcome
from napari_litesam.history import Reopened
from napari_litesam.label_axes import array_of, to_pixels
from napari_litesam.requests import current_index
from napari_litesam.stored_prompts import prompts_from_mask, snapshot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Labels

    from litesam.objects import Change
    from napari_litesam.committer import Committer
    from napari_litesam.history import History
    from napari_litesam.requests import PlaneRequest
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

NO_OBJECT = "There is no object there; move the mouse over one, or choose it in the table."
_NO_LAYER = "There are no objects yet; commit one first."
#: Radius of the disc that smooths an outline.
_SMOOTHING_PX = 2
#: Two objects are merged, two clicks split.
_TWO = 2


class ObjectEditor:
    """Changes the objects of the chosen Labels layer, each time as one step of undo."""

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        layers: ViewerLayers,
        history: History,
        committer: Committer,
        keeper: SessionKeeper,
    ) -> None:
        self._viewer = viewer
        self._state = state
        self._layers = layers
        self._history = history
        self._committer = committer
        self._keeper = keeper

    @property
    def target(self) -> Labels | None:
        """The chosen Labels layer, if it is in the viewer."""
        target = self._state.settings.target
        return target if target is not None and target in self._viewer.layers else None

    def under_mouse(self) -> int:
        """Id of the object under the mouse, 0 if there is none."""
        target = self.target
        if target is None:
            return 0
        return _id_at(array_of(target), to_pixels(target, self._viewer.cursor.position)) or 0

    def select(self, number: int) -> Outcome:
        """Choose an object, or no longer."""
        if not number:
            return Outcome(False, NO_OBJECT)
        chosen = self._state.selected
        self._state.select(chosen - {number} if number in chosen else chosen | {number})
        ids = ", ".join(map(str, sorted(self._state.selected)))
        return Outcome(True, f"Chosen: {ids}." if ids else "No object is chosen.")

    def reopen(self, number: int, plane: PlaneRequest) -> Outcome:
        """Bring the prompts of an object back, to refine it under its id.

        An object without stored prompts gets a click in its middle and a box.
        """
        target, image, prompts = self.target, self._state.settings.image, self._layers.prompts
        if target is None or image is None or prompts is None:
            return Outcome(False, _NO_LAYER)
        if not number:
            return Outcome(False, NO_OBJECT)
        index = plane.index or ()
        stored = self._stored(target, number, index)
        said = stored or self._said_by_mask(target, number, index)
        if said is None:
            return Outcome(
                False, f"Object {number} has no pixels in this plane; go to a plane that it is in."
            )
        settings = self._state.settings
        others = prompts.without_plane(image, current_index(settings, plane))
        own = snapshot_of(prompts, image, settings.channel, [said])
        self._history.reopen(others.joined(own), Reopened(number, plane.index, target))
        self._committer.restore_now()
        how = "with its prompts" if stored else "with a click and a box made from its mask"
        return Outcome(True, f"Object {number} opened again {how}. Refine it; Commit keeps its id.")

    def delete(self, numbers: Sequence[int], plane: PlaneRequest) -> Outcome:
        """Make objects background, in all planes.

        Raises
        ------
        LiteSamError
            If one is not there.
        """
        ids = tuple(sorted(numbers))
        if not ids:
            return Outcome(False, NO_OBJECT)
        edit = ObjectEdit("delete", ids)
        outcome = self._edit(
            plane, edit, lambda layer: objects.delete_objects(array_of(layer), ids)
        )
        self._state.select(self._state.selected - set(ids))
        return outcome or Outcome(True, f"Deleted: {_named(ids)}. Undo brings it back.")

    def merge(self, numbers: Sequence[int], plane: PlaneRequest) -> Outcome:
        """Give objects the smallest of their ids.

        Raises
        ------
        LiteSamError
            If one is not there.
        """
        ids = tuple(sorted(numbers))
        if len(ids) < _TWO:
            return Outcome(
                False,
                "Choose at least two objects: {select_here} over each of them, or rows of the "
                "table.",
            )
        edit = ObjectEdit("merge", ids)
        outcome = self._edit(plane, edit, lambda layer: objects.merge_objects(array_of(layer), ids))
        self._state.select({ids[0]})
        return outcome or Outcome(True, f"Merged into object {ids[0]}: {_named(ids[1:])}.")

    def split(self, plane: PlaneRequest) -> Outcome:
        """Cut the object under the two points of the plane in two, between them.

        Raises
        ------
        LiteSamError
            If the points are not on one object.
        """
        target, image, prompts = self.target, self._state.settings.image, self._layers.prompts
        if target is None or image is None or prompts is None:
            return Outcome(False, _NO_LAYER)
        said = prompts.on_plane(image, current_index(self._state.settings, plane))
        points = () if said is None else said.points
        if len(points) != _TWO:
            return Outcome(
                False,
                f"Splitting needs two points, one on each part of the object; there are "
                f"{len(points)}. Clear the prompts and click twice.",
            )
        index = plane.index or ()
        first, second = ((point.y, point.x) for point in points)
        pixels = np.asarray(array_of(target)[index] if index else array_of(target))
        number = _id_at(pixels, first)
        if number is None or _id_at(pixels, second) is None:
            return Outcome(
                False, "A point lies outside the image; move it onto the object, or undo it."
            )
        if not number:
            return Outcome(False, "The first point is not on an object; move it onto one.")
        new = self._committer.writer.next_id(target)
        edit = ObjectEdit("split", (number,), index, (first, second), new)

        def cut(layer: Labels) -> Change:
            return objects.split_object(
                array_of(layer), number, (first, second), index, new_number=new
            )

        outcome = self._edit(plane, edit, cut)
        if outcome is None:
            self._committer.restore(
                prompts.without_plane(image, current_index(self._state.settings, plane))
            )
            self._state.select({number, new})
        return outcome or Outcome(True, f"Object {number} was split; the other part is {new}.")

    def mend(self, operation: str, numbers: Sequence[int], plane: PlaneRequest) -> Outcome:
        """Fill holes of objects, remove their islands or smooth them, in the plane.

        Parameters
        ----------
        operation
            ``"fill_holes"``, ``"remove_islands"`` or ``"smooth"``.
        numbers, plane
            Objects and plane.

        Raises
        ------
        LiteSamError
            If an object is not in the plane.
        """
        target = self.target
        if target is None or not numbers:
            return Outcome(False, _NO_LAYER if target is None else NO_OBJECT)
        index = plane.index or ()
        before = np.array(array_of(target)[index] if index else array_of(target))
        after = before.copy()
        actions = []
        size = _SMOOTHING_PX if operation == "smooth" else None
        for number in sorted(numbers):
            change = _MEND[operation](after, number)
            if not change.empty:
                objects.apply_change(after, change)
                actions.append(ObjectEdit(operation, (number,), index, size_px=size))
        if not actions:
            return Outcome(False, f"Nothing to do: {_named(sorted(numbers))} stayed as it was.")
        leading = (1,) * len(index)
        change = objects.change_of(
            before.reshape(*leading, *before.shape),
            after.reshape(*leading, *after.shape),
            (*index, 0, 0),
        )
        self._committer.edit(plane, change, tuple(actions), len(actions))
        done = _named([action.ids[0] for action in actions])
        return Outcome(True, f"{_DONE[operation]}: {done}.")

    def _edit(
        self, plane: PlaneRequest, edit: ObjectEdit, change_of: Callable[[Labels], Change]
    ) -> Outcome | None:
        """Do an operation; return why it could not be done, or None."""
        target = self.target
        if target is None:
            return Outcome(False, _NO_LAYER)
        change = change_of(target)
        if change.empty:
            return Outcome(False, "Nothing changed.")
        self._committer.edit(plane, change, (edit,), len(edit.ids))
        return None

    def _stored(self, target: Labels, number: int, index: tuple[int, ...]) -> Draft | None:
        """What a person said about an object; shapes where it was drawn."""
        session = self._keeper.session(target)
        stored = None if session is None else session.objects().get(number)
        if stored is None:
            return None
        said, drawn = stored.prompts(index), stored.drawn(index)
        if drawn is not None:
            return Draft(index, drawn.prompts, shapes=drawn.shapes)
        return None if said is None else Draft(index, said)

    def _said_by_mask(self, target: Labels, number: int, index: tuple[int, ...]) -> Draft | None:
        pixels = np.asarray(array_of(target)[index] if index else array_of(target))
        found = records_from_labels((pixels == number).astype(np.uint8))
        return Draft(index, prompts_from_mask(found[0])) if found else None


def _id_at(labels: Any, position: npt.ArrayLike) -> int | None:
    """Id at a position in pixels; None outside of the labels."""
    at = tuple(int(place) for place in np.round(np.asarray(position)))
    if not all(0 <= place < size for place, size in zip(at, labels.shape, strict=True)):
        return None
    return int(np.asarray(labels[at]))


_MEND: dict[str, Callable[[npt.NDArray[Any], int], Change]] = {
    "fill_holes": objects.fill_holes,
    "remove_islands": objects.remove_islands,
    "smooth": partial(objects.smooth_object, radius_px=_SMOOTHING_PX),
}
_DONE = {
    "fill_holes": "Holes filled",
    "remove_islands": "Islands removed",
    "smooth": "Outline smoothed",
}


def _named(ids: Sequence[int]) -> str:
    """Objects in words."""
    shown = ", ".join(map(str, ids[:5])) + (" …" if len(ids) > 5 else "")
    return f"object {shown}" if len(ids) == 1 else f"objects {shown}"
