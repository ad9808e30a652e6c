"""Small pieces that the panel is laid out with."""

from __future__ import annotations

import textwrap
from functools import lru_cache
from typing import Any

from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QWidget,
)

#: Letters in a line of a tooltip.
_TIP_WIDTH = 80
#: Widgets around a control, up to the window.
_LEVELS = 10


class Chooser(QComboBox):  # type: ignore[misc]  # qtpy is untyped
    """A chooser that long names, of layers for example, do not widen: they are shortened."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def initStyleOption(self, option: QStyleOptionComboBox) -> None:  # noqa: N802
        """Shorten the text to the width that there is."""
        super().initStyleOption(option)
        field = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, field.width()
        )


def shortened(name: str, length: int = 14) -> str:
    """Cut the middle out of a long file name, so that it does not widen the panel."""
    half = length // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


@lru_cache(maxsize=512)  # tooltips are written anew after each click
def wrapped(text: str) -> str:
    """Return the text of a tooltip in lines that are not as wide as the screen."""
    return "\n".join(textwrap.fill(part, _TIP_WIDTH) for part in text.split("\n"))


def lay_out_now() -> None:
    """Let Qt lay out what changed, in all widgets around it, before anything is drawn.

    A label or a button that changes asks its parent for that, which asks its own when it is done:
    with Qt left to itself the whole window is drawn between any two of them, which takes tens of
    milliseconds without a GPU.
    """
    for _ in range(_LEVELS):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)


def make_form() -> QFormLayout:
    """Return a form whose fields take the width that there is."""
    result = QFormLayout()
    result.setContentsMargins(0, 0, 0, 0)
    result.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return result


def side_by_side(*widgets: QWidget) -> QHBoxLayout:
    """Return widgets side by side."""
    result = QHBoxLayout()
    result.setSpacing(4)
    for widget in widgets:
        result.addWidget(widget)
    return result


def refill(combo: QComboBox, items: Any, chosen: Any) -> None:
    """Replace the items of a chooser and choose one by identity or equality of its data."""
    combo.clear()
    for text, data in items:
        combo.addItem(text, data)
        combo.setItemData(combo.count() - 1, text, Qt.ItemDataRole.ToolTipRole)
    for i, (_, data) in enumerate(items):
        if data is chosen or (isinstance(data, int | str) and data == chosen):
            combo.setCurrentIndex(i)
            return
