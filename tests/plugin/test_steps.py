"""Candidates of the current object, undo and redo: by keys and buttons in a real window."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QApplication

from engine.threshold_predictor import CENTRES

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
LEFT, NO_BUTTON = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
RELEASE = QEvent.Type.MouseButtonRelease
FIRST, SECOND, THIRD = CENTRES


def test_candidates_by_key_button_and_undo(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    assert not hands.widget.candidate.isEnabled()
    hands.click(FIRST)
    hands.settle()
    # Of the three candidates the second has the highest predicted IoU; the third is empty.
    assert hands.widget.candidate.text() == "Mask 2 of 3 · predicted IoU 0.95"
    assert "Mask 2 of 3" in hands.status
    decoded = len(predictor.decoded)
    hands.key(Qt.Key.Key_N)
    hands.settle()
    smaller = hands.preview
    assert 0 < smaller.sum() < (labels == 1).sum(), "the empty one is passed over"
    assert not (smaller & (labels != 1)).any()
    assert hands.widget.candidate.text() == "Mask 1 of 3 · predicted IoU 0.76"
    hands.press("candidate")
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_N, SHIFT)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, smaller)
    assert len(predictor.decoded) == decoded, "nothing is decoded again"
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, smaller)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, smaller)
    # The choice was made for that object: the next one begins with the best candidate.
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    # Back to the chosen candidate of the object before it: prompts and choice return.
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.objects.data.any()
    np.testing.assert_array_equal(hands.preview, smaller)


def test_a_commit_right_after_a_click_counts_the_click(predictor, open_panel, cells) -> None:
    """Both events wait while the window is drawn, and come one directly after the other."""
    image, labels = cells
    hands = open_panel(image)
    for number, centre in enumerate((FIRST, SECOND), start=1):
        position = hands.at(hands.image, centre)
        hands.qtbot.mouseMove(hands.canvas.native, position)
        hands.qtbot.wait(20)
        hands.canvas.native.setFocus()
        hands.qtbot.wait(20)
        for event in (
            QMouseEvent(
                kind, QPointF(position), QPointF(position), LEFT, buttons, Qt.KeyboardModifier(0)
            )
            for kind, buttons in ((QEvent.Type.MouseButtonPress, LEFT), (RELEASE, NO_BUTTON))
        ):
            QApplication.sendEvent(hands.canvas.native, event)
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            key = QKeyEvent(kind, Qt.Key.Key_C, Qt.KeyboardModifier(0), "c")
            QApplication.sendEvent(hands.canvas.native, key)
        hands.settle()
        np.testing.assert_array_equal(hands.objects.data == number, labels == number)
        assert len(hands.points.data) == 0
        if number == 1:  # a second point of an object that is shown
            hands.click(THIRD)
            hands.settle()
            hands.key(Qt.Key.Key_C, SHIFT)
            hands.settle()


def test_one_candidate_is_no_choice(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.click(SECOND)
    hands.settle()
    before = hands.preview
    assert not hands.widget.candidate.isEnabled()
    assert "single point" in hands.widget.candidate.toolTip()
    hands.key(Qt.Key.Key_N)
    hands.settle()
    assert "single point" in hands.status
    np.testing.assert_array_equal(hands.preview, before)


def test_undo_all_and_redo_all(predictor, open_panel, cells) -> None:
    """Prompts, a choice, commits and a clearing: back to the start and forth to the end."""
    hands = open_panel(cells[0])
    assert not hands.widget.redo.isEnabled()

    def state() -> tuple:
        objects = hands.objects
        painted = () if objects is None else tuple(map(int, np.unique(objects.data)))
        pixels = 0 if objects is None else int((objects.data * 7).sum())
        return (len(hands.points.data), int(hands.preview.sum()), painted or (0,), pixels)

    states = [state()]

    def did() -> None:
        hands.settle()
        states.append(state())

    hands.click(FIRST)
    did()
    hands.key(Qt.Key.Key_N)
    did()
    hands.key(Qt.Key.Key_C)
    did()
    hands.click(SECOND)
    did()
    hands.click(THIRD)
    did()
    hands.key(Qt.Key.Key_C, SHIFT)
    did()
    hands.click(THIRD)
    did()
    hands.key(Qt.Key.Key_C)
    did()
    assert states[-1][2] == (0, 1, 2)
    for expected in states[-2::-1]:
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
        assert state() == expected
    assert not hands.widget.undo.isEnabled()
    for expected in states[1:]:
        hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
        hands.settle()
        assert state() == expected
    assert not hands.widget.redo.isEnabled()
    # A new step makes what was undone void.
    hands.press("undo")
    hands.settle()
    hands.press("redo")
    hands.settle()
    hands.press("undo")
    hands.settle()
    hands.click(FIRST)
    hands.settle()
    assert not hands.widget.redo.isEnabled()


def test_a_stroke_after_undo_is_a_new_step(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.press("commit")
    hands.settle()
    hands.press("undo")
    hands.settle()
    hands.paint(9, (30, 30))
    assert hands.objects.data.sum() == 9, "one pixel"
    assert not hands.widget.redo.isEnabled(), "what was undone is void"
    hands.press("undo")
    hands.settle()
    assert not hands.objects.data.any()
    hands.press("redo")
    hands.settle()
    assert hands.objects.data[30, 30] == 9
