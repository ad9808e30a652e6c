"""The buttons of the tools: what the next click or drag on the canvas makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from litesam.types import PointLabel
from napari_litesam.rows import side_by_side
from napari_litesam.state import Tool

if TYPE_CHECKING:
    from napari_litesam.controller import Controller
    from napari_litesam.state import Settings


class ToolRow(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Two rows of buttons that stay pressed.

    Attributes
    ----------
    positive, negative, box, lasso, scribble
        The buttons.
    tips
        What they are for, by name of control.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.positive = QPushButton("+ Positive", self)
        self.negative = QPushButton("− Negative", self)
        self.box = QPushButton("▭ Box", self)
        self.lasso = QPushButton("◯ Lasso", self)
        self.scribble = QPushButton("", self)
        self.tips = {
            "positive": "Click on the object. ({toggle_sign}: toggle)",
            "negative": "Click beside the object, where the mask is too large. ({toggle_sign}: "
            "toggle; Ctrl-click: one negative point)",
            "box": "Draw a box around the object. The newest box of a plane counts.",
            "lasso": "Draw round the object with the button held: what is inside is the object, "
            "more or less. Polygons and ellipses of napari's tools count as well. "
            "({prompt_from_label}: the outline of the object under the mouse, of any Labels layer)",
            "scribble": "Draw a stroke with the button held, on the object, or beside it where the "
            "mask is too large. Press the button again for the other sign; Ctrl-drag: one negative "
            "stroke.",
        }
        for name in self.tips:
            button = getattr(self, name)
            button.setCheckable(True)
            # Keys go on to the canvas: after a click on a button, T and C still mean the prompts.
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        rows.addLayout(side_by_side(self.positive, self.negative))
        rows.addLayout(side_by_side(self.box, self.lasso, self.scribble))

    def follow(self, controller: Controller) -> None:
        """Do what the user wants with the buttons."""
        self.positive.clicked.connect(lambda: controller.choose_sign(PointLabel.FOREGROUND))
        self.negative.clicked.connect(lambda: controller.choose_sign(PointLabel.BACKGROUND))
        self.box.clicked.connect(lambda: controller.draw_box())
        self.lasso.clicked.connect(lambda: controller.draw_lasso())
        self.scribble.clicked.connect(lambda: controller.scribble())
        for name in self.tips:
            # A button that is pressed again stays pressed.
            getattr(self, name).clicked.connect(lambda: self.show_tool(controller.state.settings))

    def show_tool(self, settings: Settings) -> None:
        """Show the tool and the sign."""
        positive = settings.sign == PointLabel.FOREGROUND
        point = settings.tool is Tool.POINT
        self.positive.setChecked(point and positive)
        self.negative.setChecked(point and not positive)
        self.box.setChecked(settings.tool is Tool.BOX)
        self.lasso.setChecked(settings.tool is Tool.LASSO)
        self.scribble.setChecked(settings.tool is Tool.SCRIBBLE)
        self.scribble.setText("Scribble +" if positive else "Scribble −")
