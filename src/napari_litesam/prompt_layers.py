"""Points and Shapes layers ↔ prompts of the engine.

One `PromptLayers` holds the two layers in which the user describes the *current object*: points on
it (positive) or beside it (negative), a box around it, outlines and scribbles. Positions go layer
data → world → image data, so the layers may be scaled and shifted independently of the image. No
Qt.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Points, Shapes
from napari.utils.colormaps.standardize_color import transform_color
from psygnal import Signal

from litesam.types import BoxPrompt, PointLabel, PointPrompt, Prompts
from napari_litesam.drawn_shapes import (
    BOX_COLOUR,
    COLOURS,
    MODES,
    NAMES,
    SIGN,
    DrawnShapes,
    Stroke,
    corners_of,
    lies_on,
    to_image,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari.layers import Image, Layer

    from litesam.session import DrawnShape
    from litesam.types import Polygon, Scribble
    from napari_litesam.state import Tool

FloatArray = npt.NDArray[np.floating[Any]]

POINTS_NAME = "Lite-SAM points"
BOXES_NAME = "Lite-SAM boxes"

_SYMBOLS = {PointLabel.FOREGROUND: "disc", PointLabel.BACKGROUND: "x"}
_NEGATIVE_MODIFIERS = ("Control", "Meta")
#: Smallest and largest size of a point on the screen, pixels: seen when a whole slide is shown, and
#: no lid on what is under it when one looks closely.
_POINT_ON_SCREEN = (8.0, 26.0)
#: A drawn box below this size (image pixels) is a slip of the mouse and not a prompt.
MIN_BOX_PX = 2.0


@dataclass(frozen=True, slots=True)
class PromptSnapshot:
    """All prompts of both layers as plain values, in the data coordinates of their layers: the
    unit of undo.
    """

    points: tuple[tuple[float, ...], ...] = ()
    signs: tuple[PointLabel, ...] = ()
    boxes: tuple[tuple[tuple[float, ...], ...], ...] = ()
    strokes: tuple[Stroke, ...] = ()

    def joined(self, other: PromptSnapshot) -> PromptSnapshot:
        """Return the prompts of both."""
        return PromptSnapshot(
            self.points + other.points,
            self.signs + other.signs,
            self.boxes + other.boxes,
            self.strokes + other.strokes,
        )

    @property
    def empty(self) -> bool:
        """Whether there is no prompt at all."""
        return not self.points and not self.boxes and not self.strokes


def placement(image: Layer, ndim: int | None = None) -> dict[str, Any]:
    """Layer arguments that put a new layer where ``image`` lies.

    Parameters
    ----------
    image
        Layer whose transform is copied.
    ndim
        Number of trailing axes to keep (2 for a layer that shows one plane); None: all.
    """
    n = image.ndim if ndim is None else ndim
    keep = slice(image.ndim - n, image.ndim)
    affine = np.asarray(image.affine.affine_matrix)
    sub = np.eye(n + 1)
    sub[:n, :n] = affine[:-1, :-1][keep, keep]
    sub[:n, n] = affine[:-1, -1][keep]
    result: dict[str, Any] = {
        "scale": np.asarray(image.scale)[keep],
        "translate": np.asarray(image.translate)[keep],
        "rotate": np.asarray(image.rotate)[keep, keep],
        "shear": _sub_shear(np.asarray(image.shear), image.ndim, n),
        "affine": sub,
    }
    for name in ("units", "axis_labels"):
        if hasattr(image, name):
            result[name] = tuple(getattr(image, name))[keep]
    return result


def _sub_shear(shear: FloatArray, ndim: int, keep: int) -> FloatArray:
    """Upper-triangular shear coefficients of the trailing ``keep`` axes."""
    if shear.ndim == 2:
        return shear[ndim - keep :, ndim - keep :]
    full = np.zeros((ndim, ndim))
    full[np.triu_indices(ndim, 1)] = shear
    return full[ndim - keep :, ndim - keep :][np.triu_indices(keep, 1)]


class PromptLayers:
    """The prompt layers of one image.

    Attributes
    ----------
    changed
        Emitted after a prompt was added, moved, removed or changed its sign.
    sign_requested
        Emitted when the user's action on the layer asks for another sign of the next point.
    image
        The layer that the prompts speak about.
    points, boxes
        The layers. They are added to a viewer by the controller.
    """

    changed = Signal()

    def __init__(self, image: Image) -> None:
        self.image = image
        place = placement(image)
        self.points = Points(
            np.zeros((0, image.ndim)),
            ndim=image.ndim,
            name=POINTS_NAME,
            size=_point_size(image),
            features={SIGN: np.empty(0, dtype=object)},
            feature_defaults={SIGN: NAMES[PointLabel.FOREGROUND]},
            face_color=COLOURS[PointLabel.FOREGROUND],
            border_color="white",
            border_width=0.12,
            canvas_size_limits=_POINT_ON_SCREEN,
            **place,
        )
        self.boxes = Shapes(
            ndim=image.ndim,
            name=BOXES_NAME,
            edge_color=BOX_COLOUR,
            face_color="transparent",
            edge_width=_edge_width(image),
            **place,
        )
        self._drawn = DrawnShapes(self.boxes)
        self._sign = PointLabel.FOREGROUND
        self._once: PointLabel | None = None
        self._quiet = False
        for layer in (self.points, self.boxes):
            layer.mouse_drag_callbacks.append(self._on_press)
        self.points.events.data.connect(self._on_points)
        self.points.events.features.connect(self._on_features)
        self.boxes.events.data.connect(self._on_boxes)
        self.boxes.events.features.connect(self._on_shape_features)
        self.boxes.events.mode.connect(self._on_mode)
        self.set_sign(self._sign)

    # -------------------------------------------------------------------------------------- reading

    def snapshot(self) -> PromptSnapshot:
        """Return all prompts as plain values."""
        return PromptSnapshot(
            tuple(tuple(float(v) for v in row) for row in self.points.data),
            self.signs(),
            tuple(corners_of(shape) for shape in self._drawn.boxes()),
            self._drawn.strokes(),
        )

    def signs(self) -> tuple[PointLabel, ...]:
        """Sign of each point, in the order of the layer's data; everything that is not "negative"
        is positive.
        """
        names = self.points.features.get(
            SIGN, [NAMES[PointLabel.FOREGROUND]] * len(self.points.data)
        )
        negative = NAMES[PointLabel.BACKGROUND]
        return tuple(
            PointLabel.BACKGROUND if name == negative else PointLabel.FOREGROUND for name in names
        )

    def on_plane(self, image: Image, index: Mapping[int, int]) -> Prompts | None:
        """Return points and box of one plane, in (y, x) pixels of the image; None if there are
        none.

        Parameters
        ----------
        image
            The layer that the pixels refer to.
        index
            Pixel index of the plane along each leading data axis of the image.

        Notes
        -----
        Of several boxes of a plane the newest counts. In napari pixel 0 spans -0.5 to 0.5; the
        engine's half-open box of that pixel is 0 to 1: edges move by half a pixel.
        """
        points = []
        for position, sign in zip(self.points.data, self.signs(), strict=True):
            at = to_image(self.points, image, position)
            if lies_on(at, index):
                points.append(PointPrompt(float(at[-2]), float(at[-1]), sign))
        boxes = self.boxes_on_plane(image, index)
        if not points and not boxes:
            return None
        return Prompts(points=tuple(points), box=boxes[-1] if boxes else None)

    def boxes_on_plane(self, image: Image, index: Mapping[int, int]) -> list[BoxPrompt]:
        """Return all boxes of one plane, the newest last; see `on_plane`."""
        boxes = []
        for shape in self._drawn.boxes():
            corners = np.array([to_image(self.boxes, image, vertex) for vertex in shape])
            if lies_on(corners.mean(axis=0), index):
                low, high = corners[:, -2:].min(axis=0), corners[:, -2:].max(axis=0)
                if (high - low >= MIN_BOX_PX).all():
                    boxes.append(BoxPrompt(*(float(v) + 0.5 for v in (*low, *high))))
        return boxes

    def strokes_on_plane(
        self, image: Image, index: Mapping[int, int]
    ) -> tuple[tuple[Scribble, ...], tuple[Polygon, ...]]:
        """Return the scribbles and the outlines of one plane; see `on_plane`."""
        return self._drawn.on_plane(image, index)

    def shapes_on_plane(self, image: Image, index: Mapping[int, int]) -> tuple[DrawnShape, ...]:
        """Return the shapes of one plane as they were drawn, but the box that counts; see
        `on_plane`.
        """
        shapes = self._drawn.shapes_on_plane(image, index)
        boxes = [i for i, one in enumerate(shapes) if one.kind == "rectangle" and _is_box(one)]
        left_out = {i for i, one in enumerate(shapes) if one.kind == "rectangle"} - {*boxes[:-1]}
        return tuple(one for i, one in enumerate(shapes) if i not in left_out)

    # ------------------------------------------------------------------------------------- changing

    def draw(self, tool: Tool) -> None:
        """Let the next drag make a box, an outline or a scribble."""
        self.boxes.mode = MODES[tool]

    def set_sign(self, sign: PointLabel) -> None:
        """Choose the sign of the next points and scribbles."""
        self._sign = sign
        with self._silence():
            self._drawn.set_sign(sign)
            # With points selected napari would also recolour those: only the next point is meant
            # here.
            selected = set(self.points.selected_data)
            if selected:
                self.points.selected_data = set()
            self.points.feature_defaults = {SIGN: NAMES[sign]}
            self.points.current_face_color = COLOURS[sign]
            self.points.current_symbol = _SYMBOLS[sign]
            if selected:
                self._restore_selection(selected)

    def toggle_selected(self, *, shapes: bool = False) -> bool:
        """Toggle the sign of the selected points, or scribbles; False if none is selected in select
        mode.
        """
        if shapes:
            with self._silence():
                toggled = self._drawn.toggle_selected()
            if toggled:
                self.changed.emit()
            return toggled
        selected = {i for i in self.points.selected_data if i < len(self.points.data)}
        if not selected or str(self.points.mode) != "select":
            return False
        signs = list(self.signs())
        for i in selected:
            signs[i] = (
                PointLabel.FOREGROUND
                if signs[i] == PointLabel.BACKGROUND
                else PointLabel.BACKGROUND
            )
        self._write_signs(signs)
        self.changed.emit()
        return True

    def restore(self, snapshot: PromptSnapshot) -> None:
        """Put the layers back to a snapshot."""
        self.put(snapshot)
        self.changed.emit()

    def put(self, snapshot: PromptSnapshot) -> PromptSnapshot:
        """Put the layers back to a snapshot without a word; return what they made of it.

        Shapes keep single precision, so that prompts of a scaled layer come out rounded.
        """
        with self._silence():
            self.points.selected_data = set()
            self.points.data = np.array(snapshot.points).reshape(-1, self.points.ndim)
            if not self.points.visible:
                # A hidden layer keeps the indices of points that are gone; its colours then fail.
                self.points.set_view_slice()
            self._write_signs(snapshot.signs)
            boxes = tuple(corners_of(shape) for shape in self._drawn.boxes())
            if (boxes, self._drawn.strokes()) != (snapshot.boxes, snapshot.strokes):
                self._drawn.restore(snapshot.boxes, snapshot.strokes)
        self.set_sign(self._sign)
        return self.snapshot()

    def clear(self, image: Image | None = None, index: Mapping[int, int] | None = None) -> None:
        """Remove all prompts, or those of one plane."""
        self.restore(self.without_plane(image, index))

    def without_plane(
        self, image: Image | None = None, index: Mapping[int, int] | None = None
    ) -> PromptSnapshot:
        """Return the prompts that do not lie on the plane (none at all without a plane)."""
        if image is None or index is None:
            return PromptSnapshot()
        now = self.snapshot()
        keep = [
            not lies_on(to_image(self.points, image, position), index) for position in now.points
        ]
        return PromptSnapshot(
            tuple(p for p, stay in zip(now.points, keep, strict=True) if stay),
            tuple(s for s, stay in zip(now.signs, keep, strict=True) if stay),
            tuple(box for box in now.boxes if not self._covers(image, index, box)),
            tuple(one for one in now.strokes if not self._covers(image, index, one.vertices)),
        )

    def _covers(
        self, image: Image, index: Mapping[int, int], vertices: Sequence[Sequence[float]]
    ) -> bool:
        """Whether a shape lies on a plane."""
        return lies_on(np.mean([to_image(self.boxes, image, v) for v in vertices], axis=0), index)

    def move_to(self, image: Image) -> None:
        """Empty the layers and put them on another image with the same number of axes."""
        self.image = image
        self.restore(PromptSnapshot())
        for layer in (self.points, self.boxes):
            for name, value in placement(image).items():
                setattr(layer, name, value)
        self.points.current_size = _point_size(image)
        self.boxes.current_edge_width = _edge_width(image)

    def follow_channel(self, shown: tuple[int, int] | None) -> None:
        """Move the prompts along the channel axis to the channel that is shown: they describe one
        object in all channels, and napari would hide them in the others.

        ``shown``: the axis and the channel; None: there are no channels.
        """
        if shown is None:
            return
        axis, at = shown
        with self._silence():
            points = np.array(self.points.data)
            if points.size and (points[:, axis] != at).any():
                points[:, axis] = at
                self.points.data = points
            boxes = [np.array(shape) for shape in self.boxes.data]
            if any((box[:, axis] != at).any() for box in boxes):
                for box in boxes:
                    box[:, axis] = at
                self.boxes.data = boxes

    def disconnect(self) -> None:
        """Drop all callbacks on the layers."""
        self.points.events.data.disconnect(self._on_points)
        self.points.events.features.disconnect(self._on_features)
        self.boxes.events.data.disconnect(self._on_boxes)
        self.boxes.events.features.disconnect(self._on_shape_features)
        self.boxes.events.mode.disconnect(self._on_mode)
        for layer in (self.points, self.boxes):
            if self._on_press in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.remove(self._on_press)

    # --------------------------------------------------------------------------------------- events

    def _on_press(self, _layer: Layer, event: Any) -> None:
        """Control-click (Command on macOS) makes one negative point or scribble, whatever the sign
        is.
        """
        negative = any(name in event.modifiers for name in _NEGATIVE_MODIFIERS)
        self._once = PointLabel.BACKGROUND if negative else None

    def _on_points(self, event: Any) -> None:
        """Give new points their sign; tell about finished changes."""
        action = str(event.action)
        if self._quiet or action not in ("added", "removed", "changed"):
            return
        signs = list(self.signs())
        if action == "added":
            new = self._once if self._once is not None else self._sign
            for i in event.data_indices:
                signs[i] = new
            self._once = None
        # napari has given a new point the look of the next one, which is right but for a
        # Control-click: each write to the layer draws it and its thumbnail anew.
        if [NAMES[one] for one in signs] != list(self.points.features.get(SIGN, ())):
            self._write_signs(signs)
        else:
            self._paint()
        self.changed.emit()

    def _on_features(self, _event: Any) -> None:
        """Signs edited in the features table count as well."""
        if self._quiet:
            return
        before = tuple(map(str, self.points.symbol))
        self._paint()
        if before != tuple(map(str, self.points.symbol)):
            self.changed.emit()

    def _on_boxes(self, event: Any) -> None:
        if self._quiet or str(event.action) not in ("added", "removed", "changed"):
            return
        with self._silence():
            self._drawn.take_new(self._sign if self._once is None else self._once)
        self._once = None
        self.changed.emit()

    def _on_shape_features(self, _event: Any) -> None:
        """Signs of scribbles edited in the features table count as well."""
        if self._quiet:
            return
        with self._silence():
            edited = self._drawn.edited()
        if edited:
            self.changed.emit()

    def _on_mode(self, _event: Any) -> None:
        """Show in which colour the next shape is drawn."""
        self._drawn.set_sign(self._sign)

    def _write_signs(self, signs: Sequence[PointLabel]) -> None:
        with self._silence():
            self.points.features = {SIGN: np.array([NAMES[s] for s in signs], dtype=object)}
            self._paint()

    def _paint(self) -> None:
        """Make colours and symbols follow the signs."""
        with self._silence():
            signs = self.signs()
            if signs and not self._painted(signs):
                self.points.face_color = [COLOURS[s] for s in signs]
                self.points.symbol = [_SYMBOLS[s] for s in signs]
                self.points.refresh()

    def _painted(self, signs: Sequence[PointLabel]) -> bool:
        """Whether colours and symbols are those of the signs."""
        colours, symbols = np.asarray(self.points.face_color), self.points.symbol
        return (
            len(colours) == len(symbols) == len(signs)
            and [getattr(one, "value", one) for one in symbols] == [_SYMBOLS[s] for s in signs]
            and np.allclose(colours, transform_color([COLOURS[s] for s in signs]), atol=1e-3)
        )

    def _restore_selection(self, selected: set[int]) -> None:
        """Select points again without letting napari copy their look to the next point."""
        self.points.selected_data = selected
        self.points.feature_defaults = {SIGN: NAMES[self._sign]}

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Changes made inside are our own and not the user's."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before


def _is_box(shape: DrawnShape) -> bool:
    """Whether a rectangle is more than a slip of the mouse."""
    return bool((np.ptp(np.asarray(shape.vertices), axis=0) >= MIN_BOX_PX).all())


def _point_size(image: Image) -> float:
    """Size of a point, image pixels: well visible when the whole image is."""
    return float(np.clip(_extent(image) / 50.0, 3.0, 60.0))


def _edge_width(image: Image) -> float:
    return float(np.clip(_extent(image) / 250.0, 1.0, 12.0))


def _extent(image: Image) -> float:
    """Longer side of a plane, image pixels."""
    return float(max(image.extent.data[1][-2:] - image.extent.data[0][-2:]))
