"""Outlines and scribbles in a Shapes layer ↔ drawings of the engine.

A polygon, lasso or ellipse says that the object is inside; a line or path is a stroke on the object
or beside it. Rectangles are boxes and none of them. No Qt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.session import SHAPE_VERTICES, DrawnShape
from litesam.types import BoxPrompt, PointLabel, Polygon, Scribble
from napari_litesam.state import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image, Layer, Shapes

FloatArray = npt.NDArray[np.floating[Any]]

#: Column of the features of points and shapes, and its two values.
SIGN = "label"
NAMES = {PointLabel.FOREGROUND: "positive", PointLabel.BACKGROUND: "negative"}
# Green and vermilion of the Okabe-Ito palette; symbols tell points apart without colour as well.
COLOURS = {PointLabel.FOREGROUND: "#00c98d", PointLabel.BACKGROUND: "#ff5a1f"}
BOX_COLOUR = "#ffd92e"
#: napari's mode of a Shapes layer for each tool that draws.
MODES = {
    Tool.BOX: "add_rectangle",
    Tool.LASSO: "add_polygon_lasso",
    Tool.SCRIBBLE: "add_path",
}
_SCRIBBLES = ("line", "path")
_OUTLINES = ("polygon", "ellipse")
#: Vertices of an ellipse as an outline.
_ELLIPSE = 48
_TRIANGLE = 3


@dataclass(frozen=True, slots=True)
class Stroke:
    """An outline or a scribble: napari's type of shape, its vertices in the data coordinates of the
    layer, and its sign.
    """

    kind: str
    vertices: tuple[tuple[float, ...], ...]
    sign: PointLabel = PointLabel.FOREGROUND


def to_image(layer: Layer, image: Image, position: npt.ArrayLike) -> FloatArray:
    """Map a position in the data of a layer to the data of the image (level 0 of a multiscale
    one).
    """
    return np.asarray(image.world_to_data(layer.data_to_world(np.asarray(position, dtype=float))))


def lies_on(position: FloatArray, index: Mapping[int, int]) -> bool:
    """Whether the position rounds to the plane."""
    return all(round(float(position[axis])) == at for axis, at in index.items())


def corners_of(shape: npt.ArrayLike) -> tuple[tuple[float, ...], ...]:
    """Vertices of a shape as plain values."""
    return tuple(tuple(float(v) for v in vertex) for vertex in np.asarray(shape))


class DrawnShapes:
    """Outlines and scribbles of a Shapes layer: their signs, colours and places.

    Parameters
    ----------
    layer
        The layer; rectangles may lie in it as well.
    """

    def __init__(self, layer: Shapes) -> None:
        self._layer = layer
        self._known = 0
        self._painted: list[PointLabel] = []

    # -------------------------------------------------------------------------------------- reading

    def signs(self) -> list[PointLabel]:
        """Sign of each shape, in the order of the layer's data."""
        # A path that napari gives up has left its row behind: the table may be longer.
        named = list(self._layer.features.get(SIGN, ()))[: self._layer.nshapes]
        signs = [
            PointLabel.BACKGROUND if name == NAMES[PointLabel.BACKGROUND] else PointLabel.FOREGROUND
            for name in named
        ]
        return signs + [PointLabel.FOREGROUND] * (self._layer.nshapes - len(signs))

    def boxes(self) -> list[FloatArray]:
        """Vertices of the rectangles."""
        kinds = self._layer.shape_type
        return [s for s, kind in zip(self._layer.data, kinds, strict=True) if kind == "rectangle"]

    def strokes(self) -> tuple[Stroke, ...]:
        """All outlines and scribbles."""
        parts = zip(self._layer.data, self._layer.shape_type, self.signs(), strict=True)
        return tuple(
            Stroke(str(kind), corners_of(shape), sign)
            for shape, kind, sign in parts
            if kind in (*_SCRIBBLES, *_OUTLINES)
        )

    def on_plane(
        self, image: Image, index: Mapping[int, int]
    ) -> tuple[tuple[Scribble, ...], tuple[Polygon, ...]]:
        """Return the scribbles and the outlines of one plane, in (y, x) pixels of the image.

        Parameters
        ----------
        image
            The layer that the pixels refer to.
        index
            Pixel index of the plane along each leading data axis of the image.

        Notes
        -----
        What is being drawn does not count before it is finished.
        """
        strokes = self.strokes()
        if getattr(self._layer, "_is_creating", False) and strokes:
            strokes = strokes[:-1]
        scribbles: list[Scribble] = []
        outlines: list[Polygon] = []
        for stroke in strokes:
            vertices = _round(stroke.vertices) if stroke.kind == "ellipse" else stroke.vertices
            at = np.array([to_image(self._layer, image, vertex) for vertex in vertices])
            if not lies_on(at.mean(axis=0), index):
                continue
            path = tuple((float(y), float(x)) for y, x in at[:, -2:])
            if stroke.kind in _SCRIBBLES:
                scribbles.append(Scribble(path, stroke.sign))
            elif len(path) >= _TRIANGLE:
                outlines.append(Polygon(path))
        return tuple(scribbles), tuple(outlines)

    def shapes_on_plane(self, image: Image, index: Mapping[int, int]) -> tuple[DrawnShape, ...]:
        """Return all shapes of one plane, rectangles too, as they were drawn; see `on_plane`."""
        parts = list(zip(self._layer.data, self._layer.shape_type, self.signs(), strict=True))
        if getattr(self._layer, "_is_creating", False):
            parts = parts[:-1]
        shapes = []
        for shape, kind, sign in parts:
            at = np.array([to_image(self._layer, image, vertex) for vertex in shape])
            least, _ = SHAPE_VERTICES[str(kind)]
            if len(at) >= least and lies_on(at.mean(axis=0), index):
                path = tuple((float(y), float(x)) for y, x in at[:, -2:])
                shapes.append(DrawnShape(str(kind), path, sign))
        return tuple(shapes)

    # ------------------------------------------------------------------------------------- changing

    def set_sign(self, sign: PointLabel) -> None:
        """Draw the next scribble in the colour of its sign."""
        drawn = str(self._layer.mode) in (MODES[Tool.SCRIBBLE], "add_line", "add_polyline")
        with self._layer.block_update_properties():
            self._layer.current_edge_color = COLOURS[sign] if drawn else BOX_COLOUR

    def take_new(self, sign: PointLabel) -> None:
        """Give shapes that are new their sign; call after every change."""
        signs = self.signs()
        if len(signs) > self._known:
            signs[self._known :] = [sign] * (len(signs) - self._known)
        self.write(signs)

    def toggle_selected(self) -> bool:
        """Toggle the sign of the selected scribbles; False if none is selected in select mode."""
        kinds = self._layer.shape_type
        chosen = [i for i in self._layer.selected_data if kinds[i] in _SCRIBBLES]
        if not chosen or str(self._layer.mode) not in ("select", "direct"):
            return False
        signs = self.signs()
        for i in chosen:
            negative = signs[i] == PointLabel.BACKGROUND
            signs[i] = PointLabel.FOREGROUND if negative else PointLabel.BACKGROUND
        self.write(signs)
        return True

    def write(self, signs: list[PointLabel]) -> None:
        """Set the sign of each shape, and its colour by it."""
        self._known = len(signs)
        self._layer.features = {SIGN: np.array([NAMES[sign] for sign in signs], dtype=object)}
        self.paint()

    def edited(self) -> bool:
        """Follow signs that were edited in the table of features; False if none was."""
        if self.signs()[: len(self._painted)] == self._painted:
            return False
        self.paint()
        return True

    def paint(self) -> None:
        """Make colours follow the signs; boxes and outlines have their own."""
        kinds, signs = self._layer.shape_type, self.signs()
        self._painted = signs
        if signs:
            self._layer.edge_color = [
                COLOURS[sign] if kind in _SCRIBBLES else BOX_COLOUR
                for kind, sign in zip(kinds, signs, strict=True)
            ]

    def restore(
        self, boxes: tuple[tuple[tuple[float, ...], ...], ...], strokes: tuple[Stroke, ...]
    ) -> None:
        """Put the layer back to boxes and strokes."""
        layer = self._layer
        layer.selected_data = set()
        layer.data = []
        for box in boxes:
            layer.add_rectangles(np.array(box))
        for stroke in strokes:
            layer.add(np.array(stroke.vertices), shape_type=stroke.kind)
        self.write([PointLabel.FOREGROUND] * len(boxes) + [stroke.sign for stroke in strokes])
        layer.selected_data = set()


def around(outline: Polygon) -> BoxPrompt:
    """Return the box around an outline; in napari pixel 0 begins at -0.5."""
    path = np.asarray(outline.path) + 0.5
    return BoxPrompt(*(float(v) for v in (*path.min(axis=0), *path.max(axis=0))))


def _round(corners: tuple[tuple[float, ...], ...]) -> FloatArray:
    """Vertices along the ellipse in a rectangle; corners and vertices in any number of axes."""
    at = np.asarray(corners, dtype=float)
    half_a, half_b = (at[1] - at[0]) / 2, (at[3] - at[0]) / 2
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE, endpoint=False)[:, None]
    return np.asarray(at.mean(axis=0) + np.cos(turn) * half_a + np.sin(turn) * half_b)
