"""The part of the panel about everything mode: where and how, the review, and the options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_litesam.options import OptionsForm, in_words
from napari_litesam.review_section import ReviewSection
from napari_litesam.rows import Chooser, make_form, side_by_side
from napari_litesam.sections import Section, scroll_area, unfold_around
from napari_litesam.state import Where

if TYPE_CHECKING:
    from napari_litesam.state import ReviewStatus, Settings

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


class EverythingSection(Section):
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
    review, options, options_section
        The review of candidates, the form of options, and what it is folded in.
    tips
        What the controls are for, by their names.
    """

    def __init__(self, config: Any, parent: QWidget | None = None) -> None:
        super().__init__(
            "Everything",
            "everything_section",
            parent,
            tip="Find all objects of the plane, sort them out and accept them.",
            unfolded=True,
        )
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
        self.options_section = Section(
            "Options of everything",
            "everything_options",
            self,
            tip="Thresholds and other options of everything mode, and of whole stacks.",
            inner=True,
        )
        self.options_section.addWidget(self.options)
        content = QWidget(self)
        rows = QVBoxLayout(content)
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
        rows.addWidget(self.options_section)
        self.addWidget(content)

    def show_settings(self, settings: Settings) -> None:
        """Show where everything mode looks; while folded, what is not as usual, in the head."""
        self.where.setCurrentIndex(self.where.findData(settings.where))
        self.at_once.setChecked(settings.at_once)
        self.options.show_config(settings.everything)
        self.options_section.summarize(in_words(settings.everything))
        said = [] if settings.where is Where.PLANE else [self.where.currentText().lower()]
        said += [] if settings.proposals is None else [self.proposals.currentText()]
        said += ["at once"] if settings.at_once else []
        self.summarize(" · ".join(said))

    def show_review(self, status: ReviewStatus | None) -> None:
        """Show a review; one that begins unfolds the section."""
        begins = status is not None and self.review.isHidden()
        self.review.show_review(status)
        if begins:
            unfold_around(self.review)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """A review that begins comes into sight, in a panel that is longer than the window."""
        kind = event.type()
        if watched is self.review and kind == QEvent.Type.Show:
            self._settling.start(_SETTLED_MS)
            self._arrive.start(_LAID_OUT_MS)
            area = scroll_area(self)
            if area is not None:
                area.viewport().installEventFilter(self)
        elif kind in (QEvent.Type.Resize, QEvent.Type.Move) and self._settling.isActive():
            self._arrive.start(0)
        return False

    def _bring_into_sight(self) -> None:
        area = scroll_area(self)
        if area is not None and self.review.isVisible():
            area.ensureWidgetVisible(self.review, 0, _ROOM_PX)
