"""Results → Labels layer of the user's choice, with steps of undo and a session that is kept.

Everything that changes a Labels layer goes through here, so that there is one history. No Qt, no
model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.merge import records_from_labels
from litesam.objects import Change
from litesam.session import (
    HandEdit,
    record_batch,
    record_change,
    record_mask,
    record_object,
)
from napari_litesam.requests import current_index
from napari_litesam.stored_prompts import drawn_on_plane
from napari_litesam.writes import LabelWriter, Written, stroke_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from litesam.objects import Commit
    from litesam.session import Action, Drawn
    from litesam.types import MaskRecord
    from napari_litesam.current_object import Shown
    from napari_litesam.history import History
    from napari_litesam.prompt_layers import PromptSnapshot
    from napari_litesam.requests import ImageSource, PlaneRequest
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState, Words
    from napari_litesam.viewer_layers import ViewerLayers


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an intent.

    Attributes
    ----------
    done
        Whether it was followed.
    text
        A sentence for the user.
    ids
        Objects of prompts that were committed.
    """

    done: bool
    text: str
    ids: tuple[int, ...] = ()


class Committer:
    """Writes objects into the chosen Labels layer and takes them back."""

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        layers: ViewerLayers,
        history: History,
        keeper: SessionKeeper,
    ) -> None:
        self._viewer = viewer
        self._state = state
        self._layers = layers
        self._history = history
        self._keeper = keeper
        self.writer = LabelWriter()

    # -------------------------------------------------------------------------------------- objects

    def commit(self, shown: Shown, into: int | None = None) -> Outcome:
        """Write one object under a new id, or under its own if it was opened again, and clear the
        prompts of its plane.

        Parameters
        ----------
        shown
            The object.
        into
            Id of an object that is there, in this plane or in others, to add it to.

        Raises
        ------
        LiteSamError
            If the Labels layer cannot take it.
        """
        if shown.reply.each:
            if into is not None:
                return Outcome(False, "There are several objects; one can be added to another.")
            return self._commit_each(shown)
        plane, policy = shown.request.plane, self._state.settings.policy
        target = self._target(plane)
        reopened = self._history.refined(target)
        number = reopened.id if reopened is not None and reopened.index == plane.index else None
        again = number is not None and into in (None, number)
        number = number if into is None else into
        chosen = self._history.now.number if number is None else None
        if chosen is not None and self.writer.has(target, chosen):
            self._state.select({chosen})
            return Outcome(False, taken(chosen))
        commit = self.writer.commit(
            target, shown.mask, plane.index, number=number or chosen, reopened=again, policy=policy
        )
        if not commit.objects:
            return Outcome(
                False,
                "All pixels of this object belong to other objects already; nothing was written.",
            )
        action = self._recorded(target, shown, commit.ids[0], reopened=again)
        self._keep(Written(target, commit.change, (action,)))
        text = f"Object {commit.ids[0]} committed: {commit.pixels:,} px."
        if into is not None and not again:
            text = f"{commit.pixels:,} px added to object {into}."
        text += self._about_others(commit)
        self._spend_number(commit.ids)
        self._clear_plane(plane)
        return Outcome(True, text, commit.ids)

    def _commit_each(self, shown: Shown) -> Outcome:
        """Write the objects of several prompts, as one step."""
        plane, policy = shown.request.plane, self._state.settings.policy
        target, found = self._target(plane), shown.reply.each
        commit = self.writer.commit_all(
            target,
            found,
            plane.index,
            policy=policy,
            min_free_share=0.0,
            first=self._history.now.number,
        )
        if not commit.objects:
            return Outcome(
                False,
                "All pixels of these objects belong to other objects already; nothing was written.",
            )
        index, model = plane.index or (), self._keeper.model_beside(target, plane.source)
        actions: tuple[Action, ...]
        if self._keeper.decodable(target, self._state.settings.image, plane.source):
            said = shown.request.each
            batch = record_batch(commit.ids, index, said, found, model=model, policy=policy)
            actions = (batch,)
        else:
            actions = tuple(
                record_mask(number, index, record, source="prompts", model=model, policy=policy)
                for number, record in zip(commit.ids, found, strict=True)
                if number
            )
        self._keep(Written(target, commit.change, actions, commit.objects))
        ids = tuple(number for number in commit.ids if number)
        text = f"{len(ids)} objects committed: {', '.join(map(str, ids[:8]))}"
        text += " …." if len(ids) > 8 else "."
        text += self._about_others(commit)
        self._spend_number(commit.ids)
        self._clear_plane(plane)
        return Outcome(True, text, ids)

    def commit_all(
        self,
        plane: PlaneRequest,
        found: Sequence[MaskRecord],
        *,
        source: str = "everything",
        clear: bool = False,
    ) -> Outcome:
        """Write all objects of a plane under new ids.

        Parameters
        ----------
        plane, found
            The plane and its objects.
        source
            Where they come from, for the session.
        clear
            They are the answer to the prompts of the plane, which are cleared.

        Raises
        ------
        LiteSamError
            If the Labels layer cannot take them.
        """
        if not found:
            return Outcome(
                False,
                "Everything found no object. Lower the thresholds, or try the other proposals.",
            )
        target = self._target(plane)
        policy = self._state.settings.policy
        commit = self.writer.commit_all(
            target, found, plane.index, policy=policy, first=self._history.now.number
        )
        model = self._keeper.model_beside(target, plane.source)
        session = self._keeper.session(target)
        if model is None and session is not None:
            model = session.model  # a kept mask is of no model unless it says so
        actions = tuple(
            record_mask(
                number, plane.index or (), record, source=source, model=model, policy=policy
            )
            for number, record in zip(commit.ids, found, strict=True)
            if number
        )
        self._keep(Written(target, commit.change, actions, len(actions)))
        self._spend_number(commit.ids)
        if clear:
            self._clear_plane(plane)
        if not commit.objects:
            return Outcome(True, "Everything found only objects that are there already.")
        ids = [number for number in commit.ids if number]
        text = f"Everything: {len(ids)} objects, ids {ids[0]} to {ids[-1]}."
        left_out = len(found) - len(ids)
        if left_out:
            text += f" {left_out} left out: they lie on objects that are there."
        return Outcome(True, text)

    def edit(
        self,
        plane: PlaneRequest,
        change: Change,
        actions: tuple[Action, ...],
        objects: int = 1,
        what: str = "",
    ) -> None:
        """Write an operation on objects as one step; ``what``: see `Written`."""
        target = self._target(plane)
        self.writer.write(target, change)
        self._keep(Written(target, change, actions, objects, what))

    def stroke(
        self, layer: Labels, atoms: Sequence[Any], image: Image | None, source: ImageSource | None
    ) -> None:
        """Take note of what the user painted by hand; it is a step as well.

        ``image``, ``source``: those that the layer belongs to, where that is known.
        """
        change = stroke_of(layer, atoms)
        if change.empty:
            return
        self.writer.note(layer, change)
        if image is not None and source is not None:
            self._keeper.begin(image, layer, source, change)
        self._keep(Written(layer, change, (record_change(change),)))

    # ---------------------------------------------------------------------------------------- steps

    def undo(self) -> Outcome:
        """Take back the last change of the prompts, choice, object or everything."""
        step = self._history.undo()
        if step is None:
            return Outcome(False, "There is nothing to undo.")
        text, written = "Undone.", step.written
        if written is not None and written.layer in self._viewer.layers:
            change = self.writer.withdraw(written.layer, written.change)
            self._keeper.undid(written.layer, written.actions, change)
            text = f"Undone: {_words(written)} in {written.layer.name!r}."
        self.restore_now()
        return Outcome(True, text)

    def redo(self) -> Outcome:
        """Do again what was taken back last."""
        step = self._history.redo()
        if step is None:
            return Outcome(False, "There is nothing to redo.")
        text, written = "Done again.", step.written
        if written is not None and written.layer in self._viewer.layers:
            change = self.writer.write_again(written.layer, written.change)
            if change.pixels == written.change.pixels:
                self._keeper.did(written.layer, written.actions, _changes(written))
            else:
                # Others wrote there meanwhile: doing it again would give other pixels.
                self._keeper.painted(written.layer, change)
            text = f"Done again: {_words(written)} in {written.layer.name!r}."
        self.restore_now()
        return Outcome(True, text)

    def clear_prompts(self) -> Outcome:
        """Remove all prompts and words of the current object, in every plane."""
        now = self._history.now
        if now.prompts.empty and now.words is None:
            return Outcome(False, "There are no prompts to clear.")
        self.look_for(None)
        return Outcome(True, "Words cleared." if now.prompts.empty else "Prompts cleared.")

    def look_for(self, words: Words | None) -> None:
        """Put words in place of the prompts of every plane; None: nothing."""
        self._history.look_for(words)
        self.restore_now()

    def restore(self, snapshot: PromptSnapshot) -> None:
        """Put the prompts to a snapshot without making that a step of undo."""
        self._history.set_prompts(snapshot)
        self.restore_now()

    # ------------------------------------------------------------------------------------- in parts

    def restore_now(self) -> None:
        """Put the layers to the prompts of now, and the settings to its words."""
        now, prompts = self._history.now, self._layers.prompts
        self._state.update(words=now.words)
        if prompts is not None:
            # Noted before anybody hears of it: rounded prompts are no step of the user's.
            self._history.now = replace(now, prompts=prompts.put(now.prompts))
            prompts.changed.emit()

    def _spend_number(self, ids: Sequence[int]) -> None:
        """The id that the user chose is given."""
        if self._history.now.number in ids:
            self._history.now = replace(self._history.now, number=None)

    def _clear_plane(self, plane: PlaneRequest) -> None:
        settings, prompts = self._state.settings, self._layers.prompts
        reopened = self._history.now.reopened
        if reopened is not None and reopened.index == plane.index:
            self._history.now = replace(self._history.now, reopened=None)
        self._history.set_words(None)
        if prompts is not None and settings.image is not None:
            self._history.set_prompts(
                prompts.without_plane(settings.image, current_index(settings, plane))
            )
        self.restore_now()

    def target(self, plane: PlaneRequest) -> Labels:
        """Return the layer that receives objects, made now if there is none."""
        return self._target(plane)

    def _target(self, plane: PlaneRequest) -> Labels:
        """The layer that receives objects, made now if there is none; its session is open then."""
        settings = self._state.settings
        assert settings.image is not None
        target = settings.target
        if target is None or target not in self._viewer.layers:
            target = self._layers.add_objects(settings.image)
            self._keeper.note_empty(target)
            self._state.update(target=target)
        self._keeper.begin(settings.image, target, plane.source)
        return target

    def _keep(self, written: Written) -> None:
        """Make a write that is done a step of undo, and write it down."""
        self._history.push(written)
        self._keeper.did(written.layer, written.actions, _changes(written))

    def _recorded(self, target: Labels, shown: Shown, number: int, *, reopened: bool) -> Action:
        """Action of a committed object."""
        request, policy = shown.request, self._state.settings.policy
        index = request.plane.index or ()
        model = self._keeper.model_beside(target, request.plane.source)
        again = self._keeper.decodable(target, self._state.settings.image, request.plane.source)
        said = shown.reply.prompts
        if said is None or shown.reply.result is None or not again:
            record = _record_of(shown)
            words = "prompts" if request.words is None else f"words: {request.words.text}"
            return record_mask(
                number, index, record, source=words, model=model, policy=policy, reopened=reopened
            )
        return record_object(
            number,
            index,
            said,
            shown.reply.result,
            model=model,
            policy=policy,
            reopened=reopened,
            drawn=self._drawn(request.plane) if request.drawing is not None else None,
        )

    def _drawn(self, plane: PlaneRequest) -> Drawn | None:
        """What was drawn in a plane, to bring it back when the object is opened again."""
        settings, prompts = self._state.settings, self._layers.prompts
        if prompts is None or settings.image is None:
            return None
        return drawn_on_plane(prompts, settings.image, current_index(settings, plane))

    def _about_others(self, commit: Commit) -> str:
        """What a commit did not get from other objects, or took from them."""
        text = ""
        if commit.refused_px:
            text += f" {commit.refused_px:,} px belong to other objects and stayed theirs."
        if commit.overwritten:
            ids = ", ".join(map(str, commit.overwritten[:5]))
            more = " …" if len(commit.overwritten) > 5 else ""
            text += f" It took pixels of {ids}{more}."
        return text


def taken(number: int) -> str:
    """What to do about an id that is not free; the object is chosen."""
    return (
        f"Object {number} is there already, and is chosen now: *Join* ({{commit_into}}) adds the "
        "preview to it, *Open again* refines it."
    )


def _record_of(shown: Shown) -> MaskRecord:
    """The mask that is shown, in pixels of the layer, with the scores of the model."""
    (record,) = records_from_labels(shown.mask.astype(np.uint8))
    said = shown.reply.record
    if said is not None:
        scores = {name: getattr(said, name) for name in ("predicted_iou", "stability", "score")}
        record = replace(record, **scores)
    return replace(record, label=0)


def _changes(written: Written) -> list[Change]:
    """What each action of a step changed: the first counts for all."""
    empty = Change(
        tuple((start, start) for start, _ in written.change.region),
        written.change.before[:0],
        written.change.after[:0],
    )
    return [written.change, *[empty] * (len(written.actions) - 1)]


def _words(written: Written) -> str:
    """What a step was, for people."""
    if written.what:
        return written.what
    if any(isinstance(action, HandEdit) for action in written.actions):
        return "a stroke"
    return f"{written.objects} object(s)"
