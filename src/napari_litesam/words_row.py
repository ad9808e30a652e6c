"""The row for words: what to look for, and the question about CLIP, which that needs."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

_ABOUT = (
    "Objects are found by words with CLIP (Radford et al. 2021), a network that tells how well a "
    "picture fits a text. It is not on this computer. The download is 605 MB from huggingface.co "
    "(openai/clip-vit-base-patch32, MIT licence), once. CLIP was made with everyday photographs: "
    "on microscopy, simple words such as “large”, “dark” or “round” are worth a try, names of "
    "structures seldom are."
)


class WordsRow(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """A line for words and a button.

    Attributes
    ----------
    wanted
        The words to look for.
    download_wanted, folder_chosen
        The words that waited for CLIP, and for the latter the folder that holds one.
    """

    wanted = Signal(str)
    download_wanted = Signal(str)
    folder_chosen = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.dialog: QDialog | None = None
        self.words = QLineEdit(self)
        self.words.setPlaceholderText("Words, for example: a large dark cell")
        self.find = QPushButton("Find", self)
        self.find.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.words, 1)
        row.addWidget(self.find)
        self.words.returnPressed.connect(self._on_wanted)
        self.find.clicked.connect(self._on_wanted)

    def show_words(self, text: str) -> None:
        """Show what is looked for."""
        self.words.setText(text)

    def ask(self, text: str) -> None:
        """Ask what to do about a CLIP that is not on this computer."""
        self.dialog = ClipDialog(self)
        self.dialog.download.clicked.connect(lambda: self.download_wanted.emit(text))
        self.dialog.folder.clicked.connect(lambda: self._choose_folder(text))
        self._open(self.dialog)

    def _choose_folder(self, text: str) -> None:
        self.dialog = QFileDialog(self, "Folder with a CLIP")
        self.dialog.setFileMode(QFileDialog.FileMode.Directory)
        self.dialog.fileSelected.connect(partial(self.folder_chosen.emit, text))
        self._open(self.dialog)

    def _open(self, dialog: QDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.finished.connect(lambda: self._forget(dialog))
        dialog.open()

    def _forget(self, dialog: QDialog) -> None:
        """Let go of a dialog that was closed, unless another one took its place."""
        if self.dialog is dialog:
            self.dialog = None

    def _on_wanted(self) -> None:
        if self.find.isEnabled() and self.words.text().strip():
            # Keys mean the prompts again: C commits what was found.
            self.words.clearFocus()
            self.wanted.emit(self.words.text().strip())


class ClipDialog(QDialog):  # type: ignore[misc]
    """Asks for the download of CLIP, or for a folder that holds one.

    Attributes
    ----------
    download, folder, refuse
        The answers.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("clip")
        self.setWindowTitle("Words need CLIP")
        self.setMinimumWidth(400)
        about = QLabel(_ABOUT, self)
        about.setWordWrap(True)
        buttons = QDialogButtonBox(self)
        roles = QDialogButtonBox.ButtonRole
        self.download = buttons.addButton("Download 605 MB", roles.AcceptRole)
        self.folder = buttons.addButton("Use a folder…", roles.AcceptRole)
        self.refuse = buttons.addButton("Not now", roles.RejectRole)
        rows = QVBoxLayout(self)
        rows.setSpacing(8)
        rows.addWidget(about)
        rows.addWidget(buttons)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
