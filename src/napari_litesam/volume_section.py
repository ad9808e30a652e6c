"""The part of the panel about whole stacks: label every slice and link the objects, on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_litesam.propagate_page import ConfidencePlot, PropagatePage
from napari_litesam.rows import Chooser, make_form, refill, side_by_side
from napari_litesam.sections import Section
from napari_litesam.state import PluginState, VolumeChoice

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_litesam.intents import Intents
    from napari_litesam.volume_jobs import VolumeStatus

_TIPS = {
    "volume_mode": "Label every slice and link the objects; or carry a few objects through the "
    "stack from one slice.",
    "volume_first": "First slice that is labelled, counted from 0.",
    "volume_last": "Last slice that is labelled; it is part of it.",
    "volume_diameter": "Usual diameter of the objects in a slice. It chooses how large the tiles "
    "are in which the model sees them; where objects are much smaller or larger than 32 px it "
    "matters much.\nas is: tiles of 512 px.",
    "volume_level": "Level of a multiscale image that is labelled. auto: the coarsest in which the "
    "model sees objects of the diameter at full resolution; level 0 if no diameter is given. "
    "Diameter and slices are those of level 0 in any case.",
    "volume_extent": "Drop objects that were seen in fewer slices than this: the best filter of "
    "false objects.",
    "volume_gap": "An object that is missing in up to this many slices goes on behind them.",
    "volume_tracks": "Of a time series of stacks: also link the objects through time, so that each "
    "has one number at all times, and show their tracks.",
    "volume_shift": "Also link objects whose centres are at most this far apart from one point in "
    "time to the next: for cells that move further than they are wide.\nby overlap: objects that "
    "overlap with themselves.",
    "volume_output": "The folder that the labels are written to, an OME-Zarr: its name ends with "
    ".zarr. Empty: a folder in your data folder, as it is shown here.",
    "volume_browse": "Choose the folder for the labels.",
    "volume_scheduler": "Address of a dask scheduler, such as tcp://head:8786, whose workers do "
    "the slices; image and labels lie on a disk that all of them see. local:4: four processes on "
    "this computer. Empty: this computer, beside your work.",
    "volume_anew": "Forget what an interrupted run has done there, and replace labels that are "
    "there.",
    "volume_start": "Label every slice with everything mode and its options, and link the objects "
    "of the slices into objects of the volume. You can go on with your work meanwhile. What is "
    "labelled is kept: after a pause, or a crash, it goes on with the next slice.",
    "volume_pause": "Stop. The slices that are labelled are kept, and Continue goes on with the "
    "one that was being labelled.",
    "volume_copy": "The labels lie on the disk, and are as large as the stack. Copy them into "
    "memory to correct them as any other objects.",
    "volume_open": "Open labels of this image that are on the disk: another window, or litesam "
    "label, has written them. Their objects can be reviewed, and corrected in a copy. Labels that "
    "you open with File ▸ Open, or drop into the viewer, are taken up as well.",
    "volume_doubts": "How sure the model is in each slice: of the object that is looked at, or of "
    "all on average. The higher and greener a bar, the surer; the line is the slice shown. Click: "
    "go there.",
    "volume_least": "Go to the object that the model is least sure of, in its least sure slice. In "
    "a copy it is chosen, too: delete it, open it again, or carry it through the stack.",
    "volume_back": "Go back to the object before, which is less sure.",
    "volume_next": "Go to the next object, which is surer. Deleted ones are passed over.",
}
_FILTERS = "OME-Zarr labels (*.zarr)"


class VolumeSection(Section):
    """A folding section with the choices for a whole stack.

    Parameters
    ----------
    name
        Tells the panel name, control and tooltip of each control.
    parent
        The panel.
    """

    def __init__(
        self, name: Callable[[str, QWidget, str], None], parent: QWidget | None = None
    ) -> None:
        super().__init__(
            "Volume",
            "volume_section",
            parent,
            tip="Whole stacks: label every slice, or carry objects through the slices.",
        )
        self._state = PluginState()
        self._quiet = False
        self._open: Callable[[str], None] | None = None
        self.mode = Chooser(self)
        self.mode.addItem("Everything + link", "everything")
        self.mode.addItem("Propagate", "propagate")
        self.propagate = PropagatePage(name, self)
        self.first, self.last = QSpinBox(self), QSpinBox(self)
        self.diameter = QSpinBox(self)
        self.diameter.setRange(0, 4096)
        self.diameter.setSuffix(" px")
        self.diameter.setSpecialValueText("as is")
        self.level = Chooser(self)
        self.extent, self.gap = QSpinBox(self), QSpinBox(self)
        self.extent.setRange(1, 100_000)
        self.gap.setRange(0, 64)
        self.shift = QSpinBox(self)
        self.shift.setRange(0, 4096)
        self.shift.setSuffix(" px")
        self.shift.setSpecialValueText("by overlap")
        self.tracks = QCheckBox("tracks", self)
        self.output, self.scheduler = QLineEdit(self), QLineEdit(self)
        self.scheduler.setPlaceholderText("this computer")
        self.browse = QToolButton(self)
        self.browse.setText("…")
        for line in (self.output, self.scheduler):
            line.setMinimumWidth(64)
        self.anew = QCheckBox("anew", self)
        self.start = self._button("Label volume")
        self.pause = self._button("Pause")
        self.copy = self._button("Correct a copy")
        self.open = self._button("Open labels…")
        self.least = self._button("Worst object")
        self.back, self.next = self._button("Back"), self._button("Next")
        self.doubts = ConfidencePlot(self)
        for control in (
            self.first,
            self.last,
            self.diameter,
            self.extent,
            self.gap,
            self.shift,
        ):
            control.setKeyboardTracking(False)
        for key, tip in _TIPS.items():
            name(key, getattr(self, key.removeprefix("volume_")), tip)
        self._lay_out()
        self._connect()

    def _button(self, text: str) -> QPushButton:
        button = QPushButton(text, self)
        # Keys go on to the canvas: after a click on a button, T and C still mean the prompts.
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    def _lay_out(self) -> None:
        content = QWidget(self)
        rows = QVBoxLayout(content)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(6)
        form = make_form()
        form.addRow("First slice", self.first)
        form.addRow("Last slice", self.last)
        form.addRow("Diameter", self.diameter)
        form.addRow("Level", self.level)
        form.addRow("Min. slices", self.extent)
        form.addRow("Max. gap", self.gap)
        # Side by side they would widen the panel.
        form.addRow("Time", self.tracks)
        form.addRow("Max. shift", self.shift)
        place = side_by_side(self.output, self.browse)
        place.setStretch(0, 1)
        form.addRow("Output", place)
        form.addRow("Scheduler", self.scheduler)
        rows.addLayout(form)
        begin = side_by_side(self.start, self.pause, self.anew)
        begin.setStretch(0, 1)
        rows.addLayout(begin)
        rows.addLayout(side_by_side(self.copy, self.open))
        rows.addWidget(self.doubts)
        walk = side_by_side(self.least, self.back, self.next)
        walk.setStretch(0, 1)
        rows.addLayout(walk)
        whole = QWidget(self)
        pages = QVBoxLayout(whole)
        pages.setContentsMargins(0, 0, 0, 0)
        pages.addWidget(self.mode)
        pages.addWidget(content)
        pages.addWidget(self.propagate)
        self.addWidget(whole)
        self.labelling = content
        self._show_mode()

    def _show_mode(self) -> None:
        carries = self.mode.currentData() == "propagate"
        self.labelling.setVisible(not carries)
        self.propagate.setVisible(carries)

    def _connect(self) -> None:
        self.mode.currentIndexChanged.connect(self._show_mode)
        self.first.valueChanged.connect(lambda value: self._choose(first=value))
        self.last.valueChanged.connect(
            lambda value: self._choose(last=None if value == self.last.maximum() else value)
        )
        self.diameter.valueChanged.connect(lambda value: self._choose(diameter_px=value))
        self.level.activated.connect(lambda _: self._choose(level=self.level.currentData()))
        self.extent.valueChanged.connect(lambda value: self._choose(min_extent=value))
        self.gap.valueChanged.connect(lambda value: self._choose(max_gap=value))
        self.shift.valueChanged.connect(lambda value: self._choose(max_shift_px=value))
        self.tracks.toggled.connect(lambda on: self._choose(tracks=on))
        self.output.editingFinished.connect(lambda: self._choose(output=self.output.text().strip()))
        self.scheduler.editingFinished.connect(
            lambda: self._choose(scheduler=self.scheduler.text().strip())
        )
        self.anew.toggled.connect(lambda on: self._choose(anew=on))
        self.browse.clicked.connect(self._browse)
        self.open.clicked.connect(self._open_labels)

    def follow(self, intents: Intents) -> None:
        """Do in a panel what the user wants."""
        self._state = intents.state
        self._open = intents.open_volume
        clicks: tuple[tuple[QPushButton, Callable[[], Any]], ...] = (
            (self.start, lambda: intents.label_volume()),
            (self.pause, lambda: intents.pause_volume()),
            (self.copy, lambda: intents.copy_volume()),
            (self.least, lambda: intents.doubt_object(0)),
            (self.back, lambda: intents.doubt_object(-1)),
            (self.next, lambda: intents.doubt_object(1)),
        )
        for button, intent in clicks:
            button.clicked.connect(lambda _=False, do=intent: do())
        self.propagate.follow(intents)
        intents.volume.changed.connect(self.show_status)
        self.doubts.wanted.connect(lambda number: intents.show_slice(number))
        intents.volume.complete.review.changed.connect(self.doubts.show_confidence)
        self.doubts.show_confidence(intents.volume.complete.review.confidence)
        self._state.settings_changed.connect(self._on_settings)
        self.show_status(intents.volume.status)
        self.show_choice(self._state.settings.volume)

    def _choose(self, **changes: Any) -> None:
        if not self._quiet:
            volume = replace(self._state.settings.volume, **changes)
            self._state.update(volume=volume)

    def _browse(self) -> None:
        start = self.output.text() or self.output.placeholderText()
        path, _ = QFileDialog.getSaveFileName(self, "Folder for the labels", start, _FILTERS)
        if path:
            name = path if path.lower().endswith(".zarr") else f"{path}.ome.zarr"
            self.output.setText(name)
            self._choose(output=name)

    def _open_labels(self) -> None:
        start = Path(self.output.text() or self.output.placeholderText()).parent
        path = QFileDialog.getExistingDirectory(self, "Labels of a volume", str(start))
        if path and self._open is not None:
            self._open(path)

    # -------------------------------------------------------------------------------------- showing

    def _on_settings(self, changed: frozenset[str]) -> None:
        if "volume" in changed:
            self.show_choice(self._state.settings.volume)

    def show_choice(self, choice: VolumeChoice) -> None:
        """Show what was chosen."""
        self._quiet = True
        self.first.setValue(choice.first)
        self.last.setValue(self.last.maximum() if choice.last is None else choice.last)
        self.diameter.setValue(choice.diameter_px)
        self.level.setCurrentIndex(max(self.level.findData(choice.level), 0))
        self.extent.setValue(choice.min_extent)
        self.gap.setValue(choice.max_gap)
        self.shift.setValue(choice.max_shift_px)
        self.tracks.setChecked(choice.tracks)
        if not self.output.hasFocus():
            self.output.setText(choice.output)
        if not self.scheduler.hasFocus():
            self.scheduler.setText(choice.scheduler)
        self.anew.setChecked(choice.anew)
        self._quiet = False

    def show_status(self, status: VolumeStatus) -> None:
        """Show what there is of the stack and its labels."""
        self._quiet = True
        for box in (self.first, self.last):
            box.setMaximum(max(status.length - 1, 0))
        choice = self._state.settings.volume
        refill(self.level, (("auto", None), *status.levels), choice.level)
        self._quiet = False
        self.output.setPlaceholderText(status.output)
        self.start.setText("Continue" if status.begun else "Label volume")
        self.show_choice(self._state.settings.volume)
