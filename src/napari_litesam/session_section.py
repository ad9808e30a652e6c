"""The parts of the panel about sessions: unsaved work at the top; saving and opening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QFrame, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_litesam.rows import side_by_side, wrapped

if TYPE_CHECKING:
    from napari_litesam.intents import Intents
    from napari_litesam.session_desk import SessionDesk
    from napari_litesam.state import Unsaved

_FILTER = "Session (*.json)"


class UnsavedRow(QFrame):  # type: ignore[misc]  # qtpy is untyped
    """Tells that there is work that was not closed properly; hidden while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("unsaved")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel(self)
        self.text.setWordWrap(True)
        self.bring_back = _button(
            self, "bring_back", "Bring back", "Open its objects and prompts and go on with it."
        )
        self.put_off = _button(
            self, "put_off", "Later", "Ask again at the next start; the work stays on the disk."
        )
        self.throw_away = _button(
            self,
            "throw_away",
            "Discard",
            "The work is not wanted. It stays in the folder of sessions for another 30 days.",
        )
        rows = QVBoxLayout(self)
        rows.setContentsMargins(6, 4, 6, 4)
        rows.addWidget(self.text)
        buttons = side_by_side(self.bring_back, self.put_off, self.throw_away)
        buttons.setStretch(0, 1)
        rows.addLayout(buttons)
        self.setVisible(False)

    def follow(self, desk: SessionDesk) -> None:
        """Ask for what the user wants with unsaved work."""
        self.bring_back.clicked.connect(lambda: desk.bring_back())
        self.put_off.clicked.connect(lambda: desk.put_off())
        self.throw_away.clicked.connect(lambda: desk.throw_away())

    def show_unsaved(self, unsaved: Unsaved | None) -> None:
        """Show what can be brought back, or nothing."""
        self.setVisible(unsaved is not None)
        if unsaved is None:
            return
        more = f" ({unsaved.others} more)" if unsaved.others else ""
        reason = f" {unsaved.reason}" if unsaved.reason else ""
        self.text.setText(unsaved.text + more + reason)
        self.bring_back.setEnabled(not unsaved.reason)


class SessionRow(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Saves and opens session files.

    Attributes
    ----------
    saved, opened
        Path of the file.
    """

    saved = Signal(str)
    opened = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("session")
        self.save = _button(
            self,
            "save_session",
            "Save session…",
            "Write what was done, prompts and all, into a file that can be opened again here, or "
            "replayed with litesam label --session. (All is autosaved as well.)",
        )
        self.open = _button(
            self,
            "open_session",
            "Open session…",
            "Do all of a saved session again; the image must be open or lie where it was.",
        )
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addLayout(side_by_side(self.save, self.open))
        self.save.clicked.connect(self._ask_where)
        self.open.clicked.connect(self._ask_which)

    def follow(self, intents: Intents) -> None:
        """Ask for what the user wants with session files."""
        self.saved.connect(lambda path: intents.save_session(path))
        self.opened.connect(lambda path: intents.open_session(path))

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save session", "session.json", _FILTER)
        if path:
            self.saved.emit(path if path.endswith(".json") else f"{path}.json")

    def _ask_which(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open session", "", _FILTER)
        if path:
            self.opened.emit(path)


def _button(parent: QWidget, name: str, text: str, tip: str) -> QPushButton:
    button = QPushButton(text, parent)
    button.setObjectName(name)
    button.setToolTip(wrapped(tip))
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button
