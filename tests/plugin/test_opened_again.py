"""What may come between opening an object again and its commit; layers that round its prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
FIRST, SECOND, THIRD = CENTRES


def commit(hands: Any, centre: tuple[int, int]) -> None:
    hands.click(centre)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()


def reopen(hands: Any, centre: tuple[int, int]) -> None:
    hands.hover(centre)
    hands.key(Qt.Key.Key_R)
    hands.settle()


@pytest.mark.parametrize(
    "placed",
    [{"scale": (0.325, 2.18)}, {"scale": (0.325, 0.325), "rotate": 31.0}],
    ids=["anisotropic", "rotated"],
)
def test_undo_goes_back_to_the_start_on_a_scaled_image(
    predictor, open_panel, cells, placed
) -> None:
    """Boxes of a scaled layer come back rounded, which is no step of the user's."""
    hands = open_panel(cells[0], **placed)
    hands.everything()
    full = hands.objects.data.copy()
    reopen(hands, FIRST)  # a click and a box, made of its mask
    assert len(hands.widget.controller.prompts.boxes.data) == 1
    hands.key(Qt.Key.Key_C)
    hands.settle()
    for _ in range(3):  # the commit, the opening, everything
        assert hands.widget.undo.isEnabled()
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
    assert not hands.objects.data.any()
    assert not hands.widget.undo.isEnabled()
    for _ in range(3):
        assert hands.widget.redo.isEnabled()
        hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
        hands.settle()
    assert not hands.widget.redo.isEnabled()
    np.testing.assert_array_equal(hands.objects.data > 0, full > 0)


def test_a_commit_elsewhere_leaves_it_open(predictor, open_panel, cells) -> None:
    """Its id is kept for it while an object of another slice is committed."""
    hands = open_panel(np.stack([cells[0]] * 5))
    hands.viewer.dims.set_current_step(0, 1)
    commit(hands, FIRST)
    reopen(hands, FIRST)
    hands.viewer.dims.set_current_step(0, 2)
    hands.settle()
    commit(hands, SECOND)
    hands.viewer.dims.set_current_step(0, 1)
    hands.settle()
    assert len(hands.points.data) == 1
    hands.key(Qt.Key.Key_N)  # a smaller mask
    hands.settle()
    smaller = hands.preview
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data[1] == 1, smaller)
    assert set(np.unique(hands.objects.data)) == {0, 1, 2}


def test_in_another_layer_it_is_a_new_object(three, cells) -> None:
    """Its id belongs to the layer that it was opened in: that of another object there stays."""
    first = three.objects
    painted = np.zeros_like(first.data)
    painted[2:8, 2:8] = 2  # that id is in use in the other layer, too
    reopen(three, SECOND)
    assert three.widget.number.value() == 2
    other = three.viewer.add_labels(painted.copy(), name="mine")
    three.settle()
    three.pick("target", other)
    three.settle()
    assert three.objects is other
    assert three.widget.number.value() == 3
    three.viewer.layers.selection.active = three.points
    three.key(Qt.Key.Key_C)
    three.settle()
    np.testing.assert_array_equal(other.data == 2, painted == 2)
    np.testing.assert_array_equal(other.data == 3, cells[1] == 2)
    np.testing.assert_array_equal(first.data == 2, cells[1] == 2)
