"""napari's own tools on the objects of a pyramid: strokes, fills and picks by the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from litesam.objects import connected_region
from napari_litesam.label_axes import array_of
from napari_litesam.pyramid_labels import PyramidLabels

if TYPE_CHECKING:
    from collections.abc import Callable

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
#: A disc of radius 40 lies in the middle of each 200 px.
STEP, RADIUS = 200, 40


def slide(side: int) -> np.ndarray:
    at = np.arange(side) % STEP - STEP // 2
    return np.where(at[:, None] ** 2 + at[None] ** 2 <= RADIUS**2, np.uint8(200), np.uint8(20))


def labels_of(hands: Any) -> np.ndarray:
    return np.asarray(array_of(hands.objects))


class Field:
    """A part of a plane that is in sight, and hands on it."""

    def __init__(self, hands: Any, middle: tuple[int, int], zoom: float) -> None:
        self.hands, self.middle = hands, middle
        hands.viewer.scene.camera.center = middle
        hands.viewer.scene.camera.zoom = zoom
        hands.qtbot.wait(200)

    def at(self, yx: tuple[float, float]) -> QPoint:
        """Canvas position of a pixel."""
        hands = self.hands
        native, camera = hands.canvas.native, hands.viewer.scene.camera
        y, x = ((yx[i] - camera.center[-2:][i]) * camera.zoom for i in (0, 1))
        scale = native.devicePixelRatioF()
        x0, y0 = native.width() / 2, native.height() / 2
        return QPoint(round(x0 + x / scale), round(y0 + y / scale))

    def click(self, yx: tuple[float, float]) -> None:
        position = self.at(yx)
        self.hands.qtbot.mouseMove(self.hands.canvas.native, position)
        self.hands.qtbot.mouseClick(
            self.hands.canvas.native, Qt.MouseButton.LeftButton, pos=position
        )
        self.hands.settle()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        native, left = self.hands.canvas.native, Qt.MouseButton.LeftButton
        a, b = self.at(start), self.at(end)
        self.hands.qtbot.mouseMove(native, a)
        QTest.mousePress(native, left, pos=a)
        for share in (0.3, 0.6, 1.0):
            QTest.mouseMove(native, a + (b - a) * share)
            self.hands.qtbot.wait(10)
        QTest.mouseRelease(native, left, pos=b)
        self.hands.settle()

    def use(self, mode: str, **look: Any) -> None:
        """Choose a tool of napari for the layer of objects."""
        layer = self.hands.objects
        self.hands.viewer.layers.selection.active = layer
        layer.mode = mode
        assert str(layer.mode) == mode, "the tool is there"
        for name, value in look.items():
            setattr(layer, name, value)
        self.hands.qtbot.wait(30)


@pytest.fixture(params=[(600, 1), (4200, 1)], ids=str)
def field(predictor, open_panel: Callable[..., Any], request) -> Field:
    """A pyramid of which a level is encoded, with one object committed; large or small."""
    side, level = request.param
    image = slide(side)
    hands = open_panel([image, image[::4, ::4]], multiscale=True, contrast_limits=(0, 255))
    if level:
        hands.pick("level", level)
    made = Field(hands, (side // 2, side // 2), 1.5)
    hands.press("positive")
    y = x = side // 2 // STEP * STEP + STEP // 2
    made.middle = (y, x)
    hands.viewer.scene.camera.center = made.middle
    hands.qtbot.wait(200)
    made.click((y, x))
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert isinstance(hands.objects, PyramidLabels) == (side > 4096)
    assert abs((labels_of(hands) == 1).sum() / (np.pi * RADIUS**2) - 1) < 0.3
    return made


def test_every_tool_of_napari_is_a_step(field: Field) -> None:
    hands = field.hands
    y, x = field.middle
    states = [labels_of(hands).copy()]

    def changed() -> np.ndarray:
        now = labels_of(hands).copy()
        assert (now != states[-1]).any()
        states.append(now)
        return now

    field.use("paint", brush_size=15, selected_label=7)
    field.drag((y - 80, x - 60), (y - 80, x + 60))
    now = changed()
    assert now[y - 80, x - 60] == now[y - 80, x] == now[y - 80, x + 60] == 7
    rows = np.flatnonzero((now == 7).any(axis=1))
    assert abs(rows.mean() - (y - 80)) <= 1.5
    assert 13 <= np.ptp(rows) + 1 <= 17
    if hands.objects.multiscale:
        np.testing.assert_array_equal(hands.objects.data[1], now[::4, ::4])
    hands.until(lambda: {row.id for row in hands.widget.state.objects} == {1, 7})

    field.use("erase", brush_size=21)
    field.drag((y - 95, x), (y - 65, x))
    now = changed()
    assert now[y - 80, x] == 0
    assert now[y - 80, x - 60] == now[y - 80, x + 60] == 7

    field.use("fill", selected_label=9)
    field.click((y - 80, x + 40))
    now = changed()
    assert now[y - 80, x + 60] == 9
    assert now[y - 80, x - 60] == 7, "the other part is not connected with it"

    field.use("pick")
    field.click((y - 80, x - 60))
    assert hands.objects.selected_label == 7
    assert hands.widget.state.selected == {7}
    field.click((y - 80, x + 60))
    assert hands.objects.selected_label == 9
    np.testing.assert_array_equal(labels_of(hands), states[-1])

    hands.key(Qt.Key.Key_M)
    assert hands.objects.selected_label == 10

    # One history: strokes, and before them the object of the model.
    for state in reversed(states[:-1]):
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
        np.testing.assert_array_equal(labels_of(hands), state)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not labels_of(hands).any()
    for state in states:
        hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
        hands.settle()
        np.testing.assert_array_equal(labels_of(hands), state)
    kinds = [
        action.kind for action in hands.widget.controller.keeper.session(hands.objects).actions
    ]
    assert kinds[1:] == ["paint"] * 3


def test_what_was_painted_is_respected(field: Field) -> None:
    hands = field.hands
    y, x = field.middle
    other = (y, x - STEP) if x >= STEP + RADIUS else (y, x + STEP)
    field.use("paint", brush_size=21, selected_label=5)
    field.drag((other[0], other[1] - 25), (other[0], other[1] + 25))
    painted = labels_of(hands) == 5
    assert painted.sum() > 500
    hands.press("positive")
    hands.qtbot.wait(50)
    field.click((other[0] - 25, other[1]))
    hands.key(Qt.Key.Key_C)
    hands.settle()
    now = labels_of(hands)
    np.testing.assert_array_equal(now == 5, painted, err_msg="never overwrite")
    assert now[other[0] - 25, other[1]] == 6
    hands.press("undo")
    hands.settle()
    hands.pick("policy", "Overwrite")
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    now = labels_of(hands)
    assert now[other] == 7, "the id that was taken back is not used again"
    assert not (now == 5).any()


def test_connected_region_looks_around_the_seed_only() -> None:
    labels = np.zeros((3000, 2500), np.int32)
    labels[100:900, 50:70] = labels[880:900, 50:2400] = 3
    labels[200:240, 200:260] = 3
    labels[215:225, 210:220] = 4
    mask, box = connected_region(labels, (210, 205))
    assert (box.y0, box.x0, box.y1, box.x1) == (200, 200, 240, 260)
    assert mask.sum() == 40 * 60 - 100
    mask, box = connected_region(labels, (120, 60))
    assert (box.y0, box.x0, box.y1, box.x1) == (100, 50, 900, 2400)
    np.testing.assert_array_equal(mask.sum(), 800 * 20 + 20 * 2330)
    mask, box = connected_region(labels, (0, 0))
    assert mask.shape == labels.shape
    with pytest.raises(ValueError, match="outside"):
        connected_region(labels, (3000, 0))
