"""Every control says what it is for, in whole words, and why it cannot be used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QScrollArea,
    QScrollBar,
    QToolButton,
    QWidget,
)
from superqt import QCollapsible

from engine.threshold_predictor import CENTRES
from napari_litesam.state import Level, Status
from napari_litesam.status_line import StatusLine

FIRST, SECOND, _ = CENTRES
_CONTROLS = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)
#: Parts that Qt makes inside of a control, which has the tooltip itself.
_INNER = (QScrollBar, QToolButton)


def controls(panel: QWidget) -> list[Any]:
    """All controls that a user can meet in the panel, folded and hidden ones too."""
    found = []
    for widget in panel.findChildren(QWidget):
        parent = widget.parent()
        inner = isinstance(widget, _INNER) or isinstance(parent, QAbstractSpinBox | QComboBox)
        inner = inner or isinstance(parent, QCollapsible) or widget.objectName().startswith("qt_")
        if isinstance(widget, _CONTROLS) and not inner:
            found.append(widget)
    return found


def named(widget: Any) -> str:
    text = widget.text() if hasattr(widget, "text") else ""
    return f"{type(widget).__name__} {widget.objectName()!r} {text!r}"


def test_every_control_has_a_tooltip(predictor, open_panel, cells) -> None:
    image, _ = cells
    hands = open_panel([np.stack([image] * 3), np.stack([image] * 3)[:, ::2, ::2]], multiscale=True)
    hands.settle()
    every = controls(hands.widget)
    assert len(every) > 25
    silent = [named(one) for one in every if len(one.toolTip().split()) < 3]
    assert not silent, "these have no tooltip in words"


def test_a_disabled_control_says_why(predictor, open_panel) -> None:
    hands = open_panel(None)
    hands.settle()
    panel = hands.widget
    silent = [
        name
        for name, widget in panel._named.items()
        if not widget.isEnabled() and "Not now: " not in widget.toolTip()
    ]
    assert not silent
    assert "Not now: " in panel.embed.toolTip()


def test_nothing_is_cut_off_at_300_pixels(predictor, open_panel, cells) -> None:
    image, _ = cells
    hands = open_panel(np.stack([np.stack([image] * 3)] * 5))
    hands.image.name = "a very long name of an image layer, as file names of microscopes are"
    hands.settle()
    panel = hands.widget
    assert panel.minimumSizeHint().width() <= 300
    panel.window().resizeDocks([panel.parent()], [300], Qt.Orientation.Horizontal)
    QApplication.processEvents()
    for one in controls(panel):
        if one.isVisible():
            right = one.mapTo(panel, one.rect().topRight()).x()
            assert right <= panel.width(), named(one)
    for box in (panel.embedding.all_planes, panel.embedding.ahead, panel.embedding.disk):
        assert box.width() >= box.sizeHint().width(), "its text is whole"


def test_nothing_is_cut_off_beside_the_scroll_bar(predictor, open_panel, cells) -> None:
    """The panel as narrow as it can be, in a window that is too low for it."""
    hands = open_panel(cells[0])
    panel = hands.widget
    panel.window().resizeDocks([panel.parent()], [10], Qt.Orientation.Horizontal)
    hands.qtbot.wait(100)
    area = panel.findChild(QScrollArea)
    assert area.verticalScrollBar().isVisible()
    assert area.widget().width() <= area.viewport().width()


def test_the_status_line_does_not_flash_with_a_quick_answer(predictor, open_panel, cells) -> None:
    """What takes a moment is announced; a click that is answered at once is not."""
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()  # embedded
    shown = hands.widget.status
    said: list[str] = []
    put = shown.setText
    shown.setText = lambda text: (put(text), said.append(text))
    hands.click(SECOND)
    hands.settle()
    assert "Object of" in said[-1]
    assert not any("⏳" in text for text in said)
    hands.press("embedding.clear_cache")
    hands.until(lambda: hands.widget.controller.ahead.idle)
    predictor.gate.clear()
    hands.press("embed")
    hands.until(lambda: "⏳" in shown.text())
    assert hands.widget.progress.isVisible()
    predictor.gate.set()
    hands.settle()
    assert not hands.widget.progress.isVisible()


def test_a_warning_can_be_read_before_progress_takes_its_place(qtbot) -> None:
    line = StatusLine()
    qtbot.addWidget(line)
    line.show()
    busy = Status(Level.BUSY, "tile 1 of 4", 1, 4)
    line.show_status(Status(Level.WARNING, "Choose an image first."))
    line.show_status(busy)
    assert not line.progress.isVisible()  # a quick answer does not flash
    qtbot.waitUntil(line.progress.isVisible, timeout=1000)
    line.show_status(replace(busy, done=2))
    assert line.progress.value() == 2
    qtbot.wait(400)
    assert "Choose an image first." in line.text.text()
    qtbot.waitUntil(lambda: "tile 1 of 4" in line.text.text(), timeout=3000)
    # One that was there for long enough gives way as soon as anything else would.
    line.show_status(Status(Level.ERROR, "The disk is full."))
    qtbot.wait(2100)
    line.show_status(busy)
    qtbot.waitUntil(lambda: "tile 1 of 4" in line.text.text(), timeout=1000)
    # What is done is said at once.
    line.show_status(Status(Level.WARNING, "No object here."))
    line.show_status(busy)
    line.show_status(Status(Level.READY, "Object of 12 px."))
    assert "Object of 12 px." in line.text.text()
    qtbot.wait(300)
    assert not line.progress.isVisible()


def test_a_review_comes_into_sight(predictor, open_panel, cells) -> None:
    """In a window so low that its sliders would be below the edge of the panel."""
    hands = open_panel(cells[0])
    area = hands.widget.findChild(QScrollArea)
    hands.press("everything")
    hands.settle()
    review = hands.widget.review
    hands.until(review.isVisible)
    for part in (review.accept, *review.sliders.values()):
        # A part of it may be seen before the panel has moved.
        hands.until(lambda part=part: part.visibleRegion().boundingRect() == part.rect())
    hands.qtbot.wait(200)  # and there it stays
    for part in (review.accept, *review.sliders.values()):
        top = part.mapTo(area.viewport(), part.rect().topLeft()).y()
        assert top >= 0
        assert top + part.height() <= area.viewport().height()
