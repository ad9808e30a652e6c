"""Wires one viewer: layers and sliders → requests → worker → preview and labels.

The only module that knows all others. One controller belongs to one viewer and one widget and holds
all that lasts between two events; nothing is kept at module level. Layers are held as objects and
never looked up by name.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from psygnal import Signal

from napari_litesam.drafts import Drafts
from napari_litesam.drawn_shapes import MODES
from napari_litesam.image_axes import pixels
from napari_litesam.intents import Intents
from napari_litesam.label_layer import adopt
from napari_litesam.opened_session import SessionRestorer
from napari_litesam.reasons import Situation, disabled_reasons
from napari_litesam.requests import (
    NotReady,
    channel_shown,
    plane_index,
    resolve,
    resolve_plane,
    source_of,
)
from napari_litesam.state import Level, PluginState, Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel

    from litesam.types import ModelSpec, Progress
    from napari_litesam.plane_jobs import Found, Proposed
    from napari_litesam.requests import ImageSource
    from napari_litesam.session_desk import Opened

_DIMS = ("current_step", "ndisplay", "order", "range")
#: Settings with which the model sees something else, or is another.
_OTHER_PIXELS = {
    *("image", "channel", "colours", "level", "contrast", "look", "looks"),
    *("model", "device", "weights"),
}
_PICK = "Click on a candidate to reject it or to accept it again."
_RECREATE = "The prompt layers were removed; choose Positive, Negative or Box to get them back."


class Controller(Intents):
    """Everything that happens between one viewer and the engine.

    Attributes
    ----------
    layers_changed
        Emitted when the layers that the widget offers may have changed.
    """

    layers_changed = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        specs: Sequence[ModelSpec] | None = None,
    ) -> None:
        super().__init__(viewer, state, specs)
        self._drafts = Drafts(state, self._history, self.review, self.keeper)
        self._restorer = SessionRestorer(
            state, self._history, self._committer, self.review, self.models, self.words
        )
        for signal, slot in self._connections():
            signal.connect(slot)
        active = self.viewer.layers.selection.active
        images = self.images()
        if images:
            state.update(image=active if active in images else images[-1])
        self.desk.look()
        self._schedule()

    def close(self, *, tidy: bool = False) -> None:
        """Cancel all work and let go of the viewer.

        Parameters
        ----------
        tidy
            Take the prompt layers and the preview out of the viewer, which goes on. Objects always
            stay.
        """
        if self._closed:
            return
        self._closed = True
        self._timer.stop()
        self.models.close()
        self._current.close()
        self._planes.lane.close()
        self.words.close()
        self.desk.lane.close()
        self.table.close()
        self.series.close()
        self.volume.close()
        self.propagation.close()
        self.keeper.close()
        self._contrast.close()
        self.ahead.close()
        self.hover.close()
        self._preferences.close()
        for signal, slot in self._connections():
            signal.disconnect(slot)
        self._layers.close(tidy=tidy)

    def close_at_last(self) -> None:
        """Close what is left; at the end of a program Qt may have taken the workers away."""
        with suppress(RuntimeError):
            self.close()

    # --------------------------------------------------------------------------------------- events

    def _connections(self) -> Iterator[tuple[Any, Callable[..., None]]]:
        """Yield signals and what follows them."""
        layers, dims = self.viewer.layers, self.viewer.dims
        yield layers.events.inserted, self._on_inserted
        yield layers.events.removed, self._on_removed
        yield layers.events.renamed, self._on_renamed
        yield layers.selection.events.active, self._on_active
        for name in _DIMS:
            yield getattr(dims.events, name), self._schedule
        lanes = (self._current.lane, self._planes.lane, self.words.lane, self.desk.lane)
        stacks = (self.volume.lane, self.volume.complete.opener, self.propagation.lane)
        for lane in (*lanes, self.series.lane, self.table.lane, self.table.exports, *stacks):
            yield lane.changed, self._on_lane
            yield lane.progressed, self._on_progress
            yield lane.broken, self._on_bug
        yield self._planes.started, self._on_started
        yield self._planes.embedded, self._on_embedded
        yield self._planes.found, self._on_everything
        yield self._planes.proposed, self._on_proposed
        yield self._planes.failed, self._on_error
        yield self._current.awaited, self.commit
        yield self._current.failed, self._reporter.tell
        yield self.words.ready, self._committer.look_for
        yield self.words.failed, self._reporter.tell
        yield self._layers.prompts_changed, self._on_prompts
        yield self._layers.candidate_clicked, self.review.click
        yield self.review.changed, self._schedule
        yield self._layers.pixels_changed, self._on_pixels
        yield self._layers.painted, self._on_painted
        yield self._layers.replaced, self._on_replaced
        yield self._layers.picked, self._on_picked
        yield self.table.exported, self._on_exported
        yield self.table.failed, self._reporter.tell
        yield self.series.told, self._on_volume
        yield self.series.failed, self._reporter.tell
        yield self.volume.done, self._on_volume
        yield self.volume.failed, self._reporter.tell
        yield self.propagation.done, self._on_volume
        yield self.propagation.failed, self._reporter.tell
        yield self.desk.opened, self._on_opened
        yield self.desk.failed, self._reporter.tell
        yield self.keeper.failed, self._on_not_kept
        yield self.ahead.failed, self._reporter.tell
        yield self._layers.axes_changed, self._on_axes
        yield self._layers.transform_changed, self._on_moved
        yield self.state.selection_changed, self._schedule
        yield self.state.settings_changed, self._on_settings

    def _on_inserted(self, event: Any) -> None:
        if isinstance(event.value, Image) and self.state.settings.image is None:
            self.state.update(image=event.value)
        self.desk.show()
        self.layers_changed.emit()
        self._schedule()

    def _on_renamed(self, _event: Any = None) -> None:
        self.desk.show()
        self.layers_changed.emit()

    def _on_removed(self, event: Any) -> None:
        """Only take note; layers are changed in the refresh, when napari is done with this
        removal.
        """
        layer: Any = event.value
        settings = self.state.settings
        if layer is self._layers.candidates and not self._layers.own_changes:
            self.review.discard()
        self._layers.note_removed(layer)
        if isinstance(layer, Labels):
            self._history.void(layer)
        self.keeper.let_go(layer)
        self.volume.note_removed(layer)
        self.propagation.forget(layer)
        if layer is settings.target:
            self.state.update(target=None)
        if isinstance(layer, Image):
            self._pool.forget(pixels(layer))
        if settings.colours is not None and layer in settings.colours.layers:
            self.state.update(colours=None)
            self._note = f"{layer.name!r} is gone: the model sees one layer alone again."
        if layer is settings.image:
            others = self.images()
            self.state.update(image=others[-1] if others else None, colours=None)
        self.layers_changed.emit()
        self._schedule()

    def _on_active(self, event: Any) -> None:
        """Let the tool follow the layer that the user chose in napari's layer list."""
        if self._layers.own_changes or self.prompts is None:
            return
        tool = Tool.NONE
        if event.value is self.prompts.points:
            tool = Tool.POINT
        elif event.value is self.prompts.boxes:
            mode = str(self.prompts.boxes.mode)
            tool = next((one for one, name in MODES.items() if name == mode), Tool.BOX)
        elif event.value is self._layers.candidates:
            tool = Tool.PICK
        self.state.update(tool=tool)

    def _on_settings(self, changed: frozenset[str]) -> None:
        if changed & _OTHER_PIXELS:
            self._current.forget()
            self._planes.lane.cancel()
            self._note = f"{self.models.spec.title} answers now." if "model" in changed else ""
        if changed & {"image", "channel", "colours"}:
            self._layers.removed_by_user = False
            self.words.lane.cancel()
            image, colours = self.state.settings.image, self.state.settings.colours
            self._layers.watch(image, () if colours is None else colours.layers)
            target = None if image is None else self._targets.get(image)
            self.state.update(target=target if target in self.targets() else None)
            if "image" not in changed:  # each image has its own moments
                self._history.set_words(None)
                self.state.update(words=None)
            self.layers_changed.emit()
        if "keys" in changed:
            self.keys.bind()
        if "sign" in changed and self.prompts is not None:
            self.prompts.set_sign(self.state.settings.sign)
        image, target = self.state.settings.image, self.state.settings.target
        if "target" in changed:
            self.state.select(())
            if image is not None and target is not None:
                self._targets[image] = target
                adopt(target, image)
                self._layers.watch_objects(target, image)
            self.table.measure(target)
        self._schedule()

    def _on_prompts(self) -> None:
        if self.prompts is not None and self._history.follow(self.prompts.snapshot()):
            self._note = ""
        self._schedule()

    def _on_painted(self, layer: Labels, atoms: Any) -> None:
        """Pixels of objects changed: by the panel, or by hand, which is a step as well."""
        if not self._committer.writer.writing:
            image = self._image_of(layer)
            source = None if image is None else self._source_of(image)
            self._committer.stroke(layer, atoms, image, source)
        if layer is self.state.settings.target:
            self.table.measure(layer)
        self._schedule()

    def _image_of(self, layer: Labels) -> Image | None:
        """The image whose objects a layer receives: also one that is not chosen now."""
        if layer is not self.state.settings.target:
            for image, target in self._targets.items():
                if target is layer:
                    return image
        return self.state.settings.image if layer in self.targets() else None

    def _source_of(self, image: Image) -> ImageSource | None:
        """An image as the model sees it."""
        settings = self.state.settings
        if image is not settings.image:
            settings = replace(
                settings, image=image, channel=None, colours=None, level=0, look=None
            )
        at = plane_index(image, self.viewer.dims)
        if isinstance(at, NotReady):  # the sliders are elsewhere, or the viewer shows 3-D
            at = dict.fromkeys(range(image.ndim - 2), 0)
        source = source_of(settings, at)
        return None if isinstance(source, NotReady) else source

    def _on_picked(self, layer: Labels, number: int) -> None:
        """Choose in the table what is picked in the layer."""
        if layer is self.state.settings.target:
            self.state.select({number} & {row.id for row in self.state.objects})

    def _on_replaced(self, layer: Labels) -> None:
        """A layer with objects got another array: what is known about it is void."""
        self._committer.writer.forget(layer)
        self.propagation.forget(layer)
        self._history.void(layer)
        self.keeper.let_go(layer)
        if layer is self.state.settings.target:
            self.table.measure(layer)
        self.layers_changed.emit()
        self._schedule()

    def _on_exported(self, text: str) -> None:
        self.state.report(Level.READY, text)

    def _on_volume(self, text: str) -> None:
        self._note = text
        self._schedule()

    def _on_opened(self, opened: Opened) -> None:
        """Bring back what an opened session says beside its objects."""
        self._refresh()
        self.series.follow(opened)
        self._note = self._restorer.restore(opened, self.prompts)
        self._schedule()

    def _on_not_kept(self, error: Exception) -> None:
        """The disk refused the autosave: the work itself goes on."""
        self._reporter.refuse(
            f"Autosave does not work: {error} Go on, but save the Labels layer yourself."
        )

    def _on_pixels(self) -> None:
        """The image got another array: what is known about it is void."""
        image = self.state.settings.image
        if image is None:
            return
        self._current.forget()
        self._planes.lane.cancel()
        self.layers_changed.emit()
        self._schedule()

    def _on_moved(self) -> None:
        """The image lies elsewhere: objects may have another size, and axes be taken for others."""
        self._tend_target()
        self.table.measure(self.state.settings.target)
        self._schedule()

    def _on_axes(self) -> None:
        """Axes got other names: planes and channels are others, and so is what fits them."""
        self._on_pixels()
        self._tend_target()
        self.state.update(channel=None)

    def _tend_target(self) -> None:
        """Let go of a layer that does not fit the axes of the image any more."""
        image, target = self.state.settings.image, self.state.settings.target
        if target not in self.targets():
            self.state.update(target=None)
        elif image is not None and target is not None:
            adopt(target, image)

    # ----------------------------------------------------------------------------- the one reaction

    def _refresh(self) -> None:
        """Bring layers, request and status in line with what the user wants now."""
        if self._closed:
            return
        self._tend_layers()
        self._object_hq.follow()
        self.next_id.follow()
        settings = self.state.settings
        self.review.show(resolve_plane(settings, self._scene()))
        request = resolve(settings, self._scene())
        if isinstance(request, NotReady):
            self._current.drop()
            lanes = (self._planes.lane, self.volume.lane, self.propagation.lane)
            if not any(lane.busy for lane in lanes):
                reason = request.reason
                if settings.image is not None and self._layers.removed_by_user:
                    reason = _RECREATE
                elif settings.tool is Tool.PICK and not request.warns:
                    reason = _PICK
                level = Level.WARNING if request.warns else Level.READY
                self.state.report(level, f"{self._note} {reason}".strip())
        else:
            choice = self._history.now.choice
            here = choice is not None and choice.index == request.plane.index
            self._current.ask(
                request, self.models.spec, choice.candidate if choice and here else None
            )
        self._drafts.keep(self.prompts, self._scene())
        self._update_disabled()
        self._current.meet()

    def _tend_layers(self) -> None:
        """Remove our layers of another image, add those that are missing."""
        settings = self.state.settings
        past = self._history.past
        tended = self._layers.tend(settings.image, settings.sign)
        if tended == "none" and settings.image is not None and self._layers.removed_by_user:
            self._history.lose_prompts()
            self._committer.restore_now()
        elif tended != "kept":
            # Each image has its own steps and prompts; they wait until the user comes back to it.
            self._history.turn_to(settings.image, past)
            self._committer.restore_now()
            self._drafts.note()
        if tended == "new":
            self._activate(Tool.POINT)
        if settings.image is not None and self.prompts is not None:
            self.prompts.follow_channel(channel_shown(settings.image, self.viewer.dims))

    def _update_disabled(self) -> None:
        """Tell the widget which controls cannot be used now and why."""
        settings = self.state.settings
        plane = resolve_plane(settings, self._scene())
        self.volume.look(plane)
        self.propagation.look(plane)
        reasons = disabled_reasons(
            settings,
            Situation(
                plane=plane,
                specs=self.models.specs,
                computing=self._planes.lane.busy,
                decoding=self._current.lane.busy,
                shown=self._current.shown is not None,
                asked=self._current.asked,
                can_undo=self._history.can_undo,
                can_redo=self._history.can_redo,
                candidates=self._candidates(),
                has_prompts=not self._history.now.prompts.empty or settings.words is not None,
                comparing=self.words.lane.busy,
            ),
        )
        reasons |= self.series.reasons()
        reasons |= self.volume.reasons(plane)
        reasons |= self.next_id.reasons()
        shown = self._current.ready is not None
        reasons |= self.propagation.reasons(plane, shown=shown)
        if self.volume.lane.busy or self.propagation.lane.busy:
            reasons.pop("cancel", None)
        self.state.disable(reasons)

    # -------------------------------------------------------------------------------------- replies

    def _on_lane(self) -> None:
        if not self._closed:
            self._update_disabled()

    def _on_started(self) -> None:
        self._note = ""

    def _on_progress(self, progress: Progress) -> None:
        if not self._closed:
            self.state.report(Level.BUSY, progress.message, progress.done, progress.total)

    def _on_embedded(self, planes: int) -> None:
        self._note = f"{planes} plane(s) embedded; clicks are answered at once."
        self._ask_again()

    def _on_everything(self, found: Found) -> None:
        write = partial(
            self._committer.commit_all, found.plane, found.objects, clear=found.answers_boxes
        )
        outcome = self._attempt(write)
        if outcome is not None:
            self._note = outcome.text
            self._ask_again(Level.READY if outcome.done else Level.WARNING)

    def _on_proposed(self, proposed: Proposed) -> None:
        outcome = self.review.begin(
            proposed.plane, proposed.candidates, answers_boxes=proposed.answers_boxes
        )
        self._note = outcome.text
        if outcome.done:
            self._refresh()
            # napari takes as long to change the layer in use as to show the candidates.
            self._timer.after_drawing(self.pick)
        self._ask_again(Level.READY if outcome.done else Level.WARNING)

    def _on_bug(self, error: BaseException) -> None:
        """Leave nothing waiting for a job that broke."""
        self._current.give_up()
        self._reporter.bug(error)
