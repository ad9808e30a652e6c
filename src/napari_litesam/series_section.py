"""The section of the panel about a folder of images: where one is in it, on and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_litesam.rows import Chooser, lay_out_now, refill, shortened, side_by_side, wrapped
from napari_litesam.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_litesam.controller import Controller
    from napari_litesam.series import Place

_NOTE = "Labels are written into a folder “labels” by themselves."
_TIPS = {
    "open_folder": "Work on all images of a folder, one after the other, from the first on that "
    "has no labels yet. The labels of each are written into a folder “labels” in it (beside it if "
    "it is called “images”), two seconds after a change and when you go on; what is there already "
    "is opened again.",
    "images": "Go to an image of the folder. ✓: it has labels.",
    "previous_image": "The image before; the labels of this one are written. ({previous_image})",
    "next_image": "The next image; the labels of this one are written. ({next_image})",
}


class SeriesSection(Section):
    """Buttons, and a chooser of images.

    Parameters
    ----------
    name
        Tells the panel name, control and tooltip of each control.
    parent
        The panel.

    Attributes
    ----------
    open_folder, images, previous_image, next_image
        The controls.
    """

    def __init__(
        self, name: Callable[[str, QWidget, str], None], parent: QWidget | None = None
    ) -> None:
        super().__init__(
            "Folder of images",
            "series_section",
            parent,
            tip="Go through the images of a folder; labels are written by themselves.",
        )
        self._folder: tuple[str, tuple[str, ...]] | None = None
        content = QWidget(self)
        self.open_folder = QPushButton("Open folder…", content)
        self.images = Chooser(content)
        self.previous_image = QPushButton("◀ Previous", content)
        self.next_image = QPushButton("Next ▶", content)
        self.note = QLabel(_NOTE, content)
        self.note.setWordWrap(True)
        for key, tip in _TIPS.items():
            control = getattr(self, key)
            if isinstance(control, QPushButton):
                # Keys go on to the canvas: after a click on a button, T and C mean the prompts.
                control.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            name(key, control, tip)
        rows = QVBoxLayout(content)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(6)
        first = side_by_side(self.open_folder)
        rows.addLayout(first)
        rows.addWidget(self.images)
        rows.addLayout(side_by_side(self.previous_image, self.next_image))
        rows.addWidget(self.note)
        self.addWidget(content)

    def follow(self, controller: Controller) -> None:
        """Do what the user wants."""
        self.open_folder.clicked.connect(lambda: self._choose(controller))
        self.images.activated.connect(lambda at: self._go(controller, at))
        self.previous_image.clicked.connect(lambda: controller.previous_image())
        self.next_image.clicked.connect(lambda: controller.next_image())
        controller.series.changed.connect(self.show_place)

    def show_place(self, place: Place) -> None:
        """Show where the user is in a folder."""
        marked = zip(place.names, place.labelled, strict=True)
        entries = [f"{'✓ ' if done else ''}{name}" for name, done in marked]
        if self._folder != (place.folder, place.names):
            self._folder = (place.folder, place.names)
            refill(self.images, [(entry, at) for at, entry in enumerate(entries)], place.at)
        for at, entry in enumerate(entries):  # thousands; one or two differ
            if self.images.itemText(at) != entry:
                self.images.setItemText(at, entry)
        self.images.setCurrentIndex(place.at)
        folder, done, count = Path(place.folder).name, sum(place.labelled), len(place.names)
        self.open_folder.setText(f"Folder {shortened(folder, 18)}…")
        self.note.setText(f"{place.at + 1} of {count}, {done} labelled. {_NOTE}")
        self.note.setToolTip(wrapped(place.folder))
        self.summarize(f"{place.at + 1} of {count}")
        lay_out_now()

    def _choose(self, controller: Controller) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of images")
        if path:
            controller.open_folder(path)

    def _go(self, controller: Controller, at: int) -> None:
        controller.go_to_image(at)
        place = controller.series.place
        if place is not None:  # the chooser shows what is open, until another one is
            self.images.setCurrentIndex(place.at)
