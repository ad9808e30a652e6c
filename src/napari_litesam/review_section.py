"""The part of the panel that appears while candidates of everything mode are under review."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from napari_litesam.rows import side_by_side, wrapped

if TYPE_CHECKING:
    from napari_litesam.state import ReviewStatus

_STEPS = 200
_TIPS = {
    "predicted_iou": "How good the model thinks a mask is, at least.",
    "stability": "How little a mask changes with the threshold, at least: blurred outlines have "
    "less.",
    "min_area": "Pixels of a candidate, at least.",
    "max_area": "Pixels of a candidate, at most.",
    "overlap": "Of two candidates whose intersection over union is above this the better one "
    "stays.",
}


class ReviewSection(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Sliders that act at once, and what becomes of the candidates.

    Attributes
    ----------
    filtered
        Name of a filter and its new value.
    accepted, discarded, pick_wanted
        A button was pressed.
    """

    filtered = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("review")
        self._largest = 1
        self._quiet = False
        self.count = QLabel(self)
        self.count.setObjectName("review_count")
        self.count.setWordWrap(True)
        self.sliders: dict[str, QSlider] = {}
        self._labels: dict[str, QLabel] = {}
        grid = QGridLayout()
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        for row, (name, tip) in enumerate(_TIPS.items()):
            self._add_slider(grid, row, name, tip)
        self.accept = self._button(
            "accept_all",
            "Accept all",
            "Add all that is kept to the Labels layer; no pixel of an object that is there already "
            "is taken. One step of undo. ({accept_all})",
        )
        self.discard = self._button(
            "discard", "Discard", "Put the candidates away; Undo brings them back. ({discard})"
        )
        self.pick = self._button(
            "pick",
            "Pick",
            "Click on a candidate to reject it (it turns grey) or to accept it again; click where "
            "the filters hide one to accept it all the same. The prompts above go on working.",
        )
        self.pick.setCheckable(True)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.count)
        rows.addLayout(grid)
        buttons = side_by_side(self.pick, self.accept, self.discard)
        buttons.setStretch(1, 1)
        rows.addLayout(buttons)
        self.setVisible(False)

    def show_review(self, status: ReviewStatus | None) -> None:
        """Show filters and numbers; nothing if there is no review."""
        self.setVisible(status is not None)
        if status is None:
            return
        self._largest = max(status.largest, 1)
        said = ""
        if status.accepted or status.rejected:
            said = f"; by click {status.accepted} accepted, {status.rejected} rejected"
        self.count.setText(f"{status.kept:,} of {status.total:,} candidates kept{said}")
        filters = status.filters
        self._quiet = True
        for name, slider in self.sliders.items():
            value = getattr(filters, name)
            # A slider that already stands for the value is left where the user holds it.
            if self._value(name, slider.value()) != value:
                slider.setValue(self._position(name, value))
            self._labels[name].setText(_text(name, value))
        self._quiet = False

    def _add_slider(self, grid: QGridLayout, row: int, name: str, tip: str) -> None:
        slider = QSlider(Qt.Orientation.Horizontal, self)
        slider.setObjectName(f"filter_{name}")
        slider.setRange(0, _STEPS)
        slider.setPageStep(_STEPS // 20)
        label = QLabel(self)
        # Room for the longest text, so that nothing moves while a slider does.
        label.setMinimumWidth(label.fontMetrics().horizontalAdvance(_text("predicted_iou", 1.0)))
        for column, widget in enumerate((label, slider)):
            widget.setToolTip(wrapped(tip))
            grid.addWidget(widget, row, column)
        slider.valueChanged.connect(lambda at: self._on_moved(name, at))
        self.sliders[name], self._labels[name] = slider, label

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setToolTip(wrapped(tip))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    def _on_moved(self, name: str, position: int) -> None:
        if not self._quiet:
            self.filtered.emit(name, self._value(name, position))

    def _value(self, name: str, position: int) -> float | int:
        """Value of a filter at a position of its slider; areas are spread evenly in size."""
        if not name.endswith("area"):
            return position / _STEPS
        if position == (_STEPS if name == "max_area" else 0):
            return 0
        return round(math.pow(self._largest, position / _STEPS))

    def _position(self, name: str, value: float) -> int:
        if not name.endswith("area"):
            return round(value * _STEPS)
        if value == 0:
            return _STEPS if name == "max_area" else 0
        if self._largest == 1:
            return _STEPS
        return min(round(_STEPS * math.log(value) / math.log(self._largest)), _STEPS)


def _text(name: str, value: float) -> str:
    """Name and value of a filter as the panel shows them."""
    if name == "min_area":
        return f"Area ≥ {value:,} px"
    if name == "max_area":
        return f"Area ≤ {value:,} px" if value else "Area: no upper limit"
    title = {"predicted_iou": "Predicted IoU ≥", "stability": "Stability ≥", "overlap": "Overlap ≤"}
    return f"{title[name]} {value:.2f}"
