"""Outlines and scribbles drawn in the window: prompts, signs, undo, sessions."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.session import replay
from litesam.types import BoxPrompt, PointLabel
from napari_litesam.drawn_shapes import COLOURS
from napari_litesam.prompt_layers import PromptLayers
from plugin.sweeps import circle, sweep

CONTROL = Qt.KeyboardModifier.ControlModifier
NONE = Qt.KeyboardModifier.NoModifier
POSITIVE, NEGATIVE = PointLabel.FOREGROUND, PointLabel.BACKGROUND
FIRST, SECOND, THIRD = CENTRES


def colours(hands) -> list[str]:
    from napari.utils.colormaps.standardize_color import rgb_to_hex

    boxes = hands.widget.controller.prompts.boxes
    return [str(c).lower()[:7] for c in rgb_to_hex(np.asarray(boxes.edge_color))]


def disc(cells, *centres) -> np.ndarray:
    return np.isin(cells[1], [cells[1][centre] for centre in centres])


def test_lasso_is_an_outline(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("lasso")
    assert hands.widget.lasso.isChecked()
    assert not hands.widget.positive.isChecked()
    sweep(hands, circle(FIRST, 11))
    boxes = hands.widget.controller.prompts.boxes
    assert list(boxes.shape_type) == ["polygon"]
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST))
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, disc(cells, FIRST))
    assert len(boxes.data) == 0
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.objects.data.any()
    assert list(boxes.shape_type) == ["polygon"], "undo brings the outline back"
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST))
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.preview.any()


def test_scribbles_are_points_of_their_sign(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("scribble")
    assert hands.widget.scribble.text().endswith("+")
    # One stroke over two objects, then a stroke beside the first on the second.
    sweep(hands, [(30, 26), (30, 50), (30, 70), (30, 94)])
    assert disc(cells, FIRST, SECOND)[hands.preview].all()
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST, SECOND))
    hands.press("scribble")
    assert hands.widget.scribble.text().endswith("−")
    sweep(hands, [(26, 86), (30, 90), (34, 94), (28, 94)])
    assert hands.widget.controller.prompts.snapshot().strokes[1].sign == NEGATIVE
    assert colours(hands) == [COLOURS[POSITIVE], COLOURS[NEGATIVE]]
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST))
    # A negative one in between, whatever the sign is.
    hands.press("scribble")
    sweep(hands, [(86, 52), (90, 60), (94, 68)], CONTROL)
    assert colours(hands)[2] == COLOURS[NEGATIVE]
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST, SECOND))
    hands.key(Qt.Key.Key_Z, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    hands.settle()
    assert colours(hands) == [COLOURS[POSITIVE], COLOURS[NEGATIVE]], "signs are restored"
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST))


def test_points_box_and_stroke_say_it_together(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.press("scribble")
    sweep(hands, [(28, 84), (30, 90), (32, 96)])
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST, SECOND))
    hands.press("negative")
    assert hands.widget.negative.isChecked()
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, disc(cells, FIRST))
    hands.key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    hands.settle()
    assert hands.widget.controller.prompts.snapshot().empty


def test_a_slip_of_the_mouse_is_no_stroke_and_no_other_sign(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("scribble")
    sweep(hands, [(30, 22), (30, 30), (30, 38)])
    hands.press("scribble")
    hands.click((60, 60))
    hands.click((60, 60))
    hands.settle()
    snapshot = hands.widget.controller.prompts.snapshot()
    assert [stroke.sign for stroke in snapshot.strokes[:1]] == [POSITIVE]
    assert len(snapshot.strokes) == 1


@pytest.mark.parametrize("tool", ["lasso", "scribble"])
def test_what_was_drawn_replays_to_the_last_pixel(open_panel, tool) -> None:
    hands = open_panel()
    hands.viewer.open_sample("napari-litesam", "nuclei")
    hands.settle()
    hands.press(tool)
    y, x = 396.0, 229.0
    path = circle((y, x), 16) if tool == "lasso" else [(y - 8, x - 8), (y, x), (y + 8, x + 8)]
    sweep(hands, path)
    assert hands.preview[int(y), int(x)]
    hands.key(Qt.Key.Key_C)
    hands.settle()
    session = hands.widget.controller.keeper.session(hands.objects)
    (action,) = session.actions
    assert (action.prompts.low_res_mask is not None) == (tool == "lasso")
    assert action.prompts.points or action.prompts.box
    done = replay(session, np.asarray(hands.image.data))
    np.testing.assert_array_equal(done.labels, hands.objects.data)
    assert not done.different
    # Open again: what was drawn comes back.
    hands.hover((y, x))
    hands.viewer.layers.selection.active = hands.points
    hands.key(Qt.Key.Key_R)
    hands.settle()
    now = hands.widget.controller.prompts.snapshot()
    assert [stroke.kind for stroke in now.strokes] == ["polygon" if tool == "lasso" else "path"]
    assert not now.points
    np.testing.assert_array_equal(hands.preview, hands.objects.data > 0)


def test_everything_and_each_look_at_rectangles_only() -> None:
    image = Image(np.zeros((60, 80)))
    layers = PromptLayers(image)
    layers.boxes.add_rectangles(np.array([(1.5, 2.5), (1.5, 9.5), (5.5, 9.5), (5.5, 2.5)]))
    layers.boxes.add_ellipses(np.array([(20, 20), (20, 40), (30, 40), (30, 20)]))
    layers.boxes.add_paths(np.array([(1, 1), (5, 5), (9, 1)]))
    layers.boxes.add_lines(np.array([(1, 1), (5, 5)]))
    assert layers.boxes_on_plane(image, {}) == [BoxPrompt(2, 3, 6, 10)]
    scribbles, (outline,) = layers.strokes_on_plane(image, {})
    assert [len(one.path) for one in scribbles] == [3, 2]
    low, high = np.min(outline.path, axis=0), np.max(outline.path, axis=0)
    np.testing.assert_allclose((low, high), ((20, 20), (30, 40)), atol=0.1)
    taken = layers.snapshot()
    layers.clear()
    assert layers.snapshot().empty
    layers.restore(taken)
    assert layers.snapshot() == taken


def test_strokes_of_other_planes_do_not_count() -> None:
    image = Image(np.zeros((5, 20, 30)), scale=(2, 1, 1))
    layers = PromptLayers(image)
    layers.set_sign(NEGATIVE)
    layers.boxes.add_paths(np.array([(3, 1, 1), (3, 5, 5), (3, 9, 1)]))
    assert layers.strokes_on_plane(image, {0: 1}) == ((), ())
    ((scribble,), ()) = layers.strokes_on_plane(image, {0: 3})
    assert scribble.label == NEGATIVE
    assert scribble.path == ((1, 1), (5, 5), (9, 1))
    assert layers.without_plane(image, {0: 3}).empty
    assert not layers.without_plane(image, {0: 1}).empty


def test_signs_are_toggled_and_edited() -> None:
    image = Image(np.zeros((60, 80)))
    layers = PromptLayers(image)
    layers.boxes.add_polygons(np.array([(20, 20), (20, 40), (30, 30)]))
    layers.boxes.add_paths(np.array([(1, 1), (5, 5), (9, 1)]))
    layers.boxes.add_lines(np.array([(1, 1), (5, 5)]))
    told: list[int] = []
    layers.changed.connect(lambda: told.append(1))
    layers.boxes.mode = "select"
    layers.boxes.selected_data = {0, 2}
    assert layers.toggle_selected(shapes=True)
    assert [s.label for s in layers.strokes_on_plane(image, {})[0]] == [POSITIVE, NEGATIVE]
    layers.boxes.features = {"label": ["positive", "negative", "negative"]}
    assert [s.label for s in layers.strokes_on_plane(image, {})[0]] == [NEGATIVE, NEGATIVE]
    assert len(told) == 2
    np.testing.assert_array_equal(layers.boxes.edge_color[1], layers.boxes.edge_color[2])
    layers.boxes.selected_data = {1}
    layers.boxes.remove_selected()
    assert len(layers.snapshot().strokes) == 2
    assert len(told) == 3
