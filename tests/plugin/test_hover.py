"""The preview under the pointer: there before any click, and never a prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt

from engine.threshold_predictor import CENTRES

FIRST, SECOND, _ = CENTRES
NOWHERE = (64, 110)


def move(hands: Any, yx: tuple[float, float]) -> None:
    """Move the mouse over a pixel of the image; the canvas takes a move only from elsewhere."""
    position = hands.at(hands.image, yx)
    hands.qtbot.mouseMove(hands.canvas.native, position + QPoint(3, 3))
    hands.qtbot.wait(5)
    hands.qtbot.mouseMove(hands.canvas.native, position)
    hands.qtbot.wait(5)


def rest(hands: Any) -> None:
    """Wait until nothing more comes of the last move."""
    hands.until(lambda: hands.widget.controller.hover.idle)
    hands.settle()


def test_preview_under_the_pointer(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    move(hands, FIRST)
    rest(hands)
    assert not hands.preview.any(), "off at first"
    hands.tick("hover")
    move(hands, FIRST)
    hands.until(lambda: hands.preview.any())
    np.testing.assert_array_equal(hands.preview, labels == 1)
    move(hands, SECOND)
    hands.until(lambda: hands.preview[SECOND])
    np.testing.assert_array_equal(hands.preview, labels == 2)
    # Nothing was prompted, so nothing can be committed or undone.
    assert len(hands.points.data) == 0
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects is None
    assert "no object to commit" in hands.status
    assert not hands.widget.undo.isEnabled()
    assert not hands.widget.commit.isEnabled()
    # A click is a prompt as ever, and its preview stays where it is.
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    move(hands, SECOND)
    rest(hands)
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, labels == 1)


def test_it_goes_away_with_the_pointer_and_with_the_switch(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.tick("hover")
    move(hands, FIRST)
    hands.until(lambda: hands.preview.any())
    move(hands, (-9, 64))  # the screen of the tests ends below
    rest(hands)
    assert not hands.preview.any()
    move(hands, SECOND)
    hands.until(lambda: hands.preview.any())
    hands.tick("hover")
    rest(hands)
    assert not hands.preview.any()


def test_few_decodes_for_many_moves_and_late_ones_are_dropped(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.press("undo")
    hands.settle()
    before = len(predictor.decoded)
    hands.tick("hover")
    for step in range(40):
        hands.qtbot.mouseMove(hands.canvas.native, hands.at(hands.image, (60 + step, 20 + step)))
        hands.qtbot.wait(5)
    move(hands, SECOND)
    hands.until(lambda: hands.preview[SECOND])
    rest(hands)
    assert 1 <= len(predictor.decoded) - before <= 15, "40 moves in about 0.3 s"
    assert hands.preview[SECOND]


def ask_and_hold(hands: Any, predictor: Any) -> None:
    """Rest over a cell whose mask does not come yet."""
    hands.tick("hover")
    predictor.gate.clear()
    move(hands, FIRST)
    hands.until(predictor.waiting.is_set)


def test_a_late_one_is_not_shown_on_another_image(predictor, open_panel, cells) -> None:
    """The other one is smaller: its preview has no room for the mask."""
    hands = open_panel(cells[0])
    hands.viewer.add_image(np.zeros((64, 64), np.uint8), name="empty")
    hands.pick("image", hands.viewer.layers["cells"])
    hands.settle()
    hands.viewer.layers["empty"].visible = False
    hands.press("positive")
    ask_and_hold(hands, predictor)
    # By key: the mouse would leave the canvas for the chooser, which ends the preview.
    hands.widget.image.setFocus()
    hands.qtbot.keyClick(hands.widget.image, Qt.Key.Key_E)
    predictor.gate.set()
    rest(hands)
    assert hands.image.name == "empty"
    assert not hands.preview.any()


def test_a_late_one_is_not_shown_in_another_slice(predictor, open_panel, cells) -> None:
    hands = open_panel(np.stack([cells[0], *[np.zeros_like(cells[0])] * 4]))
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    ask_and_hold(hands, predictor)
    hands.viewer.dims.set_current_step(0, 1)
    predictor.gate.set()
    rest(hands)
    assert not hands.preview.any()
    # Nor does one that is shown stay when the slice changes.
    hands.viewer.dims.set_current_step(0, 0)
    move(hands, SECOND)
    hands.until(lambda: hands.preview[SECOND])
    hands.viewer.dims.set_current_step(0, 1)
    rest(hands)
    assert not hands.preview.any()
