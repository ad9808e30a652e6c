"""A field for a number that is typed; scrolling the panel over it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractSpinBox, QSpinBox

if TYPE_CHECKING:
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QWidget

#: What Qt's field holds at most.
_LARGEST = 2**31 - 1


class NumberField(QSpinBox):  # type: ignore[misc]  # qtpy is untyped
    """Shows a number and lets the user type another one.

    Attributes
    ----------
    chosen
        The user typed this number and pressed Enter, or went elsewhere.
    """

    chosen = Signal(int)

    def __init__(self, prefix: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown = 1
        self.setRange(1, _LARGEST)
        self.setPrefix(prefix)
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setKeyboardTracking(False)
        self.setFixedWidth(self.fontMetrics().horizontalAdvance(f"{prefix}000000") + 20)
        self.valueChanged.connect(self._on_value)
        # Keys mean the prompts again: C commits.
        self.lineEdit().returnPressed.connect(self.clearFocus)

    def show_number(self, number: int) -> None:
        """Show a number."""
        self._shown = min(number, _LARGEST)
        self.setValue(self._shown)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Leave the wheel to the panel, which it scrolls."""
        event.ignore()

    def _on_value(self, value: int) -> None:
        if value != self._shown:
            self.chosen.emit(value)
