"""By hand: open the window, click on a sample as a user would, and save what is to be seen.

``python tests/plugin/take_screenshot.py nuclei out.png [--weights FILE] [--everything]`` with a
display (``xvfb-run -s "-screen 0 1280x860x24"`` gives one). Clicks and keys are Qt events on the
canvas; the model is the real one. ``--choose MODEL`` asks for another model, ``--show picker``,
``offer``, ``licence`` or ``failure`` shows what the panel then has to say; set ``LITESAM_HOME`` to
an empty folder to have models missing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QScrollArea, QWidget
from skimage.measure import regionprops
from tifffile import imread

from litesam.io import read_image
from litesam.samples import SAMPLES, sample_path


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", choices=sorted(SAMPLES))
    parser.add_argument("output")
    parser.add_argument("--weights", help="weights file instead of the bundled one")
    parser.add_argument("--everything", action="store_true", help="press Everything at the end")
    parser.add_argument("--review", action="store_true", help="press Everything, do not accept")
    parser.add_argument("--keys", action="store_true", help="unfold the map of keys")
    parser.add_argument("--table", action="store_true", help="unfold the table of objects")
    parser.add_argument("--options", action="store_true", help="unfold the options of everything")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--width", type=int, help="width of the panel, px")
    parser.add_argument("--choose", help="name of a model to choose at the end")
    parser.add_argument("--show", choices=("picker", "offer", "licence", "failure"))
    parser.add_argument("--objects", type=int, default=3, help="objects to click on and commit")
    options = parser.parse_args()

    viewer = napari.Viewer(show=True)
    viewer.theme = options.theme
    viewer.window.resize(1280, 860)
    viewer.open_sample("napari-litesam", options.sample)
    _, widget = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    if options.weights:
        widget.state.update(weights=options.weights)
    if options.width:
        viewer.window._qt_window.resizeDocks(
            [
                dock
                for dock in viewer.window._qt_window.findChildren(QDockWidget)
                if dock.isAncestorOf(widget)
            ],
            [options.width],
            Qt.Orientation.Horizontal,
        )
    wait(0.5)
    image = viewer.layers[0] if widget.state.settings.image is None else widget.state.settings.image
    if image.ndim == 3:
        viewer.dims.set_current_step(0, image.data.shape[0] // 2)
    viewer.reset_view()
    wait(0.5)

    centres = centres_of(options.sample, widget)
    for y, x in centres[: options.objects]:
        click(viewer, image, (y, x))
        settle(widget)
        print(f"click at ({y:.0f}, {x:.0f}):", widget.status.text())
        key(viewer, Qt.Key.Key_C)
        settle(widget)
    if options.everything or options.review:
        QTest.mouseClick(widget.everything, Qt.MouseButton.LeftButton)
        settle(widget)
        print(widget.status.text())
    if options.review:
        for y, x in centres[options.objects : options.objects + 2]:
            click(viewer, image, (y, x))
            settle(widget)
    elif options.everything:
        key(viewer, Qt.Key.Key_C)
        settle(widget)
        print(widget.status.text())
    for y, x in [] if options.review else centres[options.objects : options.objects + 1]:
        click(viewer, image, (y, x))
        settle(widget)
        print(f"click at ({y:.0f}, {x:.0f}):", widget.status.text())
    if options.keys:
        widget.findChild(QWidget, "keys").expand(animate=False)
    if options.table:
        wait(1.0)
        widget.objects.expand(animate=False)
        widget.state.select([2])
        widget.controller.fly_to(2)
        wait(0.3)
        wait(1.0)
        scroll = widget.findChild(QScrollArea)
        scroll.ensureWidgetVisible(widget.session)
    if options.options:
        widget.findChild(QWidget, "everything_options").expand(animate=False)
    wait(0.5)
    if options.choose:
        widget.controller.models.choose(model=options.choose)
        while not widget.controller.models.idle:
            wait(0.1)
        settle(widget)
    if options.show:
        show(widget, options.show)
        # Lists and dialogs are windows of their own.
        QApplication.primaryScreen().grabWindow(0).save(options.output)
    else:
        viewer.window.screenshot(options.output, canvas_only=False, flash=False)
    viewer.close()


def show(widget: Any, what: str) -> None:
    """Bring a list, an offer, a dialog or a failure to the screen."""
    if what == "picker":
        widget.model.showPopup()
    elif what in ("licence", "failure"):
        QTest.mouseClick(widget.offer.download, Qt.MouseButton.LeftButton)
    while what == "failure" and not widget.offer.copy.isVisible():
        wait(0.1)
    wait(1.0)


def centres_of(sample: str, widget: Any) -> list[tuple[float, float]]:
    """Centres of the largest reference objects in the plane shown."""
    path = sample_path(sample).with_name(SAMPLES[sample].labels_file)
    labels = imread(path) if path.suffix == ".tif" else read_image(path).array
    if labels.ndim == 3:
        labels = labels[labels.shape[0] // 2]
    objects = sorted(regionprops(np.asarray(labels)), key=lambda o: -o.area)
    return [o.centroid for o in objects]


def click(viewer: Any, layer: Any, yx: tuple[float, float]) -> None:
    """Click on a pixel of a layer."""
    canvas = viewer.window._qt_viewer.canvas
    transform = canvas.layer_to_visual[layer].node.get_transform("visual", "canvas")
    x, y = transform.map([yx[1] + 0.5, yx[0] + 0.5, 0, 1])[:2]
    position = QPoint(round(float(x)), round(float(y)))
    QTest.mouseMove(canvas.native, position)
    QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, pos=position)


def key(viewer: Any, which: Qt.Key) -> None:
    """Press a key on the canvas."""
    native = viewer.window._qt_viewer.canvas.native
    native.setFocus()
    QTest.keyClick(native, which)


def settle(widget: Any) -> None:
    """Wait until the worker has answered."""
    wait(0.1)
    while widget.controller.busy:
        wait(0.05)
    wait(0.1)


def wait(seconds: float) -> None:
    """Let the window live for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


if __name__ == "__main__":
    main()
