"""Layers of one panel in one viewer: added, kept in order, and taken out again.

Prompt layers and preview of the chosen image live here. Layers are held as objects and never
looked up by name. No Qt.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from napari.layers import Image, Labels
from psygnal import Signal

from napari_litesam import label_layer
from napari_litesam.drawn_shapes import MODES
from napari_litesam.followers import TRANSFORMS, Followers, lies, put
from napari_litesam.label_axes import label_placement
from napari_litesam.prompt_layers import PromptLayers, placement
from napari_litesam.state import Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from litesam.types import BoolArray, Box, PointLabel

#: What `ViewerLayers.tend` found: the prompt layers are as before, there anew, or not there.
Tended = Literal["kept", "new", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidacy:
    """A Labels layer that might receive objects: why it cannot (None: it can), and what is to be
    known if it does.
    """

    layer: Labels
    reason: str | None
    caution: str


class ViewerLayers:
    """The layers that a panel adds to its viewer.

    Parameters
    ----------
    viewer
        The viewer itself, not napari's proxy: identity of layers matters.

    Attributes
    ----------
    prompts_changed
        The user changed a prompt.
    pixels_changed, transform_changed, axes_changed
        The chosen image got another array, another place in the world, or other names of axes.
    prompts
        The prompt layers of the chosen image.
    preview
        The layer that shows the current object before it is committed.
    candidates
        The layer that shows what everything mode found, under review.
    candidate_clicked
        The user clicked on this (y, x) of it.
    painted
        A layer with objects was painted, by hand or by the panel: the layer, and napari's record of
        the stroke.
    replaced
        A layer with objects got another array.
    picked
        An id was chosen in a layer with objects, with napari's own tools.
    own_changes
        Whether layers are being changed by the panel and not by the user.
    followers
        Layers that go with an image when it gets another place in the world.
    removed_by_user
        The user took the prompt layers out; they come back when a tool is chosen.
    """

    prompts_changed = Signal()
    pixels_changed = Signal()
    transform_changed = Signal()
    axes_changed = Signal()
    candidate_clicked = Signal(float, float)
    painted = Signal(object, object)
    replaced = Signal(object)
    picked = Signal(object, int)

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._keys: tuple[tuple[Sequence[str], str, Callable[[], None]], ...] = ()
        self.prompts: PromptLayers | None = None
        self.preview: Labels | None = None
        self.candidates: Labels | None = None
        self.own_changes = False
        self.removed_by_user = False
        #: Labels layers that are not of the user's own making.
        self.made: WeakSet[Labels] = WeakSet()
        self.followers = Followers()
        self._orphans: list[Layer] = []
        self._watched: Image | None = None
        self._beside: tuple[Image, ...] = ()
        self._objects: list[Labels] = []
        self._closed = False

    # -------------------------------------------------------------------------------------- reading

    def images(self) -> list[Image]:
        """Image layers of the viewer, bottom to top."""
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def candidacies(self, image: Image) -> list[Candidacy]:
        """All Labels layers of the user's, bottom to top, and whether they can take objects."""
        own = (self.preview, self.candidates)
        return [
            Candidacy(layer, reason, "" if reason else label_layer.caution(layer, image))
            for layer in self._viewer.layers
            if isinstance(layer, Labels) and layer not in own
            for reason in [label_layer.misfit(layer, image)]
        ]

    def on_disk(self) -> list[Labels]:
        """Layers that show labels on the disk, bottom to top."""
        layers = self._viewer.layers
        return [
            one for one in layers if isinstance(one, Labels) and label_layer.ON_DISK in one.metadata
        ]

    # ------------------------------------------------------------------------------------ lifetime

    def tend(self, image: Image | None, sign: PointLabel) -> Tended:
        """Remove our layers of another image, add those that are missing."""
        self._remove_orphans()
        prompts = self.prompts
        if prompts is not None and prompts.image is not image:
            if image is not None and image.ndim == prompts.points.ndim:
                # The layers move over instead of being replaced: with software rendering, the
                # paint after a layer's OpenGL objects were freed can end the process (napari 0.9,
                # with or without plugins), so no layer is removed that need not be.
                prompts.move_to(image)
                self._follow(prompts, image)
                self.hide_preview()
                self.hide_candidates()
                self._prepare(image)
                self._raise_own()
                return "new"
            self.forget_prompts()
        if self.prompts is not None:
            return "kept"
        self._remove_orphans()
        self._remove_preview()
        if image is None or image not in self._viewer.layers or self.removed_by_user:
            return "none"
        self._add_prompts(image, sign)
        return "new"

    def note_removed(self, layer: Layer) -> None:
        """Take note that a layer left the viewer; nothing is changed in the viewer here."""
        if layer is self.preview:
            self.preview = None
        if layer is self.candidates:
            self.candidates = None
        if layer in self._objects:
            self._unwatch_objects(layer)
            self._objects.remove(layer)
        if self.prompts is not None and layer in (self.prompts.points, self.prompts.boxes):
            if not self.own_changes:
                self.removed_by_user = True
            self.forget_prompts()

    def forget_prompts(self) -> None:
        """Let go of the prompt layers; `tend` takes them out of the viewer."""
        if self.prompts is None:
            return
        self.prompts.disconnect()
        self.prompts.changed.disconnect(self._on_prompts)
        self._orphans = [self.prompts.points, self.prompts.boxes]
        self.prompts = None

    def close(self, *, tidy: bool) -> None:
        """Let go of all layers; ``tidy`` takes the prompts and the preview out of the viewer."""
        self._closed = True
        self.watch(None)
        self.followers.close()
        for layer in self._objects:
            self._unwatch_objects(layer)
        self._objects = []
        self.forget_prompts()
        if tidy:
            shown = [layer for layer in (self.preview, self.candidates) if layer is not None]
            self._remove([*self._orphans, *shown])
        self._orphans = []
        self.preview = self.candidates = None

    # --------------------------------------------------------------------------------------- image

    def watch(self, image: Image | None, beside: Sequence[Image] = ()) -> None:
        """Listen to the chosen image layer, and to those that are seen with it as colours."""
        for layer in self._beside:
            for event in self._about_pixels(layer):
                event.disconnect(self._on_pixels)
        self._beside = tuple(layer for layer in beside if layer is not image)
        for layer in self._beside:
            for event in self._about_pixels(layer):
                event.connect(self._on_pixels)
        if self._watched is not None:
            self._watched.events.data.disconnect(self._on_pixels)
            self._watched.events.axis_labels.disconnect(self._on_axes)
            for name in TRANSFORMS:
                getattr(self._watched.events, name).disconnect(self._on_transform)
        self._watched = image
        if image is not None:
            image.events.data.connect(self._on_pixels)
            image.events.axis_labels.connect(self._on_axes)
            for name in TRANSFORMS:
                getattr(image.events, name).connect(self._on_transform)

    @staticmethod
    def _about_pixels(layer: Image) -> Iterator[Any]:
        """Yield the events that tell of other pixels, or of pixels elsewhere."""
        for name in ("data", "axis_labels", *TRANSFORMS):
            yield getattr(layer.events, name)

    def _on_pixels(self, _event: Any = None) -> None:
        self.pixels_changed.emit()

    def _on_axes(self, _event: Any = None) -> None:
        self.axes_changed.emit()

    def _on_transform(self, _event: Any = None) -> None:
        """Keep the preview on the image."""
        for layer in (self.preview, self.candidates):
            if self._watched is not None and layer is not None:
                put(layer, placement(self._watched, 2))
        self.transform_changed.emit()

    def watch_objects(self, layer: Labels, image: Image) -> None:
        """Listen to a layer with objects of an image, and let the keys of the panel work on it.

        If it lies on the image, it goes with it from now on.
        """
        if lies(layer, label_placement(image)):
            self.followers.add_labels(image, layer)
        if layer in self._objects:
            return
        self._objects.append(layer)
        layer.events.paint.connect(self._on_painted)
        layer.events.data.connect(self._on_replaced)
        layer.events.selected_label.connect(self._on_picked)
        self._bind_keys(layer, "objects")

    def _unwatch_objects(self, layer: Labels) -> None:
        layer.events.paint.disconnect(self._on_painted)
        layer.events.data.disconnect(self._on_replaced)
        layer.events.selected_label.disconnect(self._on_picked)
        self._unbind_keys(layer, "objects")

    def _on_painted(self, event: Any) -> None:
        self.painted.emit(event.source, event.value)

    def _on_picked(self, event: Any) -> None:
        self.picked.emit(event.source, int(event.source.selected_label))

    def _on_replaced(self, event: Any) -> None:
        self.replaced.emit(event.source)

    # ------------------------------------------------------------------------------------- prompts

    def activate(self, image: Image, tool: Tool, sign: PointLabel) -> None:
        """Make a tool the one that the next click uses; bring the prompt layers back if need be."""
        self.removed_by_user = False
        prompts = self.prompts or self._add_prompts(image, sign)
        with self._own():
            if tool is Tool.PICK and self.candidates is not None:
                self._viewer.layers.selection.active = self.candidates
                self.candidates.mode = "pan_zoom"
            elif tool in MODES:
                self._viewer.layers.selection.active = prompts.boxes
                prompts.draw(tool)
            else:
                self._viewer.layers.selection.active = prompts.points
                prompts.points.mode = "add"

    def _add_prompts(self, image: Image, sign: PointLabel) -> PromptLayers:
        prompts = PromptLayers(image)
        prompts.set_sign(sign)
        self.prompts = prompts
        prompts.changed.connect(self._on_prompts)
        self._bind_keys(prompts.points, "points")
        self._bind_keys(prompts.boxes, "boxes")
        with self._own():
            self._viewer.layers.append(prompts.boxes)
            self._viewer.layers.append(prompts.points)
        self._follow(prompts, image)
        # To add a layer takes napari 100 to 200 ms: now, with the others, and not at the first
        # click or when candidates are found.
        self._prepare(image)
        return prompts

    def _follow(self, prompts: PromptLayers, image: Image) -> None:
        """Let the prompts go with the image that they speak about."""
        for layer in (prompts.points, prompts.boxes):
            self.followers.add(image, layer, placement)

    def _on_prompts(self) -> None:
        self.prompts_changed.emit()

    def set_keys(self, keys: Sequence[tuple[Sequence[str], str, Callable[[], None]]]) -> None:
        """Bind other keys: kinds of layers ("points", "boxes", "candidates", "objects"), the key,
        and what it does there.
        """
        present: list[tuple[Layer, str]] = [(layer, "objects") for layer in self._objects]
        if self.prompts is not None:
            present += [(self.prompts.points, "points"), (self.prompts.boxes, "boxes")]
        if self.candidates is not None:
            present.append((self.candidates, "candidates"))
        for layer, kind in present:
            self._unbind_keys(layer, kind)
        self._keys = tuple(keys)
        for layer, kind in present:
            self._bind_keys(layer, kind)

    def _unbind_keys(self, layer: Layer, kind: str) -> None:
        for kinds, key, _ in self._keys:
            if kind in kinds:
                layer.bind_key(key, None)

    def _bind_keys(self, layer: Layer, kind: str) -> None:
        for kinds, key, intent in self._keys:
            if kind in kinds:
                layer.bind_key(key, self._key(intent), overwrite=True)

    def _key(self, intent: Callable[[], None]) -> Callable[[Layer], None]:
        """Key binding of a layer that follows an intent while the panel lives."""

        def pressed(_layer: Layer) -> None:
            if not self._closed:
                intent()

        return pressed

    def _raise_own(self) -> None:
        """Move the layers of the panel to the top of the layer list."""
        if self.prompts is not None:
            layers = self._viewer.layers
            shown = (self.candidates, self.preview, self.prompts.boxes, self.prompts.points)
            with self._own():
                for layer in shown:
                    if layer is not None:
                        layers.move(layers.index(layer), len(layers))

    # ------------------------------------------------------------------------------------- objects

    def show_preview(self, image: Image, mask: BoolArray, box: Box | None = None) -> None:
        """Show a (H, W) mask over the image; ``box``: nothing of it lies outside."""
        label_layer.show_preview(self._fitting_preview(image), mask, box)

    def hide_preview(self) -> None:
        """Empty the preview."""
        if self.preview is not None:
            label_layer.show_preview(self.preview, None)

    def show_candidates(self, image: Image, picture: npt.NDArray[np.uint8]) -> None:
        """Show a (H, W) picture of candidates over the image."""
        label_layer.show_picture(self._fitting_candidates(image), picture)

    def hide_candidates(self) -> None:
        """Empty the layer of candidates and hide it."""
        if self.candidates is not None:
            label_layer.show_picture(self.candidates, None)

    def _prepare(self, image: Image) -> None:
        """Have layers for the preview and the candidates of an image, empty and where it lies."""
        for layer in (self._fitting_preview(image), self._fitting_candidates(image)):
            for name, value in placement(image, 2).items():
                setattr(layer, name, value)

    def _fitting_preview(self, image: Image) -> Labels:
        layer = self.preview
        if layer is None or not label_layer.refit(layer, image):
            self._remove([layer])
            layer = self.preview = label_layer.new_preview(image)
            self.insert(layer)
        return layer

    def _fitting_candidates(self, image: Image) -> Labels:
        layer = self.candidates
        if layer is None or not label_layer.refit(layer, image):
            self._remove([layer])
            layer = self.candidates = label_layer.new_candidates(image)
            self._bind_keys(layer, "candidates")
            layer.mouse_drag_callbacks.append(self._on_candidate_press)
            self.insert(layer)
        return layer

    def _on_candidate_press(self, layer: Labels, event: Any) -> Iterator[None]:
        """Tell a click with the left button from a drag, which moves the canvas."""
        if event.button != 1 or self._closed or str(layer.mode) != "pan_zoom":
            return
        yield
        dragged = False
        while event.type == "mouse_move":
            dragged = True
            yield
        if not dragged:
            y, x = (float(v) for v in layer.world_to_data(event.position)[-2:])
            self.candidate_clicked.emit(y, x)

    def add_objects(self, image: Image) -> Labels:
        """Add a Labels layer for the objects of an image."""
        layer = label_layer.new_objects_layer(image)
        self.made.add(layer)
        self.insert(layer)
        return layer

    def objects_of(self, labels: npt.NDArray[Any], image: Image) -> Labels:
        """Return a layer, not added yet, of labels that are there."""
        layer = label_layer.objects_layer(labels, image)
        self.made.add(layer)
        return layer

    def insert(self, layer: Layer) -> None:
        """Add a layer below the prompts (and a preview above other labels), without changing the
        active layer.
        """
        anchors = [] if self.prompts is None else [self.prompts.boxes, self.prompts.points]
        if layer is not self.preview and self.preview is not None:
            anchors.append(self.preview)
        if layer not in (self.preview, self.candidates) and self.candidates is not None:
            anchors.append(self.candidates)
        layers = self._viewer.layers
        present = [layers.index(anchor) for anchor in anchors if anchor in layers]
        active = layers.selection.active
        with self._own():
            layers.insert(min(present, default=len(layers)), layer)
            layers.selection.active = active

    def _remove_preview(self) -> None:
        for layer in (self.preview, self.candidates):
            if layer is not None:
                self._remove([layer])
        self.preview = self.candidates = None

    def _remove_orphans(self) -> None:
        self._remove(self._orphans)
        self._orphans = []

    def _remove(self, layers: list[Any]) -> None:
        with self._own():
            for layer in layers:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)

    @contextmanager
    def _own(self) -> Iterator[None]:
        """Changes of layers made inside are our own and not the user's."""
        before, self.own_changes = self.own_changes, True
        try:
            yield
        finally:
            self.own_changes = before
