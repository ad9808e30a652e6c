"""The section of the panel that shows its keys, as they are now, and lets the user change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QWidget

from napari_litesam.key_dialog import KeyDialog
from napari_litesam.keys import KEYS, keys_in_use, shown, with_keys
from napari_litesam.rows import wrapped
from napari_litesam.sections import Section

if TYPE_CHECKING:
    from napari_litesam.key_bindings import PanelKeys
    from napari_litesam.state import PluginState

#: What is good to know beside our own keys; but the first these are napari's.
_OTHERS = (
    ("Ctrl-click", "Negative point"),
    ("2, P", "Add points"),
    ("3, S", "Select points"),
    ("Delete", "Delete selected"),
    ("Space", "Move the canvas"),
)
_NOTE = (
    "The keys work while one of the panel's layers is chosen in the layer list; {reopen_here}, "
    "{select_here} and {delete_here} mean the object under the mouse (not in the layer of boxes, "
    "where R, E and X are napari's). Who comes from micro-sam: {toggle_sign}, {commit} and "
    "{clear_prompts} do what you know; S (segment) is not needed, because the mask follows every "
    "click."
)


class KeyboardMap(Section):
    """A folded section with all keys.

    Attributes
    ----------
    change
        The button that opens the window in which they are changed.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Keys", "keys", parent, tip="What the keys do, and how to change them.")
        table = QWidget(self)
        grid = QGridLayout(table)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        grid.setHorizontalSpacing(8)
        grid.setColumnStretch(1, 1)
        self._names: dict[str, QLabel] = {}
        ours = [(one.intent, one.key, one.words) for one in KEYS]
        for row, (intent, key, words) in enumerate((*ours, *(("", *one) for one in _OTHERS))):
            name = QLabel(f"<b>{key}</b>", table)
            name.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
            if intent:
                self._names[intent] = name
            grid.addWidget(name, row, 0)
            grid.addWidget(QLabel(words, table), row, 1)
        self.change = QPushButton("Change keys…", table)
        self.change.setObjectName("change_keys")
        self.change.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.change.setToolTip(
            wrapped("Choose other keys; they are kept for the next start (napari 0.9 and newer).")
        )
        grid.addWidget(self.change, grid.rowCount(), 0, 1, 2)
        self.addWidget(table)
        self._dialog: KeyDialog | None = None
        self.show_keys("")

    def follow(self, state: PluginState, keys: PanelKeys) -> None:
        """Show the keys of a panel and change them."""
        self._state, self._keys = state, keys
        self.change.clicked.connect(self._open)

    def show_keys(self, changed: str) -> None:
        """Show the keys that hold; ``changed``: see `napari_litesam.keys.keys_in_use`."""
        for intent, key in keys_in_use(changed).items():
            self._names[intent].setText(f"<b>{shown(key)}</b>")
        self.setToolTip(wrapped(with_keys(_NOTE, changed)))
        if self._dialog is not None:
            self._dialog.show_keys()

    def _open(self) -> None:
        if self._dialog is None:
            self._dialog = KeyDialog(self._state, self._keys, self)
        self._dialog.message.clear()
        self._dialog.show()
        self._dialog.raise_()
        self._dialog.activateWindow()
