"""Wires one viewer: layers and sliders → requests → worker → preview and labels.

The only module that knows all others. One controller belongs to one viewer and one widget and holds
all that lasts between two events; nothing is kept at module level. Layers are held as objects and
never looked up by name.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image, Labels
from napari.utils.notifications import show_error, show_warning
from psygnal import Signal
from qtpy.QtCore import QTimer

from litesam.errors import LiteSamError
from litesam.types import BoolArray, PointLabel, Progress
from napari_litesam import label_layer, segmenters
from napari_litesam.jobs import Lane
from napari_litesam.label_layer import Written
from napari_litesam.prompt_layers import PromptLayers, PromptSnapshot, placement
from napari_litesam.requests import (
    NotReady,
    PlaneRequest,
    Scene,
    SegmentRequest,
    channel_choices,
    current_index,
    pixels,
    plane_axes,
    resolve,
    resolve_everything,
    resolve_plane,
)
from napari_litesam.state import Level, PluginState, Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Layer

_UNDO_STEPS = 200
_TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine")
_DIMS = ("current_step", "ndisplay", "order", "range")
_RECREATE = "The prompt layers were removed; choose Positive, Negative or Box to get them back."


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One step of undo: the prompts before it, and what it wrote into a Labels layer."""

    prompts: PromptSnapshot
    written: Written | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """The object in the preview."""

    request: SegmentRequest
    mask: BoolArray


