"""The foot of the panel: what is going on, how far it is, and how to stop it."""

from __future__ import annotations

import time

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_litesam.state import Level, Status
from napari_litesam.weights_offer import breakable

_COLOURS = {
    Level.READY: "",
    Level.BUSY: "",
    Level.WARNING: "color: #e69f00;",
    Level.ERROR: "color: #ff6b52; font-weight: bold;",
}
#: What is done sooner is not announced: with each quick answer to a click, the line would flash and
#: the window be drawn twice as often.
_PATIENCE_MS = 150
#: A warning can be read this long before the words of something that runs take its place.
_READING_MS = 2000
#: A line that was needed stays for a while: the message changes with each click, and what is above
#: it would move up and down.
_KEPT_MS = 3000
#: Lines of text that there is always room for.
_LINES = 3
#: Longer messages are cut in the panel; the tooltip has them whole.
_LENGTH = 300
_MARKS = {Level.READY: "", Level.BUSY: "⏳ ", Level.WARNING: "⚠ ", Level.ERROR: "✖ "}


class StatusLine(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """A line of text, and while something runs a bar and a button.

    Attributes
    ----------
    text, progress, cancel
        Its parts.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.progress = QProgressBar(self)
        self.progress.setObjectName("progress")
        self.progress.setVisible(False)
        self.cancel = QPushButton("Cancel", self)
        # Keys go on to the canvas: after a click on a button, T and C still mean the prompts.
        self.cancel.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.text = QLabel(self)
        self.text.setObjectName("status")
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setMinimumHeight(self._least_height())
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self._status = Status(Level.READY, "")
        self._shown = Level.READY
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._show)
        self._warned_at = 0.0
        self._bar_later = QTimer(self)
        self._bar_later.setSingleShot(True)
        self._bar_later.setInterval(_PATIENCE_MS)
        self._bar_later.timeout.connect(self._show_progress)
        self._lower = QTimer(self)
        self._lower.setSingleShot(True)
        self._lower.setInterval(_KEPT_MS)
        self._lower.timeout.connect(self._give_room_back)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        bar = QHBoxLayout()
        bar.setContentsMargins(6, 0, 6, 0)
        bar.addWidget(self.progress, 1)
        bar.addStretch(0)
        bar.addWidget(self.cancel)
        rows.addLayout(bar)
        line = QHBoxLayout()
        line.setContentsMargins(8, 0, 8, 6)
        line.addWidget(self.text)
        rows.addLayout(line)

    def show_status(self, status: Status) -> None:
        """Show what is going on; that something began, only if it takes a moment, and in words only
        after a warning was there for long enough to be read.
        """
        self._status = status
        if status.level is Level.BUSY and self._shown is not Level.BUSY:
            if not self._later.isActive():
                delay = _PATIENCE_MS
                if self._shown in (Level.WARNING, Level.ERROR):
                    read_for = time.monotonic() * 1000 - self._warned_at
                    delay = max(delay, round(_READING_MS - read_for))
                self._later.start(delay)
                self._bar_later.start()
            elif not self._bar_later.isActive():
                self._show_progress()
            return
        self._later.stop()
        self._bar_later.stop()
        self._show()

    def _show(self) -> None:
        status = self._status
        text = status.text
        if status.level is Level.BUSY and " of " not in text:  # some count for themselves
            text += f" ({status.done} of {status.total})" if status.total > 1 else " …"
        self.text.setToolTip(text)
        if len(text) > _LENGTH:
            text = text[:_LENGTH].rsplit(" ", 1)[0] + " …"
        self.text.setText(_MARKS[status.level] + breakable(text))
        self._keep_height()
        if self._shown is not status.level:  # Qt lays the text out anew, even for the same style
            self.text.setStyleSheet(_COLOURS[status.level])
            self._shown = status.level
        if status.level in (Level.WARNING, Level.ERROR):
            self._warned_at = time.monotonic() * 1000
        self._show_progress()

    def _show_progress(self) -> None:
        status = self._status
        self.progress.setVisible(status.level is Level.BUSY)
        self.progress.setRange(0, status.total)
        self.progress.setValue(status.done)

    def _least_height(self) -> int:
        return _LINES * int(self.fontMetrics().lineSpacing())

    def _keep_height(self) -> None:
        """Make room for the text at once, but give it back only after a while."""
        needed = max(self.text.heightForWidth(self.text.width()), self._least_height())
        if needed > self.text.minimumHeight():
            self.text.setMinimumHeight(needed)
        self._lower.start()

    def _give_room_back(self) -> None:
        self.text.setMinimumHeight(self._least_height())
