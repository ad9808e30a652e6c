"""The page of the Volume section about objects that are carried through the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPalette
from qtpy.QtWidgets import QFileDialog, QPushButton, QVBoxLayout, QWidget

from litesam.types import PropagateConfig
from napari_litesam.options import OptionsForm, in_words
from napari_litesam.propagation import Confidence
from napari_litesam.rows import side_by_side
from napari_litesam.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QMouseEvent, QPaintEvent

    from napari_litesam.intents import Intents

_TIPS = {
    "volume_carry": "Follow objects from this slice through the stack, upwards and downwards, "
    "until the model loses them: the object of the prompts, which is committed first, or those "
    "that are chosen ({select_here} over them, or the table). One step of undo.",
    "volume_file": "Carry the objects of a prompts file (CSV) through the stack, each from all "
    "slices on which it is prompted; the columns are those of litesam label --prompts.",
    "volume_worst": "Go to the slice where an object is most likely wrong.",
    "volume_again": "After a correction ({reopen_here} over the object, refine, {commit}; or "
    "the brush): what is corrected counts as known, and only what depends on it runs again. After "
    "a change of the options below: all of it runs again, from all slices that are known.",
    "volume_plot": "Confidence along the stack: the higher and greener a bar, the surer; blue: "
    "slices where the objects are known; the line is the slice shown. Click: go there.",
}
_KNOWN, _SHOWN, _FRAME = QColor("#4c9be8"), QColor("#ffd92e"), QColor(128, 128, 128, 110)


class ConfidencePlot(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """A bar for each slice.

    Attributes
    ----------
    wanted
        The user clicked on this slice.
    """

    wanted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.confidence = Confidence()
        self.setFixedHeight(56)
        self.setMinimumWidth(64)

    def show_confidence(self, confidence: Confidence) -> None:
        """Show what was found."""
        self.confidence = confidence
        self.update()

    def slice_at(self, x: float) -> int:
        """Slice under a position, pixels of the widget."""
        length = max(self.confidence.length, 1)
        return min(max(int(x * length / max(self.width(), 1)), 0), length - 1)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw."""
        painter = QPainter(self)
        width, height = self.width(), self.height()
        ground = self.palette().color(QPalette.ColorRole.Base)
        painter.fillRect(self.rect(), ground)
        painter.setPen(_FRAME)
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        length = max(self.confidence.length, 1)
        step = width / length
        for at, value in self.confidence.values:
            known = at in self.confidence.prompted
            colour = (
                _KNOWN if known else QColor.fromHsvF(0.33 * min(max(value, 0.0), 1.0), 0.7, 0.8)
            )
            tall = max(value, 0.03) * (height - 4)
            wide = max(step - (1 if step > 3 else 0), 1.0)
            painter.fillRect(QRectF(at * step, height - tall, wide, tall), colour)
        if self.confidence.length:
            middle = (self.confidence.shown + 0.5) * step
            painter.fillRect(QRectF(middle - 1, 0, 2, height), _SHOWN)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Go to a slice."""
        if event.button() == Qt.MouseButton.LeftButton and self.confidence.length:
            self.wanted.emit(self.slice_at(event.position().x()))


class PropagatePage(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Buttons, the plot, and a folded form.

    Parameters
    ----------
    name
        Tells the panel name, control and tooltip of each control.
    parent
        The section.
    """

    def __init__(
        self, name: Callable[[str, QWidget, str], None], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.carry = QPushButton("Propagate", self)
        self.file = QPushButton("Prompts file…", self)
        self.worst = QPushButton("Worst slice", self)
        self.again = QPushButton("Propagate again", self)
        self.plot = ConfidencePlot(self)
        for key, tip in _TIPS.items():
            control = getattr(self, key.removeprefix("volume_"))
            # Keys go on to the canvas: after a click on a button, T and C mean the prompts.
            control.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            name(key, control, tip)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(6)
        rows.addLayout(side_by_side(self.carry, self.file))
        rows.addWidget(self.plot)
        rows.addLayout(side_by_side(self.worst, self.again))
        self.options = OptionsForm(PropagateConfig(), self, name="propagate_advanced")
        self.section = Section(
            "Where objects end",
            "propagate_options",
            self,
            tip="When an object counts as lost, and what else decides how objects are carried.",
            inner=True,
        )
        self.section.addWidget(self.options)
        rows.addWidget(self.section)

    def follow(self, intents: Intents) -> None:
        """Do in a panel what the user wants."""
        self.carry.clicked.connect(lambda: intents.propagate())
        self.file.clicked.connect(lambda: self._browse(intents))
        self.worst.clicked.connect(lambda: intents.show_worst())
        self.again.clicked.connect(lambda: intents.propagate_again())
        self.plot.wanted.connect(lambda number: intents.show_slice(number))
        intents.propagation.changed.connect(self.plot.show_confidence)
        self.plot.show_confidence(intents.propagation.confidence)
        self.options.changed.connect(lambda config: intents.state.update(propagate=config))
        intents.state.settings_changed.connect(
            lambda _changed: self.show_options(intents.state.settings.propagate)
        )

    def show_options(self, config: PropagateConfig) -> None:
        """Show what was chosen; while folded, what is not as usual, in the head."""
        self.options.show_config(config)
        self.section.summarize(in_words(config))

    def _browse(self, intents: Intents) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Prompts file", "", "Prompts (*.csv)")
        if path:
            intents.propagate_file(path)
