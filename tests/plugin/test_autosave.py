"""What is on the disk is what the layers show, whatever was done in which order."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from plugin.journals import left_journals

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES


def commit(hands, at) -> None:
    hands.press("positive")
    hands.click(at)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()


def undo(hands) -> None:
    hands.viewer.layers.selection.active = hands.points
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()


def turn_to(hands, name: str) -> None:
    hands.pick("image", name)
    hands.settle()


def two_images(open_panel, cells):
    """Two images, and one layer that receives the objects of both."""
    hands = open_panel(cells[0])
    commit(hands, FIRST)
    hands.viewer.add_image(cells[0].copy(), name="other")
    hands.settle()
    turn_to(hands, "other")
    hands.pick("target", "Lite-SAM objects")
    hands.settle()
    return hands


def recovered(hands) -> tuple[np.ndarray, np.ndarray]:
    """The labels on the disk, and those of the layer."""
    now = hands.viewer.layers["Lite-SAM objects"].data.copy()
    hands.widget.controller.close()
    (left,) = left_journals()
    return left.labels(), now


def test_undo_of_one_image_leaves_what_another_put_into_the_layer(
    predictor, open_panel, cells
) -> None:
    hands = two_images(open_panel, cells)
    commit(hands, SECOND)
    turn_to(hands, "cells")
    undo(hands)
    np.testing.assert_array_equal(np.unique(hands.objects.data), [0, 2])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)


def test_redo_where_another_image_wrote_meanwhile(predictor, open_panel, cells) -> None:
    hands = two_images(open_panel, cells)
    turn_to(hands, "cells")
    undo(hands)
    assert not hands.objects.data.any()
    turn_to(hands, "other")
    commit(hands, FIRST)
    turn_to(hands, "cells")
    hands.press("redo")
    hands.settle()
    np.testing.assert_array_equal(np.unique(hands.objects.data), [0, 2])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)


def test_strokes_in_a_layer_of_another_image(predictor, open_panel, cells) -> None:
    hands = two_images(open_panel, cells)
    turn_to(hands, "other")
    hands.pick("target", None)
    hands.settle()
    layer = hands.viewer.layers["Lite-SAM objects"]
    assert hands.objects is None
    hands.viewer.layers.selection.active = layer
    hands.key(Qt.Key.Key_2)
    layer.brush_size = 5
    layer.selected_label = 9
    hands.click((5, 5))
    hands.settle()
    assert (layer.data == 9).any()
    turn_to(hands, "cells")
    undo(hands)
    assert (layer.data == 9).any(), "painted under the other image"
    np.testing.assert_array_equal(np.unique(layer.data), [0, 9])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)


def test_strokes_in_a_layer_to_which_the_panel_did_nothing_yet(
    predictor, open_panel, cells
) -> None:
    hands = open_panel(cells[0])
    hands.viewer.add_labels(np.where(cells[1] == 3, 5, 0), name="Lite-SAM objects")
    hands.pick("target", "Lite-SAM objects")
    hands.settle()
    layer = hands.objects
    hands.viewer.add_image(np.zeros((20, 20), np.uint8), name="other")
    hands.settle()
    turn_to(hands, "other")
    hands.viewer.layers["other"].visible = False
    hands.viewer.layers.selection.active = layer
    hands.key(Qt.Key.Key_2)
    layer.brush_size = 5
    layer.selected_label = 9
    hands.click((120, 5), layer)
    hands.settle()
    np.testing.assert_array_equal(np.unique(layer.data), [0, 5, 9])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)
