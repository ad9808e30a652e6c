"""By hand: label the sample stack in the Volume section as a user would, and save what is seen.

``python tests/plugin/take_volume_screenshot.py out.png [--width 300] [--propagate | --review]
[--labels FOLDER]``
with a display (``xvfb-run -s "-screen 0 1280x860x24"`` gives one). The model is the real one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget, QScrollArea
from take_screenshot import centres_of, click, key, settle, wait


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("--width", type=int, default=300, help="width of the panel, px")
    parser.add_argument("--propagate", action="store_true", help="correct a copy, carry objects")
    parser.add_argument("--review", action="store_true", help="go to the least sure object")
    parser.add_argument("--labels", help="open these labels of the sample, and review them")
    options = parser.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 860)
    viewer.open_sample("napari-litesam", "embryo")
    _, widget = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    window = viewer.window._qt_window
    docks = [d for d in window.findChildren(QDockWidget) if d.isAncestorOf(widget)]
    window.resizeDocks(docks, [options.width], Qt.Orientation.Horizontal)
    wait(0.5)
    viewer.dims.set_current_step(0, 22)
    viewer.reset_view()
    section = widget.volume
    section.expand(animate=False)
    wait(0.5)
    if options.labels:
        viewer.open(options.labels, plugin="napari-litesam")
        while not section.least.isEnabled():
            wait(0.1)
        print(widget.status.text())
        press(widget, section.least, section.next)
        take(viewer, widget, options.output)
        return
    with tempfile.TemporaryDirectory(prefix="litesam-") as folder:
        section.output.setText(str(Path(folder) / "labels.ome.zarr"))
        section.output.editingFinished.emit()
        for name, value in (("diameter", 13), ("first", 20), ("last", 25), ("extent", 2)):
            getattr(section, name).setValue(value)
        wait(0.5)
        QTest.mouseClick(section.start, Qt.MouseButton.LeftButton)
        settle(widget)
        wait(1.0)
        print(widget.status.text())
        if options.propagate:
            propagate(viewer, widget)
        if options.review:
            press(widget, section.copy, section.least, section.next)
        take(viewer, widget, options.output)


def press(widget: Any, *buttons: Any) -> None:
    """Click buttons one after the other, and tell what the panel says."""
    for button in buttons:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        settle(widget)
        print(widget.status.text())


def take(viewer: Any, widget: Any, output: str) -> None:
    """Take the picture, with the section in sight, and close the window."""
    widget.findChild(QScrollArea).ensureWidgetVisible(widget.volume)
    wait(1.0)
    viewer.window.screenshot(output, canvas_only=False, flash=False)
    viewer.close()


def propagate(viewer: Any, widget: Any) -> None:
    """Carry an object that is clicked on, and go to its worst slice."""
    section = widget.volume
    for layer in list(viewer.layers):
        if layer.metadata.get("litesam_on_disk"):
            layer.visible = False
    section.mode.setCurrentIndex(1)
    wait(0.5)
    image = widget.state.settings.image
    for y, x in centres_of("embryo", widget)[:3]:
        click(viewer, image, (y, x))
        settle(widget)
        key(viewer, Qt.Key.Key_C)
        settle(widget)
    widget.state.select({1, 2, 3})
    wait(0.5)
    QTest.mouseClick(section.propagate.carry, Qt.MouseButton.LeftButton)
    settle(widget)
    wait(0.5)
    print(widget.status.text())
    QTest.mouseClick(section.propagate.worst, Qt.MouseButton.LeftButton)
    settle(widget)
    print(widget.status.text())


if __name__ == "__main__":
    main()
