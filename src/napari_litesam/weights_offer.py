"""What the panel shows while a chosen model is not in use yet: loading, download, failure."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_litesam.state import Offer, Phase
from napari_litesam.variants import size_words

if TYPE_CHECKING:
    from litesam.types import ModelSpec, WeightsSpec

#: Most models load quicker than this: nothing flickers for them.
_DELAY_MS = 300
#: Steps of the progress bar: bytes of large files are more than Qt's 32 bits hold.
_STEPS = 1000
_LONG_WORD = re.compile(r"\S{20,}")
#: A word may be broken after such a mark, and after so many letters without one (hashes).
_BREAK = re.compile(r"[/\\_.=-]|[^/\\_.=-]{12}(?=[^/\\_.=-])")
_FILES = "Weights (*.safetensors *.pt *.pth);;All files (*)"


class WeightsOffer(QFrame):  # type: ignore[misc]  # qtpy is untyped
    """A box below the chooser of models; hidden while there is nothing to tell.

    Attributes
    ----------
    download_wanted
        The user wants the download; True: and has accepted the licences.
    file_chosen
        Path of a file that the user has.
    cancelled, dismissed
        Stop what runs; stay with the model in use.
    """

    download_wanted = Signal(bool)
    file_chosen = Signal(str)
    cancelled = Signal()
    dismissed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("weights_offer")
        # napari's style draws no frames; this grey is seen on dark and on light ground.
        self.setStyleSheet(
            "#weights_offer { border: 1px solid rgb(127, 127, 127); border-radius: 4px; }"
        )
        self._offer: Offer | None = None
        self.dialog: QDialog | None = None
        self.title = _text(self, "offer_title", bold=True)
        self.text = _text(self, "offer_text")
        self.progress = QProgressBar(self)
        self.progress.setObjectName("offer_progress")
        self.download = self._button("offer_download", "Download")
        self.use_file = self._button("offer_file", "Use a file that I have…")
        self.use_file.setToolTip(
            "A weights file from another computer or a colleague. It is recognised by its content, "
            "whatever its name, and copied to the other weights."
        )
        self.copy = self._button("offer_copy", "Copy message")
        self.copy.setToolTip("Copy the whole message, with addresses and folders.")
        self.cancel = self._button("offer_cancel", "Cancel")
        self.close_offer = self._button("offer_close", "Not now")
        self.download.setToolTip(
            "Fetch the weights of this model once; they are checked and kept for later."
        )
        self.cancel.setToolTip("Stop the download. What has come is kept, it goes on from there.")
        self.close_offer.setToolTip("Go on with the model that is in use.")
        rows = QVBoxLayout(self)
        rows.setContentsMargins(8, 6, 8, 6)
        rows.setSpacing(4)
        for widget in (self.title, self.text, self.progress):
            rows.addWidget(widget)
        first = QHBoxLayout()
        first.setSpacing(4)
        for button in (self.download, self.close_offer):
            first.addWidget(button)
        rows.addLayout(first)
        for button in (self.cancel, self.use_file, self.copy):
            rows.addWidget(button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(lambda: self.setVisible(self._offer is not None))
        self.download.clicked.connect(self._on_download)
        self.use_file.clicked.connect(self._on_file)
        self.copy.clicked.connect(self._on_copy)
        self.cancel.clicked.connect(lambda: self.cancelled.emit())
        self.close_offer.clicked.connect(lambda: self.dismissed.emit())
        self.setVisible(False)

    def show_offer(self, offer: Offer | None, in_use: ModelSpec) -> None:
        """Show how far a model is; None: there is none to come."""
        before, self._offer = self._offer, offer
        if offer is None:
            self._timer.stop()
            self.setVisible(False)
            return
        if self.dialog is not None and (before is None or before.spec is not offer.spec):
            self.dialog.reject()
        phase = offer.phase
        self.title.setText(_title(offer))
        self.text.setText(breakable(_body(offer, in_use)))
        self.progress.setVisible(phase in (Phase.LOADING, Phase.WORKING))
        self.progress.setRange(0, _STEPS if offer.total else 0)
        self.progress.setValue(_STEPS * offer.done // offer.total if offer.total else 0)
        asks, failed = phase is Phase.ASKING, phase is Phase.FAILED
        self.download.setVisible((asks or failed) and offer.downloadable)
        again = "Try again" if failed else f"Download {size_words(offer.missing_bytes)}"
        self.download.setText(again)
        self.use_file.setVisible((asks or failed) and offer.importable)
        self.copy.setVisible(failed)
        self.close_offer.setVisible(asks or failed)
        self.close_offer.setText("Close" if failed else "Not now")
        self.cancel.setVisible(phase in (Phase.LOADING, Phase.WORKING))
        if phase is not Phase.LOADING:
            self._timer.stop()
            self.setVisible(True)
        elif not self.isVisible():
            self._timer.start()

    def _button(self, name: str, text: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    def _on_download(self) -> None:
        offer = self._offer
        if offer is None:
            return
        if not offer.licences:
            self.download_wanted.emit(False)
            return
        self.dialog = LicenceDialog(offer.spec, offer.licences, self)
        self.dialog.accepted.connect(lambda: self.download_wanted.emit(True))
        self.dialog.finished.connect(self._forget_dialog)
        self.dialog.open()

    def _on_file(self) -> None:
        if self._offer is None:
            return
        self.dialog = QFileDialog(self, f"Weights of {self._offer.spec.title}", "", _FILES)
        self.dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        self.dialog.fileSelected.connect(partial(self.file_chosen.emit))
        self.dialog.finished.connect(self._forget_dialog)
        self.dialog.open()

    def _forget_dialog(self, _result: int) -> None:
        if self.dialog is not None:
            self.dialog.deleteLater()
            self.dialog = None

    def _on_copy(self) -> None:
        if self._offer is not None:
            QGuiApplication.clipboard().setText(self._offer.text)


class LicenceDialog(QDialog):  # type: ignore[misc]
    """Asks for the explicit acceptance of restrictive licences.

    Attributes
    ----------
    agree
        The box to tick.
    confirm
        The button that starts the download; disabled until the box is ticked.
    """

    def __init__(
        self, spec: ModelSpec, licences: tuple[WeightsSpec, ...], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("licence")
        self.setWindowTitle(f"Licence of the weights of {spec.title}")
        self.setMinimumWidth(380)
        rows = QVBoxLayout(self)
        rows.setSpacing(8)
        head = _text(self, "licence_head")
        head.setText(
            f"The weights of {spec.title} may not be used for every purpose. Nothing is downloaded "
            "before you accept their licence."
        )
        rows.addWidget(head)
        for weights in licences:
            rows.addWidget(self._licence(weights))
        self.agree = QCheckBox("I have read the licence and accept it.", self)
        self.agree.setObjectName("agree")
        rows.addWidget(self.agree)
        buttons = QDialogButtonBox(self)
        self.confirm = buttons.addButton(
            "Accept and download", QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.confirm.setEnabled(False)
        self.refuse = buttons.addButton("Do not accept", QDialogButtonBox.ButtonRole.RejectRole)
        self.refuse.setDefault(True)
        rows.addWidget(buttons)
        self.agree.toggled.connect(self.confirm.setEnabled)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)

    def _licence(self, weights: WeightsSpec) -> QLabel:
        label = _text(self, "licence_text")
        label.setTextFormat(Qt.TextFormat.RichText)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        label.setOpenExternalLinks(True)
        parts = [f"<b>{weights.licence}</b>"]
        if weights.licence_note:
            parts.append(weights.licence_note)
        if weights.licence_url:
            # The colour of links of the platform is hard to read on dark ground. The label knows
            # the colour of napari's theme only once that is applied.
            label.ensurePolished()
            colour = label.palette().windowText().color().name()
            parts.append(
                f'Full text: <a href="{weights.licence_url}" style="color: {colour}">'
                f"{weights.licence_url}</a>"
            )
        label.setText("<br>".join(parts))
        return label


def _title(offer: Offer) -> str:
    title = offer.spec.title
    return {
        Phase.LOADING: f"{title} is being loaded",
        Phase.ASKING: f"{title} is not on this computer",
        Phase.WORKING: f"{title} is on its way",
        Phase.FAILED: f"{title} cannot be used yet",
    }[offer.phase]


def _body(offer: Offer, in_use: ModelSpec) -> str:
    stays = "" if in_use.name == offer.spec.name else f"{in_use.title} answers until it is ready."
    if offer.phase is Phase.LOADING:
        return stays
    if offer.phase is Phase.ASKING:
        licence = offer.spec.weights.licence
        facts = [f"{size_words(offer.missing_bytes)} to download, licence {licence}. {stays}"]
        if offer.by_hand:
            facts = [
                f"No program can fetch {weights.file}: get it from {weights.page}, then use it "
                "with the button below."
                for weights in offer.by_hand
            ]
        return "\n".join([*([offer.text] if offer.text else []), *facts])
    return offer.text


def breakable(text: str) -> str:
    """Let addresses and paths go over several lines, so that they do not widen the panel."""
    return _LONG_WORD.sub(lambda word: _BREAK.sub("\\g<0>\N{ZERO WIDTH SPACE}", word.group()), text)


def _text(parent: QWidget, name: str, *, bold: bool = False) -> QLabel:
    label = QLabel(parent)
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    if bold:
        font = label.font()
        font.setBold(True)
        label.setFont(font)
    return label
