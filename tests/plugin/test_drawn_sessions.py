"""Drawings are not lost: outlines and scribbles come back as they were drawn, and replay alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from engine.threshold_predictor import CENTRES
from litesam.cli import main
from litesam.io import read_labels
from litesam.samples import sample_path
from litesam.session import ObjectCommit, read_session, replay
from litesam.types import PointLabel
from napari_litesam.prompt_layers import PromptLayers
from napari_litesam.stored_prompts import drafts_of, drawn_on_plane, snapshot_of

CONTROL = Qt.KeyboardModifier.ControlModifier
NONE = Qt.KeyboardModifier.NoModifier
FIRST, SECOND, THIRD = CENTRES

#: A person at work: an object of an outline and a scribble is committed, another is being drawn.
#: Then the process is killed.
AT_WORK = """
import sys, numpy as np, napari
from qtpy.QtWidgets import QApplication
from litesam.types import PointLabel
viewer = napari.Viewer(show=False)
viewer.open(sys.argv[1])
_, panel = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
app = QApplication.instance()
controller = panel.controller
def settle():
    for _ in range(5):
        app.processEvents()
    while not (controller._current.lane.idle and controller.desk.lane.idle
               and not controller._timer.isActive()):
        app.processEvents()
settle()
y, x = 396.0, 229.0
boxes = controller.prompts.boxes
turn = np.linspace(0, 6, 13)
boxes.add_polygons(np.stack([y + 16 * np.sin(turn), x + 16 * np.cos(turn)], 1))
settle()
controller.state.update(sign=PointLabel.BACKGROUND)
boxes.add_paths(np.array([(y - 25, x - 25), (y - 24.5, x), (y - 25, x + 25)]))
settle()
assert panel.controller.preview.data.any()
controller.commit()
settle()
boxes.add_ellipses(np.array([(80.5, 80), (80.5, 110), (110, 110), (110, 80)]))
settle()
boxes.add_lines(np.array([(70.25, 70), (70.25, 120)]))
settle()
controller.prompts.points.add(np.array([[95.0, 95.0]]))
settle()
now = controller.prompts.snapshot()
np.savez(sys.argv[2], labels=controller.state.settings.target.data, preview=controller.preview.data,
         said=np.array(repr(now)))
