"""The id of the next object is shown, and can be typed."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from engine.threshold_predictor import CENTRES
from litesam.session import replay

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
FIRST, SECOND, THIRD = CENTRES


def type_id(hands, number: int) -> None:
    """Type a number into the field as a user does."""
    field = hands.widget.number
    assert field.isEnabled(), field.toolTip()
    hands.widget.window().activateWindow()
    hands.qtbot.mouseClick(field.lineEdit(), Qt.MouseButton.LeftButton, pos=QPoint(20, 8))
    hands.qtbot.keyClick(field, Qt.Key.Key_A, CONTROL)
    hands.qtbot.keyClicks(field, str(number))
    hands.qtbot.keyClick(field, Qt.Key.Key_Return)
    hands.settle()


def commit(hands, centre) -> None:
    hands.click(centre)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()


def undo(hands) -> None:
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()


def ids(hands) -> list[int]:
    return np.unique(hands.objects.data)[1:].tolist()


def test_the_next_object_gets_the_id_that_was_typed(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    field = hands.widget.number
    hands.settle()
    assert field.value() == 1
    commit(hands, FIRST)
    assert field.value() == 2
    type_id(hands, 12)
    assert "gets the id 12" in hands.status
    assert QApplication.focusWidget() is not field, "keys mean the prompts again"
    commit(hands, SECOND)
    assert "Object 12 committed" in hands.status
    assert field.value() == 13
    type_id(hands, 5)
    commit(hands, THIRD)
    assert ids(hands) == [1, 5, 12]
    assert field.value() == 13, "the next free one again"
    # The session says the same.
    session = hands.widget.controller.keeper.session(hands.objects)
    replayed = replay(session, hands.image.data, check_weights=False).labels
    np.testing.assert_array_equal(replayed, hands.objects.data)


def test_choosing_is_a_step_of_the_one_history(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    field = hands.widget.number
    commit(hands, FIRST)
    hands.click(SECOND)
    hands.settle()
    type_id(hands, 7)
    type_id(hands, 8)
    undo(hands)
    assert field.value() == 2, "several choices one after the other are one step"
    assert len(hands.points.data) == 1
    hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    hands.settle()
    assert field.value() == 8
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert ids(hands) == [1, 8]
    undo(hands)
    assert ids(hands) == [1]
    assert field.value() == 8, "as it was before the commit"
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert ids(hands) == [1, 8]


def test_an_id_that_is_there_is_chosen_and_nothing_is_overwritten(three) -> None:
    hands, field = three, three.widget.number
    undo(hands)
    hands.until(lambda: len(hands.widget.state.objects) == 2)
    hands.key(Qt.Key.Key_Z, CONTROL)  # the point of the third one
    hands.settle()
    before = hands.objects.data.copy()
    hands.click(THIRD)
    hands.settle()
    type_id(hands, 2)
    assert "Object 2 is there already" in hands.status
    assert "(J)" in hands.status
    assert "New objects get id 4" in hands.status
    assert field.value() == 4, "numbers that were given are not given again by themselves"
    assert hands.widget.state.selected == {2}
    np.testing.assert_array_equal(hands.objects.data, before)
    # What the message says works.
    hands.key(Qt.Key.Key_J)
    hands.settle()
    assert "added to object 2" in hands.status
    np.testing.assert_array_equal(hands.objects.data > 0, cells_of(hands))
    assert ids(hands) == [1, 2]
    # An id that is no longer there can be typed.
    type_id(hands, 3)
    assert field.value() == 3


def cells_of(hands) -> np.ndarray:
    return np.asarray(hands.image.data) > 100


def test_an_id_that_is_taken_meanwhile_is_refused_at_the_commit(three) -> None:
    """Somebody paints with the number that was typed."""
    hands = three
    undo(hands)  # the third object is in the preview again
    type_id(hands, 9)
    hands.objects.data_setitem((np.array([5]), np.array([5])), 9)
    hands.settle()
    before = hands.objects.data.copy()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert "Object 9 is there already" in hands.status
    np.testing.assert_array_equal(hands.objects.data, before)
    type_id(hands, 10)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert ids(hands) == [1, 2, 9, 10]


def test_several_at_once_begin_with_it(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.settle()
    type_id(hands, 100)
    hands.everything()
    assert ids(hands) == [100, 101, 102]
    assert hands.widget.number.value() == 103


def test_an_opened_object_keeps_its_id(three) -> None:
    hands, field = three, three.widget.number
    hands.hover(SECOND)
    hands.qtbot.wait(20)
    hands.key(Qt.Key.Key_R)
    hands.settle()
    assert field.value() == 2
    assert not field.isEnabled()
    assert "keeps its id" in field.toolTip()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert field.value() == 4
    assert field.isEnabled()


def test_a_layer_with_few_ids_says_so(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    layer = hands.viewer.add_labels(np.zeros((128, 128), np.uint8), name="few")
    hands.widget.controller.choose_target(layer)
    hands.settle()
    type_id(hands, 300)
    assert "no room for the id 300" in hands.status
    assert hands.widget.number.value() == 1


def test_objects_of_a_file_count(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    layer = hands.viewer.add_labels(cells[1] * 20, name="from a file")
    hands.widget.controller.choose_target(layer)
    hands.settle()
    hands.until(lambda: hands.widget.number.value() == 61)
    type_id(hands, 40)
    assert "Object 40 is there already" in hands.status


def test_the_wheel_scrolls_the_panel_and_not_the_number(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    field = hands.widget.number
    middle = QPointF(field.rect().center())
    nothing = Qt.MouseButton.NoButton
    event = QWheelEvent(
        middle,
        field.mapToGlobal(middle),
        QPoint(0, 0),
        QPoint(0, 120),
        nothing,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(field, event)
    assert field.value() == 1
    assert not event.isAccepted()
