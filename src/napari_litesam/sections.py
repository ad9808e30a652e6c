"""Sections of the panel that fold: a slim head, and what is below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QScrollArea, QSizePolicy, QWidget
from superqt import QCollapsible

from napari_litesam.rows import wrapped

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent

_UNFOLDED, _FOLDED = "▾", "▸"
#: Qt's own largest height of a widget.
_ANY_HEIGHT = (1 << 24) - 1
#: Time in which Qt lays the panel out after a part of it was shown.
_LAID_OUT_MS = 50
# Greys that are seen on dark and on light ground: napari's style colours what is checked, which an
# unfolded head is, as if it were a tool in use.
_STYLE = """
QPushButton, QPushButton:checked {{
  text-align: left; font-weight: {weight}; padding: 1px 2px; border: 1px solid transparent;
  background: {ground};
}}
QPushButton:hover {{ background: rgba(127, 127, 127, 90); }}
QPushButton:focus {{ border-color: rgb(127, 127, 127); }}
"""


class Section(QCollapsible):  # type: ignore[misc]  # superqt is untyped
    """A head that is clicked on, or pressed with Space, and a content that it folds.

    A folded content is hidden, so that Tab passes it over; an unfolded one is as high as it wants
    to be, also when a part of it appears later.

    Parameters
    ----------
    title
        Text of the head.
    name
        Name under which the settings know the section.
    parent
        The panel, or another section.
    tip
        What the section is for.
    unfolded
        Whether it is unfolded at the first start.
    inner
        It is a part of another section; its head is less conspicuous.
    """

    def __init__(
        self,
        title: str,
        name: str,
        parent: QWidget | None = None,
        *,
        tip: str = "",
        unfolded: bool = False,
        inner: bool = False,
    ) -> None:
        # The arrows are letters: an icon would have the colour of one theme.
        nothing = QPixmap(1, 1)
        nothing.fill(Qt.GlobalColor.transparent)
        super().__init__(title, parent, QIcon(nothing), QIcon(nothing))
        self.setObjectName(name)
        self.unfolded_at_first = unfolded
        self._title = title
        self._summary = ""
        self._tip = tip
        self.setDuration(0)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.layout().setSpacing(0)
        self.content().layout().setContentsMargins(0, 4, 0, 0)
        head = self.toggleButton()
        head.setIconSize(QSize(1, 1))
        # Keys go on to the canvas: after a click on a head, T and C still mean the prompts.
        head.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        head.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        ground = "transparent" if inner else "rgba(127, 127, 127, 45)"
        head.setStyleSheet(_STYLE.format(weight="normal" if inner else "bold", ground=ground))
        head.setAccessibleName(title)
        self.toggled.connect(self._on_toggled)
        self._on_toggled(False)
        if unfolded:
            self.expand(animate=False)

    def addWidget(self, widget: QWidget) -> None:  # noqa: N802
        """Add a widget to the content, whose height needs no watching here."""
        self.content().layout().addWidget(widget)

    def text(self) -> str:
        """Return the title."""
        return self._title

    def setText(self, text: str) -> None:  # noqa: N802
        """Change the title."""
        self._title = text
        self.toggleButton().setAccessibleName(text)
        self._show_title()

    def summarize(self, text: str) -> None:
        """Say in a few words what was chosen in the section; it is shown while that is folded."""
        if text != self._summary:
            self._summary = text
            self._show_title()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Shorten what does not fit."""
        super().resizeEvent(event)
        self._show_title()

    def _on_toggled(self, unfolded: bool) -> None:
        self.content().setVisible(unfolded)
        self.content().setMaximumHeight(_ANY_HEIGHT if unfolded else 0)
        self._show_title()

    def _show_title(self) -> None:
        head = self.toggleButton()
        unfolded = self.isExpanded()
        text = f"{_UNFOLDED if unfolded else _FOLDED} {self._title}"
        if self._summary and not unfolded:
            text += f" · {self._summary}"
        head.ensurePolished()
        room = max(self.width() - 12, 0)
        chosen = f"Chosen: {self._summary}\n" if self._summary else ""
        head.setToolTip(wrapped(f"{self._tip}\n{chosen}Click, or press Space: fold and unfold."))
        head.setText(head.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room))


def unfold_around(widget: QWidget) -> bool:
    """Unfold the sections that a control lies in; return whether one was folded."""
    folded = False
    around = widget.parent()
    while around is not None:
        if isinstance(around, Section) and not around.isExpanded():
            around.expand(animate=False)
            folded = True
        around = around.parent()
    return folded


def scroll_area(widget: QWidget) -> QScrollArea | None:
    """Return what a part of the panel is scrolled in."""
    area = widget.parent()
    while area is not None and not isinstance(area, QScrollArea):
        area = area.parent()
    return area


def reveal(widget: QWidget) -> None:
    """Bring a control into sight if it lies in a folded section."""
    area = scroll_area(widget)
    if unfold_around(widget) and area is not None:
        timer = QTimer(area)
        timer.setSingleShot(True)
        timer.timeout.connect(lambda: area.ensureWidgetVisible(widget))
        timer.timeout.connect(timer.deleteLater)
        timer.start(_LAID_OUT_MS)
