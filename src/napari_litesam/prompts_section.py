"""The part of the panel about the current object: tools, words, steps, where it goes, commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_litesam.number_field import NumberField
from napari_litesam.rows import Chooser, make_form, refill, side_by_side
from napari_litesam.sections import Section
from napari_litesam.target_chooser import TargetChooser
from napari_litesam.tool_row import ToolRow
from napari_litesam.words_row import WordsRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_litesam.controller import Controller
    from napari_litesam.state import Candidate, Settings

_POLICIES = (
    ("Never overwrite", "never_overwrite"),
    ("Overwrite", "overwrite"),
    ("Only the free part", "free_area"),
)
_TIPS = {
    "hover": "Show under the pointer, before any click, what a click there would give. Nothing is "
    "prompted or written by it.",
    "each": "Every point and every box is an object of its own.",
    "undo": "Take back the last prompt, choice, commit or everything. ({undo})",
    "redo": "Do again what was undone. ({redo})",
    "clear": "Remove the prompts of the current object. ({clear_prompts})",
    "target": "The Labels layer for objects; each gets the next id.",
    "policy": "What becomes of pixels that other objects have.",
    "candidate": "Show the next of the model's masks for this click: the whole, a part, a part of "
    "a part. ({next_candidate}; {previous_candidate}: back)",
    "commit": "Write the previewed object into the Labels layer. ({commit})",
    "number": "The id that the next object gets. Type another one and press Enter; the one after "
    "it gets the next free id again. Several objects at once begin with it if it is above all "
    "others.\nType the id of an object that is there to choose that object: {commit_into} then "
    "adds the preview to it, and Open again refines it.",
}


class PromptsSection(Section):
    """Buttons, choosers and a line for words.

    Parameters
    ----------
    name
        Tells the panel name, control and tooltip of each control.
    parent
        The panel.

    Attributes
    ----------
    tools, search
        The buttons of the tools, and the line for words.
    hover, each, undo, redo, clear, target, policy, candidate, commit, number
        The controls.
    """

    def __init__(
        self, name: Callable[[str, QWidget, str], None], parent: QWidget | None = None
    ) -> None:
        super().__init__(
            "Prompts",
            "prompts_section",
            parent,
            tip="Say which object, and where it goes.",
            unfolded=True,
        )
        self.tools = ToolRow(self)
        for key, tip in self.tools.tips.items():
            name(key, getattr(self.tools, key), tip)
        self.hover = QCheckBox("hover preview", self)
        self.each = QCheckBox("each its own", self)
        self.search = WordsRow(self)
        words = "What to look for in the plane shown. (Enter: find it)"
        name("words", self.search.words, words)
        name("find", self.search.find, "Preview the object that fits the words best.")
        self.undo, self.redo = QPushButton("Undo", self), QPushButton("Redo", self)
        self.clear = QPushButton("Clear", self)
        self.target, self.policy = TargetChooser(self), Chooser(self)
        refill(self.policy, _POLICIES, "never_overwrite")
        self.candidate = QPushButton("", self)
        # Its text changes with every click and must not widen the panel.
        self.candidate.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.commit = QPushButton("Commit object", self)
        self.number = NumberField("id ", self)
        for key, tip in _TIPS.items():
            control = getattr(self, key)
            if not isinstance(control, Chooser | NumberField):
                # Keys go on to the canvas: after a click on a button, T and C mean the prompts.
                control.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            name(key, control, tip)
        self.show_candidate(None)
        self._lay_out()

    def _lay_out(self) -> None:
        content = QWidget(self)
        rows = QVBoxLayout(content)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(6)
        rows.addWidget(self.tools)
        rows.addLayout(side_by_side(self.hover, self.each))
        rows.addWidget(self.search)
        rows.addLayout(side_by_side(self.undo, self.redo, self.clear))
        form = make_form()
        form.addRow("Objects", self.target)
        form.addRow("Overlaps", self.policy)
        rows.addLayout(form)
        rows.addWidget(self.candidate)
        last = side_by_side(self.commit, self.number)
        last.setStretch(0, 1)
        rows.addLayout(last)
        self.addWidget(content)

    def follow(self, controller: Controller) -> None:
        """Do what the user wants."""
        state = controller.state
        self.tools.follow(controller)
        self.search.wanted.connect(lambda text: controller.find(text))
        self.search.download_wanted.connect(lambda text: controller.find(text, download=True))
        self.search.folder_chosen.connect(lambda text, place: controller.find(text, place))
        controller.words.missing.connect(self.search.ask)
        self.hover.toggled.connect(lambda on: state.update(hover=on))
        self.each.toggled.connect(lambda on: state.update(each=on))
        self.target.activated.connect(lambda _: controller.choose_target(self.target.currentData()))
        self.policy.activated.connect(lambda _: state.update(policy=self.policy.currentData()))
        self.undo.clicked.connect(lambda: controller.undo())
        self.redo.clicked.connect(lambda: controller.redo())
        self.candidate.clicked.connect(lambda: controller.next_candidate())
        self.clear.clicked.connect(lambda: controller.clear_prompts())
        self.commit.clicked.connect(lambda: controller.commit())
        self.number.chosen.connect(lambda number: self._choose_number(controller, number))
        controller.next_id.changed.connect(self.number.show_number)

    def _choose_number(self, controller: Controller, number: int) -> None:
        controller.choose_number(number)
        controller.next_id.follow()
        # A number that was refused is replaced.
        self.number.show_number(controller.next_id.number)

    def show_settings(self, settings: Settings) -> None:
        """Show what was chosen; while folded, what is not as usual, in the head."""
        self.policy.setCurrentIndex(self.policy.findData(settings.policy))
        self.hover.setChecked(settings.hover)
        self.each.setChecked(settings.each)
        said = [] if settings.policy == "never_overwrite" else [self.policy.currentText().lower()]
        said += ["each its own"] if settings.each else []
        self.summarize(" · ".join(said))

    def show_candidate(self, candidate: Candidate | None) -> None:
        """Show which of the model's masks is in the preview."""
        text = "Next mask"
        if candidate is not None:
            number, count = candidate.number + 1, candidate.count
            text = f"Mask {number} of {count} · predicted IoU {candidate.predicted_iou:.2f}"
        self.candidate.setText(text)
