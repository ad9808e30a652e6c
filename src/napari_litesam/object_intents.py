"""What a user can ask of objects that are there: choose, open again, delete, merge, split, mend;
take one as a prompt.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_litesam.committer import Outcome
from napari_litesam.label_axes import show_place
from napari_litesam.label_prompts import label_under, outline_of
from napari_litesam.object_editor import NO_OBJECT
from napari_litesam.requests import NotReady, Scene, resolve_plane
from napari_litesam.state import Level
from napari_litesam.stored_prompts import snapshot_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_litesam.committer import Committer
    from napari_litesam.history import History
    from napari_litesam.next_id import NextId
    from napari_litesam.object_editor import ObjectEditor
    from napari_litesam.reports import Reporter
    from napari_litesam.requests import PlaneRequest
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers


class ObjectIntents:
    """A part of `Intents`, which has all that is named here.

    Attributes
    ----------
    editor
        Committed objects, changed.
    next_id
        The id that the next object gets.
    """

    state: PluginState
    viewer: ViewerModel
    editor: ObjectEditor
    next_id: NextId
    _note: str
    _committer: Committer
    _history: History
    _layers: ViewerLayers
    _reporter: Reporter

    def choose_number(self, number: int) -> None:
        """Give the next object this id; if there is such an object, choose it."""
        outcome = self._attempt(partial(self.next_id.choose, number))
        if outcome is not None:
            self._note = outcome.text
            self.state.report(Level.READY if outcome.done else Level.WARNING, outcome.text)
            self._schedule()

    def select_here(self) -> None:
        """Choose the object under the mouse, or no longer."""
        self._follow(lambda: self.editor.select(self.editor.under_mouse()))

    def reopen_here(self) -> None:
        """Open the object under the mouse again."""
        self._edit(lambda plane: self.editor.reopen(self.editor.under_mouse(), plane))

    def delete_here(self) -> None:
        """Delete the object under the mouse."""
        number = self.editor.under_mouse()
        self._edit(lambda plane: self.editor.delete((number,) if number else (), plane))

    def prompt_from_label(self) -> None:
        """Take the object under the mouse, of any Labels layer, as a prompt: its outline."""
        self._edit(self._prompt_from_label)

    def _prompt_from_label(self, plane: PlaneRequest) -> Outcome:
        image, prompts, layers = self.state.settings.image, self._layers.prompts, self._layers
        there = label_under(
            self.viewer.layers, self.viewer.cursor.position, (layers.preview, layers.candidates)
        )
        if there is None:
            return Outcome(
                False, "There is no label there; move the mouse over an object of a Labels layer."
            )
        if image is None or prompts is None:
            return Outcome(False, "Choose a tool: Positive, Negative or Box.")
        draft = outline_of(there, image, plane.index or ())
        said = snapshot_of(prompts, image, self.state.settings.channel, [draft])
        self._history.push()
        self._history.set_words(None)
        self._committer.restore(self._history.now.prompts.joined(said))
        return Outcome(
            True, f"The outline of object {there.label} of {there.layer.name!r} is a prompt now."
        )

    def reopen(self) -> None:
        """Open the chosen object again."""
        number = self._one_chosen()
        if number is not None:
            self._edit(lambda plane: self.editor.reopen(number, plane))

    def commit_into(self) -> None:
        """Add the previewed object to the chosen one, which may be in other planes so far."""
        number = self._one_chosen()
        if number is not None:
            self.commit(number)

    def _one_chosen(self) -> int | None:
        if len(self.state.selected) == 1:
            return next(iter(self.state.selected))
        self._reporter.refuse("Choose one object: {select_here} over it, or its row of the table.")
        return None

    def delete_objects(self) -> None:
        """Delete the chosen objects."""
        self._edit(lambda plane: self.editor.delete(tuple(self.state.selected), plane))

    def merge_objects(self) -> None:
        """Make one of the chosen objects."""
        self._edit(lambda plane: self.editor.merge(tuple(self.state.selected), plane))

    def split_object(self) -> None:
        """Cut the object under the two points in two."""
        self._edit(self.editor.split)

    def mend_objects(self, operation: str) -> None:
        """Fill the holes of the chosen objects, remove their islands or smooth them."""
        if not self.state.selected:
            self._reporter.refuse(NO_OBJECT)
            return
        self._edit(lambda plane: self.editor.mend(operation, tuple(self.state.selected), plane))

    def fly_to(self, number: int) -> None:
        """Show an object in the middle of the canvas."""
        target = self.editor.target
        row = next((one for one in self.state.objects if one.id == number), None)
        if target is None or row is None:
            return
        centre = list(row.centroid)
        if row.planes and row.planes[0]:
            # The centroid of an object of several planes may lie in none of them.
            middle = row.planes[len(row.planes) // 2]
            centre[: len(middle)] = middle
        show_place(self.viewer, target, centre)

    def _edit(self, intent: Callable[[PlaneRequest], Outcome]) -> None:
        """Follow an intent on objects of the plane shown."""
        plane = resolve_plane(self.state.settings, self._scene())
        if isinstance(plane, NotReady):
            self._reporter.refuse(plane.reason)
            return
        self._follow(partial(intent, plane))

    # ------------------------------------------------------------------------- of the whole panel

    def commit(self, into: int | None = None) -> None:
        """Write the previewed object into the Labels layer."""
        raise NotImplementedError

    def _scene(self) -> Scene:
        raise NotImplementedError

    def _attempt(self, intent: Callable[[], Outcome]) -> Outcome | None:
        raise NotImplementedError

    def _schedule(self) -> None:
        raise NotImplementedError

    def _follow(self, intent: Callable[[], Outcome]) -> Outcome | None:
        """Follow an intent on prompts and objects, and tell what came of it."""
        raise NotImplementedError