controller.keeper.flush()
print("ready", flush=True)
import time
time.sleep(60)
"""


def sweep(hands, path, modifier=NONE) -> None:
    """Draw along a path with the button held."""
    native, left = hands.canvas.native, Qt.MouseButton.LeftButton
    places = [hands.at(hands.image, yx) for yx in path]
    hands.qtbot.mouseMove(native, places[0])
    QTest.mousePress(native, left, modifier, places[0])
    for a, b in pairwise(places):
        for share in (0.5, 1.0):
            QTest.mouseMove(native, a + (b - a) * share)
            hands.qtbot.wait(5)
    QTest.mouseRelease(native, left, modifier, places[-1])
    hands.settle()


def circle(centre, radius, count=16) -> list[tuple[float, float]]:
    turn = np.linspace(0, 2 * np.pi, count)
    return [(centre[0] + radius * np.sin(t), centre[1] + radius * np.cos(t)) for t in turn]


def test_killed_process_loses_no_drawing_and_replay_is_bit_for_bit(
    open_panel, tmp_path, home, capsys
) -> None:
    saved = tmp_path / "saved.npz"
    work = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(sample_path("nuclei")), str(saved)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"LITESAM_HOME": str(home)},
    )
    try:
        assert work.stdout is not None
        assert work.stdout.readline().strip() == "ready"
        work.send_signal(signal.SIGKILL)
    finally:
        work.kill()
        work.wait()
        work.stdout.close()
    before = np.load(saved)
    hands = open_panel()
    hands.settle()
    hands.press("unsaved.bring_back")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, before["labels"])
    assert repr(hands.widget.controller.prompts.snapshot()) == str(before["said"])
    np.testing.assert_array_equal(hands.preview, before["preview"] > 0)
    # It goes on, is saved, and is done again without the window.
    hands.viewer.layers.selection.active = hands.points
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.max() == 2
    path = tmp_path / "session.json"
    hands.widget.controller.save_session(str(path))
    session = read_session(path)
    assert not session.drafts
    kinds = [
        [shape.kind for shape in action.drawn.shapes]
        for action in session.actions
        if isinstance(action, ObjectCommit) and action.drawn is not None
    ]
    assert kinds == [["polygon", "path"], ["ellipse", "line"]]
    done = replay(session)
    np.testing.assert_array_equal(done.labels, hands.objects.data)
    assert not done.different
    output = tmp_path / "labels.tif"
    assert main(["label", "--session", str(path), "-o", str(output)]) == 0
    np.testing.assert_array_equal(read_labels(output).array, hands.objects.data)
    # Open the first again: its outline and its scribble are there, and say the same.
    mask = hands.objects.data == 1
    hands.hover((396, 229))
    hands.qtbot.wait(50)
    hands.key(Qt.Key.Key_R)
    hands.settle()
    strokes = hands.widget.controller.prompts.snapshot().strokes
    assert [(one.kind, one.sign) for one in strokes] == [
        ("polygon", PointLabel.FOREGROUND),
        ("path", PointLabel.BACKGROUND),
    ]
    np.testing.assert_array_equal(hands.preview, mask)


def test_what_the_mouse_drew_is_there_in_the_next_panel(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("lasso")
    sweep(hands, circle(FIRST, 11))
    hands.press("scribble")
    sweep(hands, [(86, 52), (90, 60), (94, 68)])
    sweep(hands, [(28, 84), (30, 90), (32, 96)], CONTROL)
    now, preview = hands.widget.controller.prompts.snapshot(), hands.preview.copy()
    colours = np.array(hands.widget.controller.prompts.boxes.edge_color)
    assert preview.any()
    hands.widget.controller.close()

    again = open_panel(cells[0])
    again.settle()
    again.press("unsaved.bring_back")
    again.settle()
    assert again.widget.controller.prompts.snapshot() == now
    np.testing.assert_array_equal(again.widget.controller.prompts.boxes.edge_color, colours)
    np.testing.assert_array_equal(again.preview, preview)
    again.viewer.layers.selection.active = again.points
    again.key(Qt.Key.Key_Z, CONTROL)
    again.settle()
    assert again.widget.controller.prompts.snapshot().empty, "one step of undo"


def test_all_boxes_of_a_plane_come_back(predictor, open_panel, cells) -> None:
    """With *each its own* every box is an object."""
    hands = open_panel(cells[0])
    hands.tick("each")
    hands.press("box")
    for y, x in CENTRES:
        hands.drag((y - 14, x - 14), (y + 14, x + 14))
        hands.settle()
    now = hands.widget.controller.prompts.snapshot()
    assert len(now.boxes) == 3
    hands.widget.controller.close()
    again = open_panel(cells[0])
    again.settle()
    again.press("unsaved.bring_back")
    again.settle()
    np.testing.assert_allclose(again.widget.controller.prompts.snapshot().boxes, now.boxes)


@pytest.mark.parametrize("placed", [{}, {"scale": (2, 0.3, 0.3), "translate": (1, 5, 7.5)}])
def test_drafts_say_what_the_layers_say(placed) -> None:
    image = Image(np.zeros((5, 60, 80)), **placed)
    layers = PromptLayers(image)
    for z in (1, 3):
        layers.set_sign(PointLabel.BACKGROUND)
        layers.boxes.add_paths(np.array([(z, 1, 1), (z, 5, 5.25), (z, 9, 1)]))
        layers.set_sign(PointLabel.FOREGROUND)
        layers.boxes.add_polygons(np.array([(z, 19.5, 19.5), (z, 19.5, 39.5), (z, 29.5, 30)]))
    layers.boxes.add_rectangles(np.array([(3, 2, 2), (3, 2, 9), (3, 9, 9), (3, 9, 2)]))
    layers.boxes.add_rectangles(np.array([(3, 2, 2), (3, 2, 2.5), (3, 2.5, 2.5), (3, 2.5, 2)]))
    layers.boxes.add_rectangles(np.array([(3, 4, 4), (3, 4, 9), (3, 9, 9), (3, 9, 4)]))
    now = layers.snapshot()
    drafts = drafts_of(layers, image, None, (7, (3,)))
    assert [(one.index, one.id) for one in drafts] == [((1,), None), ((3,), 7)]
    assert drafts[0].prompts is None
    assert [one.kind for one in drafts[1].shapes] == ["path", "polygon", "rectangle"]
    back = snapshot_of(layers, image, None, drafts)
    assert [one.kind for one in back.strokes] == [one.kind for one in now.strokes]
    assert [one.sign for one in back.strokes] == [one.sign for one in now.strokes]
    for ours, theirs in zip(back.strokes, now.strokes, strict=True):
        # Through the world and back: a few units in the last place.
        np.testing.assert_allclose(ours.vertices, theirs.vertices, atol=1e-9)
    np.testing.assert_allclose(back.boxes, (now.boxes[0], now.boxes[2]), atol=1e-9)
    layers.restore(back)
    assert layers.on_plane(image, {0: 3}) == drafts[1].prompts


def test_points_and_boxes_alone_are_no_drawing() -> None:
    image = Image(np.zeros((60, 80)))
    layers = PromptLayers(image)
    layers.boxes.add_rectangles(np.array([(2, 2), (2, 9), (9, 9), (9, 2)]))
    layers.points.add(np.array([[3.0, 4.0]]))
    assert drawn_on_plane(layers, image, {}) is None
    layers.boxes.add_lines(np.array([(1, 1), (5, 5)]))
    drawn = drawn_on_plane(layers, image, {})
    assert drawn is not None
    assert [one.kind for one in drawn.shapes] == ["line"]
    assert drawn.prompts == layers.on_plane(image, {})
