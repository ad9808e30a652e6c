"""The part of the panel about everything mode: where and how, the review, and the options."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QPushButton, QScrollArea, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_litesam.options import OptionsForm
from napari_litesam.review_section import ReviewSection
from napari_litesam.rows import Chooser, make_form, side_by_side
from napari_litesam.state import Where

#: Time in which Qt lays the panel out after a part of it was shown.
_LAID_OUT_MS = 50
#: Time in which the panel may change once more, on a busy computer, before the user scrolls it.
_SETTLED_MS = 1000
#: Room below for the status line, which may grow at the same time.
_ROOM_PX = 48
_PLACES = (
    ("The whole plane", Where.PLANE, "All tiles of the plane."),
    ("The visible field", Where.VIEW, "What the canvas shows; only its tiles are encoded."),
    (
        "The drawn region",
        Where.BOX,
        "The newest outline (◯ Lasso), or else the newest box (▭ Box); only its tiles are encoded.",
    ),
)


class EverythingSection(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Choosers, a button, sliders and a folded form.

    Parameters
    ----------
    config
        Options at first.
    parent
        The panel.

    Attributes
    ----------
    where, proposals, everything, at_once
        The controls.
    review, options
        The review of candidates, and the form of options.
    tips
        What the controls are for, by their names.
    """

    def __init__(self, config: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.where, self.proposals = Chooser(self), Chooser(self)
        for title, where, tip in _PLACES:
            self.where.addItem(title, where)
            self.where.setItemData(self.where.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.everything = QPushButton("Everything", self)
        # Keys go on to the canvas: after a click on a button, T and C still mean the prompts.
        self.everything.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.at_once = QCheckBox("at once", self)
        self.tips = {
            "where": "The part of the plane in which everything mode looks.",
            "proposals": "Where everything mode looks for objects.",
            "everything": "Find all objects of the plane shown and show them for a review.\n"
            "Nothing is written before you accept; objects that are there already stay as they "
            "are.",
            "at_once": "No review: what everything mode finds with its options goes into the "
            "Labels layer.",
        }
        self.review = ReviewSection(self)
        self.review.installEventFilter(self)
        self._arrive = QTimer(self)
        self._arrive.setSingleShot(True)
        self._arrive.timeout.connect(self._bring_into_sight)
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self.options = OptionsForm(config, self)
        section = QCollapsible("Options of everything", self, "▾", "▸")
        section.layout().setContentsMargins(0, 0, 0, 0)
        section.content().layout().setContentsMargins(0, 4, 0, 0)
        section.setObjectName("everything_options")
        section.addWidget(self.options)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(6)
        form = make_form()
        form.addRow("Where", self.where)
        form.addRow("Proposals", self.proposals)
        rows.addLayout(form)
        line = side_by_side(self.everything, self.at_once)
        line.setStretch(0, 1)
        rows.addLayout(line)
        rows.addWidget(self.review)
        rows.addWidget(section)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """A review that begins comes into sight, in a panel that is longer than the window."""
        kind = event.type()
        if watched is self.review and kind == QEvent.Type.Show:
            self._settling.start(_SETTLED_MS)
            self._arrive.start(_LAID_OUT_MS)
            area = self._scroll_area()
            if area is not None:
                area.viewport().installEventFilter(self)
        elif kind in (QEvent.Type.Resize, QEvent.Type.Move) and self._settling.isActive():
            self._arrive.start(0)
        return False

    def _bring_into_sight(self) -> None:
        area = self._scroll_area()
        if area is not None and self.review.isVisible():
            area.ensureWidgetVisible(self.review, 0, _ROOM_PX)

    def _scroll_area(self) -> QScrollArea | None:
        area = self.parent()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parent()
        return area
