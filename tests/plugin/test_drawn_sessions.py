"""Drawings are not lost: outlines and scribbles come back as they were drawn, and replay alike."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.cli import main
from litesam.io import read_labels
from litesam.session import ObjectCommit, read_session, replay
from litesam.types import PointLabel
from napari_litesam.prompt_layers import PromptLayers
from napari_litesam.stored_prompts import drafts_of, drawn_on_plane, snapshot_of
from plugin.at_work import killed
from plugin.sweeps import circle, sweep

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES


def test_killed_process_loses_no_drawing_and_replay_is_bit_for_bit(
    open_panel, tmp_path, home, capsys
) -> None:
    before = killed("test_drawings", tmp_path / "seen.npz", home)
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
