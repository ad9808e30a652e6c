"""The part of the panel about the image: its axes, channel, colours, level and contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QStyleOptionComboBox,
    QVBoxLayout,
    QWidget,
)

from litesam.preprocess import COLOURS
from napari_litesam.colours import stains_of
from napari_litesam.image_axes import MEANINGS, axes_letters, channel_choices, level_choices
from napari_litesam.rows import Chooser, make_form, refill
from napari_litesam.state import Contrast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.layers import Image

    from napari_litesam.controller import Controller
    from napari_litesam.state import Settings

_ALONE = (
    "The layer alone",
    "The model sees the chosen layer, and of its channels the one that is chosen.",
)
_SEVERAL = (
    "Several as colours",
    "The model sees up to three layers, or channels of the image, as red, green and blue, each "
    "with its own contrast: nuclei and membranes together, for example.\nLayers need the same "
    "shape and have to lie on each other.",
)
_CONTRASTS = (
    (
        "Automatic",
        Contrast.AUTO,
        "Black and white are the 0.1 and 99.9 percentiles of the plane, whatever is shown.",
    ),
    (
        "Strong",
        Contrast.STRONG,
        "Black and white are the 2 and 98 percentiles of the plane: for a few very bright spots.",
    ),
    (
        "As shown",
        Contrast.LAYER,
        "The contrast limits and the gamma of the layer: the model sees what you see.\n"
        "After you changed them the image is embedded again for the next prompt.",
    ),
)


class _AxisChooser(Chooser):
    """Shows the letter alone where there is no room for the word."""

    def initStyleOption(self, option: QStyleOptionComboBox) -> None:  # noqa: N802
        """Shorten the text to the letter, if it has to be shortened at all."""
        super().initStyleOption(option)
        if option.currentText != self.currentText():
            option.currentText = str(self.currentData() or "")


class AxesLine(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """What the axes of an image mean, from the first to the last; those in front of the plane can
    be changed.

    Attributes
    ----------
    named
        The user calls an axis, counted from the first, by a letter.
    choosers
        One for each axis in front of the plane.
    """

    named = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(4)
        self.choosers: list[Chooser] = []
        self._rest = QLabel("–", self)
        self._rest.setToolTip("The last axes are the plane: rows (Y) and columns (X).")
        self._row.addWidget(self._rest)
        self._row.addStretch(1)

    def show_image(self, image: Image | None) -> None:
        """Show the axes of an image."""
        letters = "" if image is None else axes_letters(image)
        count = 0 if image is None else image.ndim - 2
        while len(self.choosers) > count:
            old = self.choosers.pop()
            self._row.removeWidget(old)
            old.deleteLater()
        while len(self.choosers) < count:
            self._add_chooser()
        for axis, chooser in enumerate(self.choosers):
            refill(chooser, tuple(self._meanings(letters[axis])), letters[axis])
            chooser.setToolTip(self._tip(axis, image))
        # The choosers share the room; without any the letters stay on the left.
        self._row.setStretch(self._row.count() - 1, 0 if count else 1)
        rest = " ".join(letters[count : count + 2]) or "–"
        self._rest.setText(f"{rest} + colours" if letters[count + 2 :] else rest)

    def _add_chooser(self) -> None:
        axis = len(self.choosers)
        chooser = _AxisChooser(self)
        chooser.setObjectName(f"axis_{axis}")
        chooser.setMinimumContentsLength(2)
        chooser.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        chooser.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        chooser.activated.connect(lambda _: self.named.emit(axis, chooser.currentData()))
        self._row.insertWidget(axis, chooser, 1)
        self.choosers.append(chooser)

    def _meanings(self, letter: str) -> Iterator[tuple[str, str]]:
        known = dict(MEANINGS)
        if letter not in known:
            yield f"{letter} other", letter
        for other, word in MEANINGS:
            yield f"{other} {word}", other

    @staticmethod
    def _tip(axis: int, image: Image | None) -> str:
        if image is None:
            return ""
        data = image.data[0] if image.multiscale else image.data
        return (
            f"What axis {axis} with its {data.shape[axis]} steps counts. It is a guess where the "
            "layer does not say it.\nSlices and times are planes with objects of their own; "
            "channels show the same objects."
        )


class ImageSection(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Axes, channel, colours, level and contrast of the chosen image.

    Attributes
    ----------
    axes, channel, level, contrast
        The controls; that of the level is there for multiscale images only.
    colours
        Whether the model sees several layers; it is there if there are several.
    stains
        What red, green and blue are.
    tips
        What they are for, by name of control.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.axes = AxesLine(self)
        self.channel, self.level, self.contrast = Chooser(self), Chooser(self), Chooser(self)
        self.colours = Chooser(self)
        for on, (text, tip) in enumerate((_ALONE, _SEVERAL)):
            self.colours.addItem(text, bool(on))
            self.colours.setItemData(on, tip, Qt.ItemDataRole.ToolTipRole)
        self.stains = tuple(Chooser(self) for _ in COLOURS)
        for name, chooser in zip(COLOURS, self.stains, strict=True):
            chooser.setObjectName(name)
            chooser.setToolTip(f"The layer, or channel, that the model sees in {name}.")
        for text, contrast, tip in _CONTRASTS:
            self.contrast.addItem(text, contrast)
            self.contrast.setItemData(self.contrast.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.tips = {
            "axes": "What the axes of the image mean, from the first to the last.",
            "channel": "The colours or the channel that the model sees.",
            "colours": "Whether the model sees the layer alone, or several layers or channels as "
            "one image in colours.",
            "level": "The level of the pyramid that the model sees. 0 has the finest details; a "
            "coarser one is quicker and shows objects that are larger than a tile.\nObjects are "
            "written in pixels of level 0 always.",
            "contrast": "What the model sees as black and as white.",
        }
        self._form = make_form()
        self._form.addRow("Axes", self.axes)
        self._form.addRow("Channel", self.channel)
        self._form.addRow("Colours", self.colours)
        for name, chooser in zip(COLOURS, self.stains, strict=True):
            self._form.addRow(f"    {name.capitalize()}", chooser)
        self._form.addRow("Level", self.level)
        self._form.addRow("Contrast", self.contrast)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addLayout(self._form)

    def follow(self, controller: Controller) -> None:
        """Do what the user wants with the axes and the colours."""
        self.axes.named.connect(lambda axis, letter: controller.name_axis(axis, letter))
        self.colours.activated.connect(lambda row: controller.compose(on=bool(row)))
        for at, chooser in enumerate(self.stains):
            chooser.activated.connect(
                lambda _, at=at, one=chooser: controller.choose_colour(at, one.currentData())
            )

    def show_settings(self, settings: Settings, images: Sequence[Image] = ()) -> None:
        """Show the image and what was chosen for it; ``images``: all that can be chosen."""
        image = settings.image
        self.axes.show_image(image)
        refill(self.channel, channel_choices(image), settings.channel)
        levels = level_choices(image)
        refill(self.level, levels, min(settings.level, len(levels) - 1))
        self._show_row(self.level, len(levels) > 1)
        self._show_colours(settings, images)
        self.contrast.setCurrentIndex(self.contrast.findData(settings.contrast))

    def _show_colours(self, settings: Settings, images: Sequence[Image]) -> None:
        """Show what red, green and blue can be, and are."""
        image, colours = settings.image, settings.colours
        found = stains_of(images)
        several = image is not None and not image.rgb and len(found) > 1
        self._show_row(self.colours, several or colours is not None)
        self.colours.setCurrentIndex(int(colours is not None))
        choices = [("–", None), *((stain.name, stain) for stain in found)]
        for at, chooser in enumerate(self.stains):
            self._show_row(chooser, colours is not None)
            if colours is not None:
                refill(chooser, choices, None)
                chosen = [stain for _, stain in choices]
                stain = colours.stains[at]
                chooser.setCurrentIndex(chosen.index(stain) if stain in chosen else 0)

    def _show_row(self, field: QWidget, shown: bool) -> None:
        for widget in (field, self._form.labelForField(field)):
            widget.setVisible(shown)
