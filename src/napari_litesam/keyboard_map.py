"""The keys of the panel: which layer they belong to, what they do, and the section that shows them.

Keys belong to the panel's own layers and not to the viewer, so that nothing of napari's changes
elsewhere; on these layers none of napari's own keys is taken, but undo and redo of the candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget
from superqt import QCollapsible

from napari_litesam.rows import wrapped


@dataclass(frozen=True, slots=True)
class Key:
    """A key: as napari spells it, the intent that it asks for, and what that is in words.

    ``layers``: "points", "boxes", "candidates" and "objects".
    """

    key: str
    intent: str
    words: str
    layers: tuple[str, ...]


_PROMPTS = ("points", "boxes")
#: In the layer of boxes these letters are napari's: rectangle, ellipse and removal of a vertex.
_POINTED = ("points", "objects")
KEYS = (
    Key("T", "toggle_sign", "Toggle + and −", ("points",)),
    Key("N", "next_candidate", "Next mask", _PROMPTS),
    Key("Shift-N", "previous_candidate", "Mask before", _PROMPTS),
    Key("C", "commit", "Commit object", _PROMPTS),
    Key("C", "accept_all", "Review: accept", ("candidates",)),
    Key("Shift-C", "clear_prompts", "Clear prompts", _PROMPTS),
    Key("Shift-C", "discard", "Review: discard", ("candidates",)),
    Key("R", "reopen_here", "Open object again", _POINTED),
    Key("E", "select_here", "Choose object", _POINTED),
    Key("X", "delete_here", "Delete object", _POINTED),
    Key("Control-Z", "undo", "Undo", (*_PROMPTS, "candidates", "objects")),
    Key("Control-Shift-Z", "redo", "Redo", (*_PROMPTS, "candidates", "objects")),
)
#: What is good to know beside our own keys; but the first these are napari's.
_OTHERS = (
    ("Ctrl-click", "Negative point"),
    ("2, P", "Add points"),
    ("3, S", "Select points"),
    ("Delete", "Delete selected"),
    ("Space", "Move the canvas"),
)
_NOTE = (
    "The keys work while one of the panel's layers is chosen in the layer list; R, E and X mean "
    "the object under the mouse (not in the layer of boxes, where they are napari's). Who comes "
    "from micro-sam: T, C and Shift-C do what you know; S (segment) is not needed, because the "
    "mask follows every click."
)


class KeyboardMap(QCollapsible):  # type: ignore[misc]  # superqt is untyped
    """A folded section with all keys."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Keys", parent, "▾", "▸")
        self.setObjectName("keys")
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.content().layout().setContentsMargins(0, 4, 0, 0)
        table = QWidget(self)
        grid = QGridLayout(table)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        grid.setHorizontalSpacing(8)
        grid.setColumnStretch(1, 1)
        ours = [(one.key.replace("Control", "Ctrl"), one.words) for one in KEYS]
        for row, (key, words) in enumerate((*ours, *_OTHERS)):
            name = QLabel(f"<b>{key}</b>", table)
            name.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
            text = QLabel(words, table)
            grid.addWidget(name, row, 0)
            grid.addWidget(text, row, 1)
        self.setToolTip(wrapped(_NOTE))
        self.addWidget(table)
