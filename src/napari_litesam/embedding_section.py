"""The part of the panel about embeddings: compute them now or ahead, and where they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_litesam.rows import side_by_side

if TYPE_CHECKING:
    from napari_litesam.controller import Controller
    from napari_litesam.state import PluginState, Settings


class EmbeddingSection(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Buttons and boxes.

    Attributes
    ----------
    embed, all_planes, ahead, disk, clear_cache
        The controls.
    tips
        What they are for, by name of control.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.embed = QPushButton("Embed", self)
        self.all_planes = QCheckBox("all planes", self)
        self.ahead = QCheckBox("ahead", self)
        self.disk = QCheckBox("keep on disk", self)
        self.clear_cache = QPushButton("Clear cache", self)
        self.tips = {
            "embed": "Compute the image's embedding now, so that the first click is quick: what "
            "you see first, then the rest.\nNot needed: the first click does it as well.",
            "all_planes": "Embed every plane of the stack.",
            "ahead": "Embed in the background while you work: what you see first, then the planes "
            "next to it, then the rest of the image. Clicks always go first.",
            "disk": "Keep embeddings in your cache folder: after a restart nothing is embedded "
            "again. Takes about 4 MB for each tile, 10 GB at most; the oldest go first.\nOff: they "
            "are kept in memory until napari is closed.",
            "clear_cache": "Remove all embeddings that are kept (on disk, if that is ticked). "
            "Objects and prompts stay; images are embedded again when that is needed.",
        }
        for name in self.tips:
            # Keys go on to the canvas: after a click on a button, T and C still mean the prompts.
            getattr(self, name).setFocusPolicy(Qt.FocusPolicy.TabFocus)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        first = side_by_side(self.embed, self.all_planes, self.ahead)
        first.setStretch(0, 1)
        rows.addLayout(first)
        second = side_by_side(self.clear_cache, self.disk)
        second.setStretch(0, 1)
        rows.addLayout(second)

    def follow(self, state: PluginState, controller: Controller) -> None:
        """Do what the user wants with the controls."""
        self.embed.clicked.connect(lambda: controller.embed())
        self.all_planes.toggled.connect(lambda on: state.update(all_planes=on))
        self.ahead.toggled.connect(lambda on: state.update(ahead=on))
        self.disk.toggled.connect(lambda on: state.update(disk=on))
        self.clear_cache.clicked.connect(lambda: controller.ahead.clear_cache())

    def show_settings(self, settings: Settings) -> None:
        """Show what was chosen."""
        self.all_planes.setChecked(settings.all_planes)
        self.ahead.setChecked(settings.ahead)
        self.disk.setChecked(settings.disk)
