"""Results → Labels layer of the user's choice, with steps of undo. No Qt, no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from napari_litesam import label_layer
from napari_litesam.prompt_layers import PromptSnapshot
from napari_litesam.requests import current_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Labels

    from litesam.types import BoolArray, LabelArray
    from napari_litesam.history import History
    from napari_litesam.label_layer import Written
    from napari_litesam.requests import PlaneRequest
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an intent: whether it was followed, and a sentence for the user."""

    done: bool
    text: str


class Committer:
    """Writes objects into the chosen Labels layer and takes them back."""

    def __init__(
        self, viewer: ViewerModel, state: PluginState, layers: ViewerLayers, history: History
    ) -> None:
        self._viewer = viewer
        self._state = state
        self._layers = layers
        self._history = history

    def commit(self, plane: PlaneRequest, mask: BoolArray) -> Outcome:
        """Write one object under a new id and clear the prompts of its plane.

        Raises
        ------
        LiteSamError
            If the Labels layer cannot take it.
        """
        written = self._write(partial(label_layer.commit_mask, mask=mask, index=plane.index))
        if not written.objects:
            return Outcome(
                False,
                "All pixels of this object belong to other objects already; nothing was written.",
            )
        self._history.push(written)
        text = f"Object {written.first_id} committed: {written.pixels:,} px."
        if written.refused_px:
            text += f" {written.refused_px:,} px belong to other objects and stayed theirs."
        self._clear_plane(plane)
        return Outcome(True, text)

    def commit_all(
        self, plane: PlaneRequest, labels: LabelArray, *, clear: bool = False
    ) -> Outcome:
        """Write all objects of a plane under new ids.

        ``clear``: they are the answer to the prompts of the plane, which are cleared.

        Raises
        ------
        LiteSamError
            If the Labels layer cannot take them.
        """
        if not labels.any():
            return Outcome(
                False,
                "Everything found no object. Lower the thresholds, or try the other proposals.",
            )
        written = self._write(partial(label_layer.commit_labels, labels=labels, index=plane.index))
        self._history.push(written)
        if clear:
            self._clear_plane(plane)
        if not written.objects:
            return Outcome(True, "Everything found only objects that are there already.")
        last = written.first_id + written.objects - 1
        text = f"Everything: {written.objects} objects, ids {written.first_id} to {last}."
        if written.refused_objects:
            text += f" {written.refused_objects} left out: they lie on objects that are there."
        return Outcome(True, text)

    def undo(self) -> Outcome:
        """Take back the last change of the prompts, choice, commit or everything."""
        step = self._history.undo()
        if step is None:
            return Outcome(False, "There is nothing to undo.")
        text, written = "Undone.", step.written
        if written is not None and written.layer in self._viewer.layers:
            label_layer.withdraw(written)
            text = f"Undone: {written.objects} object(s) taken out of {written.layer.name!r}."
        self._restore_now()
        return Outcome(True, text)

    def redo(self) -> Outcome:
        """Do again what was taken back last."""
        step = self._history.redo()
        if step is None:
            return Outcome(False, "There is nothing to redo.")
        text, written = "Done again.", step.written
        if written is not None and written.layer in self._viewer.layers:
            label_layer.write_again(written)
            text = f"Done again: {written.objects} object(s) put into {written.layer.name!r}."
        self._restore_now()
        return Outcome(True, text)

    def clear_prompts(self) -> Outcome:
        """Remove all prompts and words of the current object, in every plane."""
        words = self._state.settings.words
        self._state.update(words=None)
        if self._layers.prompts is None or self._history.now.prompts.empty:
            if words is not None:
                return Outcome(True, "Words cleared.")
            return Outcome(False, "There are no prompts to clear.")
        self._history.push()
        self.restore(PromptSnapshot())
        return Outcome(True, "Prompts cleared.")

    def restore(self, snapshot: PromptSnapshot) -> None:
        """Put the prompts to a snapshot without making that a step of undo."""
        self._history.set_prompts(snapshot)
        self._restore_now()

    def _restore_now(self) -> None:
        """Put the layers to the prompts of now."""
        now, prompts = self._history.now, self._layers.prompts
        if prompts is not None:
            prompts.restore(now.prompts)
            # What the layers made of it, in case that they round; the choice stays.
            self._history.now = replace(now, prompts=prompts.snapshot())

    def _clear_plane(self, plane: PlaneRequest) -> None:
        self._state.update(words=None)
        settings, prompts = self._state.settings, self._layers.prompts
        if prompts is not None and settings.image is not None:
            self.restore(prompts.without_plane(settings.image, current_index(settings, plane)))

    def _write(self, write: Callable[[Labels], Written]) -> Written:
        """Write into the target layer, made now if there is none."""
        settings = self._state.settings
        target = settings.target
        if target is None or target not in self._viewer.layers:
            assert settings.image is not None
            target = self._layers.add_objects(settings.image)
            self._state.update(target=target)
        return write(target)
