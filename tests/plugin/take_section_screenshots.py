"""By hand: every section of the panel, 300 pixels wide, light and dark, for the pages.

``python tests/plugin/take_section_screenshots.py docs/images`` with a display (``xvfb-run -s
"-screen 0 1280x1024x24"`` gives one) writes ``section-NAME.png`` for each section, the light theme
on the left. Clicks and keys are Qt events; the model is the real one. It works in a user's folder
of its own, so that nothing of yours is shown.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image as Picture
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget, QScrollArea, QWidget
from take_screenshot import centres_of, click, key, settle, wait

_THEMES = ("light", "dark")
_WIDTH = 300
_GAP = 12


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    taken: dict[str, list[QImage]] = {}
    for theme in _THEMES:
        with tempfile.TemporaryDirectory(prefix="litesam-") as home:
            os.environ["LITESAM_HOME"] = home
            leave_work_behind(theme)
            for name, image in [
                *of_a_plane(theme),
                *of_a_stack(theme),
                *of_a_folder(theme),
            ]:
                taken.setdefault(name, []).append(image)
    for name, images in taken.items():
        beside(images).save(str(options.folder / f"section-{name}.png"))
        print(name, [(image.width(), image.height()) for image in images])


def open_window(theme: str, sample: str) -> tuple[Any, Any]:
    """Open a window with a sample and the panel."""
    viewer = napari.Viewer(show=True)
    viewer.theme = theme
    viewer.window.resize(1100, 980)
    viewer.open_sample("napari-litesam", sample)
    _, panel = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    window = viewer.window._qt_window
    docks = [one for one in window.findChildren(QDockWidget) if one.isAncestorOf(panel)]
    window.resizeDocks(docks, [_WIDTH], Qt.Orientation.Horizontal)
    wait(1.0)
    viewer.reset_view()
    wait(0.5)
    return viewer, panel


def leave_work_behind(theme: str) -> None:
    """Close a window with an object in it that was not saved."""
    viewer, panel = open_window(theme, "nuclei")
    click(viewer, viewer.layers[0], centres_of("nuclei", panel)[0])
    settle(panel)
    key(viewer, Qt.Key.Key_C)
    settle(panel)
    viewer.close()
    wait(0.5)


def of_a_plane(theme: str) -> list[tuple[str, QImage]]:
    """Work on the sample of nuclei, and take the sections as they come into use."""
    viewer, panel = open_window(theme, "nuclei")
    image = panel.state.settings.image
    wait(1.0)
    taken = [("unsaved", part(panel, panel.unsaved))]
    QTest.mouseClick(panel.unsaved.put_off, Qt.MouseButton.LeftButton)
    wait(0.3)
    places = centres_of("nuclei", panel)
    for y, x in places[1:5]:
        click(viewer, image, (y, x))
        settle(panel)
        key(viewer, Qt.Key.Key_C)
        settle(panel)
    click(viewer, image, places[0])
    settle(panel)
    taken.append(("image", part(panel, panel.image_section)))
    taken.append(("prompts", part(panel, panel.prompts_section)))
    taken.append(("state", panel_foot(panel)))
    key(viewer, Qt.Key.Key_C)
    settle(panel)
    press(panel.everything, panel)
    wait(1.5)
    taken.append(("everything", part(panel, panel.everything_section)))
    key(viewer, Qt.Key.Key_C)
    settle(panel)
    section = panel.findChild(QWidget, "everything_options")
    press(section.toggleButton(), panel)
    taken.append(("options", part(panel, section)))
    press(section.toggleButton(), panel)
    if not panel.objects.isExpanded():
        press(panel.objects.toggleButton(), panel)
    wait(1.0)
    panel.findChild(QScrollArea).ensureWidgetVisible(panel.objects)
    wait(0.3)
    table = panel.objects.table
    row = QPoint(20, table.rowViewportPosition(2) + 8)
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=row)
    wait(0.5)
    taken.append(("objects", part(panel, panel.objects)))
    press(panel.objects.toggleButton(), panel)
    taken.append(("session", part(panel, panel.session)))
    press(panel.keys.toggleButton(), panel)
    taken.append(("keys", part(panel, panel.keys)))
    press(panel.keys.toggleButton(), panel)
    # What is folded and chosen is remembered, also for the other theme.
    sections = (panel.image_section, panel.prompts_section, panel.everything_section)
    panel.state.update(policy="overwrite")
    for section in sections:
        press(section.toggleButton(), panel)
    taken.append(("folded", part(panel, panel.image_section, panel.keys)))
    panel.state.update(policy="never_overwrite")
    for section in sections:
        press(section.toggleButton(), panel)
    viewer.close()
    wait(0.5)
    return taken


def of_a_stack(theme: str) -> list[tuple[str, QImage]]:
    """Take the section about whole stacks."""
    viewer, panel = open_window(theme, "embryo")
    QTest.mouseClick(panel.unsaved.put_off, Qt.MouseButton.LeftButton)
    press(panel.volume.toggleButton(), panel)
    taken = [("volume", part(panel, panel.volume))]
    panel.volume.mode.setFocus()
    QTest.keyClick(panel.volume.mode, Qt.Key.Key_Down)
    press(panel.volume.propagate.section.toggleButton(), panel)
    taken.append(("propagate", part(panel, panel.volume)))
    press(panel.volume.propagate.section.toggleButton(), panel)
    press(panel.volume.toggleButton(), panel)
    viewer.close()
    wait(0.5)
    return taken


def of_a_folder(theme: str) -> list[tuple[str, QImage]]:
    """Label the first image of a folder, and go on to the second."""
    viewer, panel = open_window(theme, "nuclei")
    QTest.mouseClick(panel.unsaved.put_off, Qt.MouseButton.LeftButton)
    whole = np.asarray(viewer.layers[0].data)
    folder = Path(tempfile.mkdtemp()) / "plate 7"
    folder.mkdir()
    for number in range(8):
        Picture.fromarray(whole[:384, 40 * number :][:, :384]).save(
            folder / f"well {number + 1}.png"
        )
    panel.controller.open_folder(str(folder))
    settle(panel)
    wait(1.0)
    inside = [at for at in centres_of("nuclei", panel) if max(at) < 380]
    click(viewer, panel.state.settings.image, inside[0])
    settle(panel)
    key(viewer, Qt.Key.Key_C)
    settle(panel)
    key(viewer, Qt.Key.Key_PageDown)
    settle(panel)
    wait(2.0)
    if not panel.series.isExpanded():
        press(panel.series.toggleButton(), panel)
    taken = [("series", part(panel, panel.series))]
    press(panel.series.toggleButton(), panel)
    viewer.close()
    wait(0.5)
    return taken


def press(button: Any, panel: Any) -> None:
    """Scroll to a button, click on it, and wait for what comes of it."""
    panel.findChild(QScrollArea).ensureWidgetVisible(button)
    wait(0.2)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    wait(0.7)
    settle(panel)


def part(panel: Any, first: QWidget, last: QWidget | None = None) -> QImage:
    """Picture of the panel from the top of one control to the bottom of another."""
    content = panel.findChild(QScrollArea).widget()
    top = first.mapTo(content, QPoint(0, 0)).y()
    end = first if last is None else last
    bottom = end.mapTo(content, QPoint(0, end.height())).y()
    area = QRect(0, max(top - 4, 0), content.width(), bottom - top + 8)
    return content.grab(area).toImage()


def panel_foot(panel: Any) -> QImage:
    """Picture of what stays in sight below all sections."""
    top = panel.status_line.y()
    return panel.grab(QRect(0, top, panel.width(), panel.height() - top)).toImage()


def beside(images: list[QImage]) -> QImage:
    """One picture of several, from left to right."""
    width = sum(image.width() for image in images) + _GAP * (len(images) - 1)
    whole = QImage(width, max(image.height() for image in images), QImage.Format.Format_ARGB32)
    whole.fill(QColor(0, 0, 0, 0))
    painter, x = QPainter(whole), 0
    for image in images:
        painter.drawImage(x, 0, image)
        x += image.width() + _GAP
    painter.end()
    return whole


if __name__ == "__main__":
    main()
