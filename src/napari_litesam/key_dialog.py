"""The window in which the user changes the panel's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_model.backends.qt import QKeyBindingSequence, qkeysequence2modelkeybinding
from app_model.types import KeyBinding
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QKeySequenceEdit,
    QLabel,
    QMenuBar,
    QShortcut,
    QVBoxLayout,
    QWidget,
)

from napari_litesam.keys import KEYS, LAYER_WORDS, keys_in_use

if TYPE_CHECKING:
    from napari_litesam.key_bindings import PanelKeys
    from napari_litesam.state import PluginState

_HELP = (
    "Click on a key and press the new one. It holds at once, in every layer that is named, and is "
    "kept for the next start."
)


class KeyDialog(QDialog):  # type: ignore[misc]  # qtpy is untyped
    """A line for each key; what is pressed there holds at once, or a message says why not.

    Parameters
    ----------
    state
        Holds the changed keys; followed while the window is open.
    keys
        Changes them.

    Attributes
    ----------
    fields
        The field of each intent.
    message
        Why a key was not taken.
    buttons
        *Restore Defaults* and *Close*.
    """

    def __init__(self, state: PluginState, keys: PanelKeys, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("key_dialog")
        self.setWindowTitle("Lite-SAM: keys")
        self._state, self._keys = state, keys
        rows = QVBoxLayout(self)
        text = QLabel(_HELP, self)
        text.setWordWrap(True)
        rows.addWidget(text)
        grid = QGridLayout()
        grid.setColumnStretch(2, 1)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(4)
        self.fields: dict[str, QKeySequenceEdit] = {}
        for row, one in enumerate(KEYS):
            field = QKeySequenceEdit(self)
            field.setObjectName(f"key_{one.intent}")
            field.setMinimumWidth(130)
            if hasattr(field, "setMaximumSequenceLength"):  # from Qt 6.5 on
                field.setMaximumSequenceLength(1)
            field.editingFinished.connect(lambda intent=one.intent: self._take(intent))
            self.fields[one.intent] = field
            where = ", ".join(LAYER_WORDS[name].removeprefix("the ") for name in one.layers)
            place = QLabel(f"<i>{where.replace('layer of ', '')}</i>", self)
            grid.addWidget(QLabel(one.words, self), row, 0)
            grid.addWidget(field, row, 1)
            grid.addWidget(place, row, 2)
        rows.addLayout(grid)
        self.message = QLabel(self)
        self.message.setObjectName("key_message")
        self.message.setWordWrap(True)
        self.message.setStyleSheet("color: #e69f00;")
        # Two lines always, so that nothing moves under the pointer.
        self.message.setMinimumHeight(3 * self.fontMetrics().lineSpacing())
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        rows.addWidget(self.message)
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.RestoreDefaults | kinds.Close, self)
        self.buttons.rejected.connect(self.close)
        defaults = self.buttons.button(kinds.RestoreDefaults)
        defaults.setText("Defaults")
        defaults.clicked.connect(self._reset)
        for button in self.buttons.buttons():
            # Enter in a field is a key that is refused, and not a press on a button.
            button.setAutoDefault(False)
        rows.addWidget(self.buttons)
        self.show_keys()

    def show_keys(self) -> None:
        """Show the keys that hold."""
        for intent, key in keys_in_use(self._state.settings.keys).items():
            self.fields[intent].setKeySequence(QKeyBindingSequence(KeyBinding.from_str(key)))

    def _take(self, intent: str) -> None:
        """Take the key that was pressed in a field, or say why not."""
        pressed = self.fields[intent].keySequence()
        reason = ""
        if pressed.count():
            first = QKeySequence(pressed[0])  # Qt before 6.5 takes several keys after each other
            key = str(qkeysequence2modelkeybinding(first))
            if key != keys_in_use(self._state.settings.keys)[intent]:
                reason = self._keys.change(intent, key, _menus())
        self.message.setText(reason)
        self.show_keys()

    def _reset(self) -> None:
        self._keys.reset()
        self.message.setText("")
        self.show_keys()


def _menus() -> dict[str, str]:
    """Return the keys of the menus and shortcuts of the windows that are open, with words."""
    found: dict[str, str] = {}
    for window in QApplication.topLevelWidgets():
        waiting = [one for bar in window.findChildren(QMenuBar) for one in bar.actions()]
        while waiting:
            action = waiting.pop()
            if action.menu() is not None:
                waiting += action.menu().actions()
            for keys in action.shortcuts():
                _note(found, keys, action.text().replace("&", "").rstrip("…. "))
        for shortcut in window.findChildren(QShortcut):
            _note(found, shortcut.key(), shortcut.objectName() or "a shortcut of the window")
    return found


def _note(found: dict[str, str], keys: QKeySequence, words: str) -> None:
    """Write the first key of a sequence down."""
    if keys.count():
        found.setdefault(str(qkeysequence2modelkeybinding(QKeySequence(keys[0]))), words)