class Controller:
    """Everything that happens between one viewer and the engine.

    Attributes
    ----------
    layers_changed
        Emitted when the layers that the widget offers may have changed.
    state
        Settings and status of this viewer.
    """

    layers_changed = Signal()

    def __init__(self, viewer: ViewerModel, state: PluginState) -> None:
        self.state = state
        # napari hands plugins a proxy that wraps every layer anew; layers are held here as objects,
        # so their identity matters. Only public names are used all the same.
        self.viewer: ViewerModel = getattr(viewer, "__wrapped__", viewer)
        self._pool = segmenters.SegmenterPool()
        self._interactive = Lane("click")
        self._long = Lane("plane")
        self._prompts: PromptLayers | None = None
        self._preview: Labels | None = None
        self._orphans: list[Layer] = []
        self._removed_by_user = False
        self._targets: WeakKeyDictionary[Image, Labels] = WeakKeyDictionary()
        self._asked: tuple[Any, ...] | None = None
        self._shown: _Shown | None = None
        self._commit_when_shown = False
        self._steps: deque[_Step] = deque(maxlen=_UNDO_STEPS)
        self._last = PromptSnapshot()
        self._note = ""
        self._own_changes = False
        self._closed = False
        self._watched: Image | None = None
        # All reactions meet here: many events of one user action make one request, and layers are
        # never changed while napari still tells others about the event.
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._refresh)
        self._connect()
        active = self.viewer.layers.selection.active
        images = self.images()
        if images:
            state.update(image=active if active in images else images[-1])
        self._schedule()

    # ------------------------------------------------------------------------------- for the widget

    def images(self) -> list[Image]:
        """Image layers of the viewer, bottom to top."""
        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    def targets(self) -> list[Labels]:
        """Labels layers that can take objects of the chosen image."""
        image = self.state.settings.image
        if image is None:
            return []
        axes = plane_axes(image, self.state.settings.channel)
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels)
            and layer is not self._preview
            and label_layer.fits(layer, image, axes)
        ]

    @property
    def prompts(self) -> PromptLayers | None:
        """The prompt layers of the chosen image."""
        return self._prompts

    @property
    def preview(self) -> Labels | None:
        """The layer that shows the current object before it is committed."""
        return self._preview

    @property
    def busy(self) -> bool:
        """Whether a worker is doing something that is still wanted."""
        return self._interactive.busy or self._long.busy

    # -------------------------------------------------------------------------------------- intents

    def embed(self) -> None:
        """Embed the plane shown, or all planes, in the worker."""
        plane = resolve_plane(self.state.settings, self._scene())
        if isinstance(plane, NotReady):
            self._refuse(plane.reason)
        elif self._long.busy:
            self._refuse("Another computation is running; wait or cancel it.")
        else:
            all_planes = self.state.settings.all_planes and bool(plane.source.planes)
            self._note = ""
            self.state.report(Level.BUSY, "Embedding")
            self._long.submit(
                partial(segmenters.embed, self._pool, plane, all_planes),
                self._on_embedded,
                self._on_error,
            )

    def everything(self) -> None:
        """Segment all objects of the plane shown, in the worker."""
        request = resolve_everything(self.state.settings, self._scene())
        if isinstance(request, NotReady):
            self._refuse(request.reason)
        elif self._long.busy:
            self._refuse("Another computation is running; wait or cancel it.")
        else:
            self._note = ""
            self.state.report(Level.BUSY, "Segmenting everything")
            self._long.submit(
                partial(segmenters.everything, self._pool, request),
                partial(self._on_everything, request.plane),
                self._on_error,
            )

    def cancel(self) -> None:
        """Stop all that runs; what was embedded stays."""
        if not self.busy:
            return
        self._commit_when_shown = False
        self._interactive.cancel()
        self._long.cancel()
        self.state.report(
            Level.WARNING,
            "Cancelled; what was embedded is kept. The prompts stay: change one to go on.",
        )

    def choose_sign(self, sign: PointLabel) -> None:
        """Make points of that sign with the next clicks."""
        self.state.update(sign=sign)
        self._activate(Tool.POINT)

    def toggle_sign(self) -> None:
        """Toggle the sign of the selected points (select mode), else of the next points."""
        if self._prompts is not None and self._prompts.toggle_selected():
            return
        negative = self.state.settings.sign == PointLabel.BACKGROUND
        self.choose_sign(PointLabel.FOREGROUND if negative else PointLabel.BACKGROUND)

    def draw_box(self) -> None:
        """Draw a box with the next drag."""
        self._activate(Tool.BOX)

    def undo(self) -> None:
        """Take back the last change of the prompts, the last commit or the last everything."""
        if not self._steps:
            self._refuse("There is nothing to undo.")
            return
        step = self._steps.pop()
        self._note = "Undone."
        written = step.written
        if written is not None and written.layer in self.viewer.layers:
            label_layer.withdraw(written)
            self._note = f"Undone: {written.objects} object(s) taken out of {written.layer.name!r}."
        self._restore(step.prompts)

    def clear_prompts(self) -> None:
        """Remove all prompts of the current object, in every plane."""
        if self._prompts is None or self._last.empty:
            self._refuse("There are no prompts to clear.")
            return
        self._steps.append(_Step(self._last))
        self._note = "Prompts cleared."
        self._restore(PromptSnapshot())

    def commit(self) -> None:
        """Write the previewed object into the Labels layer under a new id."""
        if self._shown is not None and self._shown.request.key == self._asked:
            self._commit(self._shown)
        elif self._interactive.busy:
            self._commit_when_shown = True
            self.state.report(Level.BUSY, "The object will be committed as soon as it is there")
        else:
            self._refuse(self._commit_reason())

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
        self._interactive.close()
        self._long.close()
        self._disconnect()
        if tidy:
            self._remove([*self._orphans, *([] if self._preview is None else [self._preview])])
        self._orphans = []
        self._preview = self._shown = None

    # --------------------------------------------------------------------------------------- events

    def _connect(self) -> None:
        layers, dims = self.viewer.layers, self.viewer.dims
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        layers.events.renamed.connect(self._on_renamed)
        layers.selection.events.active.connect(self._on_active)
        for name in _DIMS:
            getattr(dims.events, name).connect(self._schedule)
        for lane in (self._interactive, self._long):
            lane.changed.connect(self._on_lane)
            lane.progressed.connect(self._on_progress)
            lane.broken.connect(self._on_bug)
        self.state.settings_changed.connect(self._on_settings)

    def _disconnect(self) -> None:
        layers, dims = self.viewer.layers, self.viewer.dims
        layers.events.inserted.disconnect(self._on_inserted)
        layers.events.removed.disconnect(self._on_removed)
        layers.events.renamed.disconnect(self._on_renamed)
        layers.selection.events.active.disconnect(self._on_active)
        for name in _DIMS:
            getattr(dims.events, name).disconnect(self._schedule)
        for lane in (self._interactive, self._long):
            lane.changed.disconnect(self._on_lane)
            lane.progressed.disconnect(self._on_progress)
            lane.broken.disconnect(self._on_bug)
        self.state.settings_changed.disconnect(self._on_settings)
        self._watch(None)
        self._forget_prompts()

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
        if layer is self._preview:
            self._preview = None
        if self._prompts is not None and layer in (self._prompts.points, self._prompts.boxes):
            if not self._own_changes:
                self._removed_by_user = True
            self._forget_prompts()
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
        if self._own_changes or self._prompts is None:
            return
        tool = Tool.NONE
        if event.value is self._prompts.points:
            tool = Tool.POINT
        elif event.value is self._prompts.boxes:
            tool = Tool.BOX
        self.state.update(tool=tool)

    def _on_settings(self, changed: frozenset[str]) -> None:
        if changed & {"image", "channel", "model", "device", "weights"}:
            self._interactive.cancel()
            self._long.cancel()
            self._asked = self._shown = None
            self._commit_when_shown = False
            self._note = ""
        if changed & {"image", "channel"}:
            self._removed_by_user = False
            image = self.state.settings.image
            self._watch(image)
            target = None if image is None else self._targets.get(image)
            self.state.update(target=target if target in self.targets() else None)
            self.layers_changed.emit()
        if "sign" in changed and self._prompts is not None:
            self._prompts.set_sign(self.state.settings.sign)
        image, target = self.state.settings.image, self.state.settings.target
        if "target" in changed and image is not None and target is not None:
            self._targets[image] = target
        self._schedule()

    def _on_prompts(self) -> None:
        if self._prompts is None:
            return
        now = self._prompts.snapshot()
        if now != self._last:
            self._steps.append(_Step(self._last))
            self._last = now
            self._note = ""
        self._schedule()

    def _on_pixels(self, _event: Any = None) -> None:
        """The image got another array: what is known about it is void."""
        image = self.state.settings.image
        if image is None:
            return
        self._interactive.cancel()
        self._long.cancel()
        self._asked = self._shown = None
        self.layers_changed.emit()
        self._schedule()

    def _on_transform(self, _event: Any = None) -> None:
        """Keep the preview on the image; prompts stay where they are in the world."""
        image = self.state.settings.image
        if image is not None and self._preview is not None:
            for name, value in placement(image, 2).items():
                if name in _TRANSFORMS:
                    setattr(self._preview, name, value)
        self._schedule()

    def _watch(self, image: Image | None) -> None:
        """Listen to the chosen image layer."""
        if self._watched is not None:
            self._watched.events.data.disconnect(self._on_pixels)
            for name in _TRANSFORMS:
                getattr(self._watched.events, name).disconnect(self._on_transform)
        self._watched = image
        if image is not None:
            image.events.data.connect(self._on_pixels)
            for name in _TRANSFORMS:
                getattr(image.events, name).connect(self._on_transform)

    # ----------------------------------------------------------------------------- the one reaction

    def _refresh(self) -> None:
        """Bring layers, request and status in line with what the user wants now."""
        if self._closed:
            return
        self._tend_layers()
        settings = self.state.settings
        request = resolve(settings, self._scene())
        if isinstance(request, NotReady):
            self._interactive.drop()
            self._asked = None
            self._commit_when_shown = False
            self._hide_preview()
            if not self._long.busy:
                reason = request.reason
                if settings.image is not None and self._removed_by_user:
                    reason = _RECREATE
                self.state.report(Level.READY, f"{self._note} {reason}".strip())
        elif request.key != self._asked:
            if self._shown is not None and self._shown.request.plane.key != request.plane.key:
                self._hide_preview()
            self._asked = request.key
            self.state.report(Level.BUSY, "Decoding")
            self._interactive.submit(
                partial(segmenters.segment, self._pool, request),
                partial(self._on_segmented, request),
                self._on_error,
            )
        self._update_disabled()

    def _tend_layers(self) -> None:
        """Remove our layers of another image, add those that are missing."""
        image = self.state.settings.image
        prompts = self._prompts
        if prompts is not None and prompts.image is not image:
            if image is not None and image.ndim == prompts.points.ndim:
                # The layers move over instead of being replaced: with software rendering, the
                # paint after a layer's OpenGL objects were freed can end the process (napari 0.9,
                # with or without plugins), so no layer is removed that need not be.
                self._remove_preview()
                self._steps.clear()
                self._last = PromptSnapshot()
                prompts.move_to(image)
                self._raise_prompts()
                self._activate(Tool.POINT)
            else:
                self._forget_prompts()
        if self._prompts is None:
            self._steps.clear()
            self._last = PromptSnapshot()
            self._remove(self._orphans)
            self._orphans = []
            self._remove_preview()
            if image is not None and image in self.viewer.layers and not self._removed_by_user:
                self._add_prompts(image)
                self._activate(Tool.POINT)

    def _hide_preview(self) -> None:
        self._shown = None
        if self._preview is not None:
            label_layer.show_preview(self._preview, None)

    def _update_disabled(self) -> None:
        """Tell the widget which controls cannot be used now and why."""
        settings, scene = self.state.settings, self._scene()
        reasons: dict[str, str] = {}
        plane = resolve_plane(settings, scene)
        if isinstance(plane, NotReady):
            for name in ("embed", "everything", "positive", "negative", "box"):
                reasons[name] = plane.reason
        elif self._long.busy:
            for name in ("embed", "everything"):
                reasons[name] = "A computation is running; wait or cancel it."
        if not self.busy:
            reasons["cancel"] = "Nothing is running."
        if len(channel_choices(settings.image)) < 2:
            reasons["channel"] = (
                "The image has no channel axis; the sliders choose the plane."
                if settings.image is not None
                else "There is no image."
            )
        if isinstance(plane, NotReady) or not plane.source.planes:
            reasons["all_planes"] = "The image has one plane."
        if not self._steps:
            reasons["undo"] = "There is nothing to undo."
        if self._last.empty:
            reasons["clear"] = "There are no prompts."
        if self._shown is None and not self._interactive.busy:
            reasons["commit"] = self._commit_reason()
        if settings.image is None:
            reasons["target"] = "There is no image."
        self.state.disable(reasons)

    def _commit_reason(self) -> str:
        if self._asked is None:
            return "There is no object to commit: click on one, or draw a box around it."
        return "There is no mask for these prompts; change them."

    # -------------------------------------------------------------------------------------- replies

    def _on_lane(self) -> None:
        if not self._closed:
            self._update_disabled()

    def _on_progress(self, progress: Progress) -> None:
        if not self._closed:
            self.state.report(Level.BUSY, progress.message, progress.done, progress.total)

    def _on_segmented(self, request: SegmentRequest, result: Any) -> None:
        image = self.state.settings.image
        if image is None or request.key != self._asked:
            return
        area = int(result.mask.sum())
        if area == 0:
            self._hide_preview()
            self._commit_when_shown = False
            self.state.report(
                Level.WARNING,
                "The model found no object there. Add a point on the object, or draw a box.",
            )
            return
        if self._preview is None:
            self._preview = label_layer.new_preview(image)
            self._insert(self._preview)
        label_layer.show_preview(self._preview, result.mask)
        self._shown = _Shown(request, result.mask)
        if self._commit_when_shown:
            self._commit_when_shown = False
            self._commit(self._shown)
            return
        self.state.report(
            Level.READY,
            f"Object of {area:,} px, predicted IoU {result.record.predicted_iou:.2f}. "
            "Refine it with more points, or commit it (C).",
        )

    def _on_embedded(self, planes: int) -> None:
        self._note = f"{planes} plane(s) embedded; clicks are answered at once."
        self._ask_again()

    def _on_everything(self, plane: PlaneRequest, reply: Any) -> None:
        labels, _records = reply
        if not labels.any():
            self._note = (
                "Everything found no object. Lower the thresholds, or try the other proposals."
            )
            self._ask_again(Level.WARNING)
            return
        written = self._write(partial(label_layer.commit_labels, labels=labels, index=plane.index))
        if written is None:
            return
        self._steps.append(_Step(self._last, written))
        text = "Everything found only objects that are there already."
        if written.objects:
            last = written.first_id + written.objects - 1
            text = f"Everything: {written.objects} objects, ids {written.first_id} to {last}."
        if written.objects and written.refused_objects:
            text += f" {written.refused_objects} left out: they lie on objects that are there."
        self._note = text
        self._ask_again()

    def _ask_again(self, level: Level = Level.READY) -> None:
        """Show the note, and decode prompts that wait for an answer (they were cancelled, say)."""
        if self._shown is None:
            self._asked = None
        self.state.report(level, self._note)
        self._schedule()

    def _on_error(self, error: LiteSamError) -> None:
        """Tell an error that the user can do something about."""
        self._commit_when_shown = False
        self._hide_preview()
        self.state.report(Level.ERROR, str(error))
        show_error(f"Lite-SAM: {error}")

    def _on_bug(self, error: BaseException) -> None:
        """Leave nothing waiting for a job that broke; the exception itself surfaces in napari."""
        self._commit_when_shown = False
        self._hide_preview()
        self.state.report(
            Level.ERROR,
            f"Unexpected {type(error).__name__}: {error}. This is a bug; please report it with the "
            "traceback of napari's notification.",
        )

    def _refuse(self, reason: str) -> None:
        """Tell why an intent cannot be followed."""
        self.state.report(Level.WARNING, reason)
        show_warning(f"Lite-SAM: {reason}")

    # -------------------------------------------------------------------------------------- writing

    def _commit(self, shown: _Shown) -> None:
        index = shown.request.plane.index
        written = self._write(partial(label_layer.commit_mask, mask=shown.mask, index=index))
        image = self.state.settings.image
        if written is None or image is None or self._prompts is None:
            return
        if not written.objects:
            self._refuse(
                "All pixels of this object belong to other objects already; nothing was written."
            )
            return
        self._steps.append(_Step(self._last, written))
        self._note = f"Object {written.first_id} committed: {written.pixels:,} px."
        if written.refused_px:
            self._note += f" {written.refused_px:,} px belong to other objects and stayed theirs."
        self._restore(
            self._prompts.without_plane(
                image, current_index(self.state.settings, shown.request.plane)
            )
        )

    def _write(self, write: Callable[[Labels], Written]) -> Written | None:
        """Write into the target layer, made now if there is none; None after an error that was
        told.
        """
        settings = self.state.settings
        image, target = settings.image, settings.target
        if image is None:
            return None
        if target is None or target not in self.viewer.layers:
            target = label_layer.new_objects_layer(image, plane_axes(image, settings.channel))
            self._insert(target)
            self.state.update(target=target)
        try:
            return write(target)
        except LiteSamError as error:
            self._on_error(error)
            return None

    def _restore(self, snapshot: PromptSnapshot) -> None:
        """Put the prompts to a snapshot without making that a step of undo."""
        self._last = snapshot
        if self._prompts is not None:
            self._prompts.restore(snapshot)
            self._last = self._prompts.snapshot()
        self._schedule()

    # --------------------------------------------------------------------------------------- layers

    def _scene(self) -> Scene:
        return Scene(self.viewer.dims, self._prompts)

    def _activate(self, tool: Tool) -> None:
        """Make a tool the one that the next click uses; bring the prompt layers back if need be."""
        image = self.state.settings.image
        if image is None:
            self._refuse("Open an image first.")
            return
        self._removed_by_user = False
        if self._prompts is None:
            self._add_prompts(image)
        prompts = self._prompts
        assert prompts is not None
        with self._own():
            if tool is Tool.BOX:
                self.viewer.layers.selection.active = prompts.boxes
                prompts.boxes.mode = "add_rectangle"
            else:
                self.viewer.layers.selection.active = prompts.points
                prompts.points.mode = "add"
        self.state.update(tool=tool)
        self._schedule()

    def _add_prompts(self, image: Image) -> None:
        prompts = PromptLayers(image)
        prompts.set_sign(self.state.settings.sign)
        self._prompts, self._last = prompts, PromptSnapshot()
        prompts.changed.connect(self._on_prompts)
        for layer in (prompts.points, prompts.boxes):
            layer.bind_key("C", self._key(self.commit))
            layer.bind_key("Shift-C", self._key(self.clear_prompts))
            layer.bind_key("Control-Z", self._key(self.undo))
        prompts.points.bind_key("T", self._key(self.toggle_sign))
        with self._own():
            self.viewer.layers.append(prompts.boxes)
            self.viewer.layers.append(prompts.points)

    def _key(self, intent: Callable[[], None]) -> Callable[[Layer], None]:
        """Key binding of a layer that follows an intent while the controller lives."""

        def pressed(_layer: Layer) -> None:
            if not self._closed:
                intent()

        return pressed

    def _forget_prompts(self) -> None:
        """Let go of the prompt layers; `_tend_layers` takes them out of the viewer."""
        if self._prompts is None:
            return
        self._prompts.disconnect()
        self._prompts.changed.disconnect(self._on_prompts)
        self._orphans = [self._prompts.points, self._prompts.boxes]
        self._prompts = None

    def _insert(self, layer: Layer) -> None:
        """Add a layer below the prompts (and a preview above other labels), without changing the
        active layer.
        """
        anchors = [] if self._prompts is None else [self._prompts.boxes, self._prompts.points]
        if layer is not self._preview and self._preview is not None:
            anchors.append(self._preview)
        present = [self.viewer.layers.index(a) for a in anchors if a in self.viewer.layers]
        active = self.viewer.layers.selection.active
        with self._own():
            self.viewer.layers.insert(min(present, default=len(self.viewer.layers)), layer)
            self.viewer.layers.selection.active = active

    def _remove_preview(self) -> None:
        if self._preview is not None:
            self._remove([self._preview])
            self._preview = None

    def _raise_prompts(self) -> None:
        """Move the prompt layers to the top of the layer list."""
        if self._prompts is not None:
            layers = self.viewer.layers
            with self._own():
                for layer in (self._prompts.boxes, self._prompts.points):
                    layers.move(layers.index(layer), len(layers))

    def _remove(self, layers: list[Any]) -> None:
        with self._own():
            for layer in layers:
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)

    @contextmanager
    def _own(self) -> Iterator[None]:
        """Changes of layers made inside are our own and not the user's."""
        before, self._own_changes = self._own_changes, True
        try:
            yield
        finally:
            self._own_changes = before
