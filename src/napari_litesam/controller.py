"""Wires one viewer: layers and sliders → requests → worker → preview and labels.

The only module that knows all others. One controller belongs to one viewer and one widget and holds
all that lasts between two events; nothing is kept at module level. Layers are held as objects and
never looked up by name.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image, Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from litesam.errors import LiteSamError
from litesam.types import PointLabel, Progress
from napari_litesam.committer import Committer, Outcome
from napari_litesam.current_object import CurrentObject
from napari_litesam.history import Choice, History
from napari_litesam.model_switch import ModelSwitch
from napari_litesam.plane_jobs import Found, PlaneJobs
from napari_litesam.prompt_layers import PromptLayers, PromptSnapshot
from napari_litesam.reasons import Situation, candidate_reason, commit_reason, disabled_reasons
from napari_litesam.reports import Reporter
from napari_litesam.requests import (
    NotReady,
    Scene,
    pixels,
    resolve,
    resolve_plane,
)
from napari_litesam.segmenters import SegmenterPool
from napari_litesam.state import Level, PluginState, Tool, Words
from napari_litesam.viewer_layers import ViewerLayers
from napari_litesam.word_search import WordSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel

    from litesam.types import ModelSpec

_DIMS = ("current_step", "ndisplay", "order", "range")
_RECREATE = "The prompt layers were removed; choose Positive, Negative or Box to get them back."


class Controller:
    """Everything that happens between one viewer and the engine.

    Attributes
    ----------
    layers_changed
        Emitted when the layers that the widget offers may have changed.
    models
        Changes the model in use.
    words
        Looks for objects by words.
    state
        Settings and status of this viewer.
    """

    layers_changed = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        specs: Sequence[ModelSpec] | None = None,
    ) -> None:
        self.state = state
        # napari hands plugins a proxy that wraps every layer anew; layers are held here as objects,
        # so their identity matters. Only public names are used all the same.
        self.viewer: ViewerModel = getattr(viewer, "__wrapped__", viewer)
        self._pool = SegmenterPool()
        self._reporter = Reporter(state)
        self._planes = PlaneJobs(state, self._pool, self._reporter)
        self.models = ModelSwitch(state, self._pool, specs)
        self._layers = ViewerLayers(
            self.viewer,
            keys={
                "C": self.commit,
                "Shift-C": self.clear_prompts,
                "N": self.next_candidate,
                "Shift-N": partial(self.next_candidate, -1),
                "Control-Z": self.undo,
                "Control-Shift-Z": self.redo,
            },
            point_keys={"T": self.toggle_sign},
        )
        self._targets: WeakKeyDictionary[Image, Labels] = WeakKeyDictionary()
        self._current = CurrentObject(state, self._pool, self._layers)
        self.words = WordSearch(state, self._pool)
        self._history = History()
        self._committer = Committer(self.viewer, state, self._layers, self._history)
        self._note = ""
        self._closed = False
        # All reactions meet here: many events of one user action make one request, and layers are
        # never changed while napari still tells others about the event.
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._refresh)
        for signal, slot in self._connections():
            signal.connect(slot)
        active = self.viewer.layers.selection.active
        images = self.images()
        if images:
            state.update(image=active if active in images else images[-1])
        self._schedule()

    # ------------------------------------------------------------------------------- for the widget

    def images(self) -> list[Image]:
        """Image layers of the viewer, bottom to top."""
        return self._layers.images()

    def targets(self) -> list[Labels]:
        """Labels layers that can take objects of the chosen image."""
        settings = self.state.settings
        if settings.image is None:
            return []
        return self._layers.targets(settings.image, settings.channel)

    @property
    def prompts(self) -> PromptLayers | None:
        """The prompt layers of the chosen image."""
        return self._layers.prompts

    @property
    def preview(self) -> Labels | None:
        """The layer that shows the current object before it is committed."""
        return self._layers.preview

    @property
    def busy(self) -> bool:
        """Whether a worker is doing something that is still wanted."""
        return self._current.lane.busy or self._planes.lane.busy or self.words.lane.busy

    # -------------------------------------------------------------------------------------- intents

    def embed(self) -> None:
        """Embed the plane shown, or all planes, in the worker."""
        self._planes.embed(self._scene())

    def everything(self) -> None:
        """Segment all objects of the plane shown, in the worker."""
        self._planes.everything(self._scene())

    def cancel(self) -> None:
        """Stop all that runs; what was embedded stays."""
        if not self.busy:
            return
        self._current.cancel()
        self._planes.lane.cancel()
        self.words.lane.cancel()
        self.state.report(
            Level.WARNING,
            "Cancelled; what was embedded is kept. The prompts stay: change one to go on.",
        )

    def find(self, text: str, place: str | None = None, *, download: bool = False) -> None:
        """Show the object of the plane that fits words best; it takes the place of prompts.

        ``place`` and ``download``: see `WordSearch.find`.
        """
        plane = resolve_plane(self.state.settings, self._scene())
        if isinstance(plane, NotReady):
            self._reporter.refuse(plane.reason)
            return
        self._committer.clear_prompts()
        self.words.find(Words(text, plane.index), place, download=download)

    def choose_sign(self, sign: PointLabel) -> None:
        """Make points of that sign with the next clicks."""
        self.state.update(sign=sign)
        self._activate(Tool.POINT)

    def toggle_sign(self) -> None:
        """Toggle the sign of the selected points (select mode), else of the next points."""
        if self.prompts is not None and self.prompts.toggle_selected():
            return
        negative = self.state.settings.sign == PointLabel.BACKGROUND
        self.choose_sign(PointLabel.FOREGROUND if negative else PointLabel.BACKGROUND)

    def draw_box(self) -> None:
        """Draw a box with the next drag."""
        self._activate(Tool.BOX)

    def undo(self) -> None:
        """Take back the last change of the prompts, choice, commit or everything."""
        self._follow(self._committer.undo)

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._follow(self._committer.redo)

    def next_candidate(self, step: int = 1) -> None:
        """Show the next of the decoder's masks of the current object; ``step`` -1: the one
        before.
        """
        candidate, shown = self._current.next_candidate(step), self._current.ready
        if candidate is None or shown is None:
            self._reporter.refuse(candidate_reason(self._candidates()))
            return
        self._history.choose(Choice(shown.request.plane.index, candidate))
        self._schedule()

    def _candidates(self) -> int:
        candidate = self.state.candidate
        return 0 if candidate is None else candidate.count

    def clear_prompts(self) -> None:
        """Remove all prompts of the current object, in every plane."""
        self._follow(self._committer.clear_prompts)

    def commit(self) -> None:
        """Write the previewed object into the Labels layer under a new id."""
        shown = self._current.ready
        if shown is not None:
            self._follow(partial(self._committer.commit, shown.request.plane, shown.mask))
        elif self._current.lane.busy:
            self._current.await_commit()
        else:
            self._reporter.refuse(commit_reason(self._current.asked))

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
        for signal, slot in self._connections():
            signal.disconnect(slot)
        self._layers.close(tidy=tidy)

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
        for lane in (self._current.lane, self._planes.lane, self.words.lane):
            yield lane.changed, self._on_lane
            yield lane.progressed, self._on_progress
            yield lane.broken, self._on_bug
        yield self._planes.started, self._on_started
        yield self._planes.embedded, self._on_embedded
        yield self._planes.found, self._on_everything
        yield self._planes.failed, self._on_error
        yield self._current.awaited, self.commit
        yield self._current.failed, self._reporter.tell
        yield self.words.failed, self._reporter.tell
        yield self._layers.prompts_changed, self._on_prompts
        yield self._layers.pixels_changed, self._on_pixels
        yield self._layers.transform_changed, self._schedule
        yield self.state.settings_changed, self._on_settings

    def _schedule(self, _event: Any = None) -> None:
        if not self._closed:
            self._timer.start()

    def _on_inserted(self, event: Any) -> None:
        if isinstance(event.value, Image) and self.state.settings.image is None:
            self.state.update(image=event.value)
        self.layers_changed.emit()

    def _on_renamed(self, _event: Any = None) -> None:
        self.layers_changed.emit()

    def _on_removed(self, event: Any) -> None:
        """Only take note; layers are changed in the refresh, when napari is done with this
        removal.
        """
        layer: Any = event.value
        settings = self.state.settings
        self._layers.note_removed(layer)
        if layer is settings.target:
            self.state.update(target=None)
        if layer is settings.image:
            self._pool.forget(pixels(layer))
            others = self.images()
            self.state.update(image=others[-1] if others else None)
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
            tool = Tool.BOX
        self.state.update(tool=tool)

    def _on_settings(self, changed: frozenset[str]) -> None:
        if changed & {"image", "channel", "model", "device", "weights"}:
            self._current.forget()
            self._planes.lane.cancel()
            self._note = f"{self.models.spec.title} answers now." if "model" in changed else ""
        if changed & {"image", "channel"}:
            self._layers.removed_by_user = False
            image = self.state.settings.image
            self._layers.watch(image)
            target = None if image is None else self._targets.get(image)
            self.state.update(target=target if target in self.targets() else None, words=None)
            self.layers_changed.emit()
        if "sign" in changed and self.prompts is not None:
            self.prompts.set_sign(self.state.settings.sign)
        image, target = self.state.settings.image, self.state.settings.target
        if "target" in changed and image is not None and target is not None:
            self._targets[image] = target
        self._schedule()

    def _on_prompts(self) -> None:
        if self.prompts is not None and self._history.follow(self.prompts.snapshot()):
            self._note = ""
        self._schedule()

    def _on_pixels(self) -> None:
        """The image got another array: what is known about it is void."""
        image = self.state.settings.image
        if image is None:
            return
        self._current.forget()
        self._planes.lane.cancel()
        self.layers_changed.emit()
        self._schedule()

    # ----------------------------------------------------------------------------- the one reaction

    def _refresh(self) -> None:
        """Bring layers, request and status in line with what the user wants now."""
        if self._closed:
            return
        self._tend_layers()
        settings = self.state.settings
        request = resolve(settings, self._scene())
        if isinstance(request, NotReady):
            self._current.drop()
            if not self._planes.lane.busy:
                reason = request.reason
                if settings.image is not None and self._layers.removed_by_user:
                    reason = _RECREATE
                level = Level.WARNING if request.warns else Level.READY
                self.state.report(level, f"{self._note} {reason}".strip())
        else:
            choice = self._history.now.choice
            here = choice is not None and choice.index == request.plane.index
            self._current.ask(
                request, self.models.spec, choice.candidate if choice and here else None
            )
        self._update_disabled()

    def _tend_layers(self) -> None:
        """Remove our layers of another image, add those that are missing."""
        settings = self.state.settings
        tended = self._layers.tend(settings.image, settings.sign)
        if tended != "kept":
            self._history.clear()
        if tended == "new":
            self._activate(Tool.POINT)

    def _update_disabled(self) -> None:
        """Tell the widget which controls cannot be used now and why."""
        settings = self.state.settings
        self.state.disable(
            disabled_reasons(
                settings,
                Situation(
                    plane=resolve_plane(settings, self._scene()),
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
        )

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
            self._committer.commit_all, found.plane, found.labels, clear=found.answers_boxes
        )
        outcome = self._attempt(write)
        if outcome is not None:
            self._note = outcome.text
            self._ask_again(Level.READY if outcome.done else Level.WARNING)

    def _ask_again(self, level: Level = Level.READY) -> None:
        """Show the note, and decode prompts that wait for an answer (they were cancelled, say)."""
        self._current.ask_again()
        self.state.report(level, self._note)
        self._schedule()

    def _on_error(self, error: LiteSamError) -> None:
        """Tell an error of a long computation or a write."""
        self._current.give_up()
        self._reporter.tell(error)

    def _on_bug(self, error: BaseException) -> None:
        """Leave nothing waiting for a job that broke."""
        self._current.give_up()
        self._reporter.bug(error)

    # -------------------------------------------------------------------------------------- writing

    def _follow(self, intent: Callable[[], Outcome]) -> None:
        """Follow an intent on prompts and objects, and tell what came of it."""
        outcome = self._attempt(intent)
        if outcome is None:
            return
        if not outcome.done:
            self._reporter.refuse(outcome.text)
            return
        self._note = outcome.text
        self._schedule()

    def _attempt(self, intent: Callable[[], Outcome]) -> Outcome | None:
        """Return the outcome, or None after an error that was told."""
        try:
            return intent()
        except LiteSamError as error:
            self._on_error(error)
            return None

    # --------------------------------------------------------------------------------------- layers

    def _scene(self) -> Scene:
        return Scene(self.viewer.dims, self.prompts)

    def _activate(self, tool: Tool) -> None:
        """Make a tool the one that the next click uses; bring the prompt layers back if need be."""
        image = self.state.settings.image
        if image is None:
            self._reporter.refuse("Open an image first.")
            return
        if self.prompts is None:
            self._history.set_prompts(PromptSnapshot())
        self._layers.activate(image, tool, self.state.settings.sign)
        self.state.update(tool=tool)
        self._schedule()
