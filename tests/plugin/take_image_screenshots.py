"""By hand: pictures of the panel's part about the image, for the pages.

``python tests/plugin/take_image_screenshots.py out.png [--theme light] [--width 300]
[--pyramid|--colours]`` with a display (``xvfb-run -s "-screen 0 1280x1024x24"`` gives one). The
sample stack has a second channel, or is a pyramid, or two layers that are seen as colours; the
model is the real one.
"""

from __future__ import annotations

import argparse

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget
from take_screenshot import centres_of, click, settle, wait
from tifffile import imread

from litesam.samples import sample_path
from napari_litesam.state import Contrast


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--width", type=int, default=320, help="width of the panel, px")
    parser.add_argument("--pyramid", action="store_true")
    parser.add_argument("--colours", action="store_true")
    options = parser.parse_args()

    stack = np.asarray(imread(sample_path("embryo")))
    top = float(np.percentile(stack, 99.8))
    viewer = napari.Viewer(show=True)
    viewer.theme = options.theme
    viewer.window.resize(1280, 1000)
    if options.pyramid:
        viewer.add_image(
            [stack, stack[:, ::2, ::2]],
            multiscale=True,
            name="embryo, pyramid",
            contrast_limits=(0, top),
            scale=(4, 1, 1),
        )
    elif options.colours:
        for name, data, colour in (("nuclei", stack, "blue"), ("membranes", stack[:, ::-1], "red")):
            look = {"colormap": colour, "blending": "additive", "contrast_limits": (0, top)}
            viewer.add_image(data, name=name, scale=(4, 1, 1), **look)
    else:
        channels = np.stack([stack, stack[:, ::-1]], axis=1)
        viewer.add_image(
            channels, name="embryo, two channels", contrast_limits=(0, top), scale=(4, 1, 1, 1)
        )
    _, widget = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    docks = viewer.window._qt_window.findChildren(QDockWidget)
    viewer.window._qt_window.resizeDocks(
        [dock for dock in docks if dock.isAncestorOf(widget)],
        [options.width],
        Qt.Orientation.Horizontal,
    )
    wait(0.5)
    viewer.dims.set_current_step(0, stack.shape[0] // 2)
    viewer.reset_view()
    widget.contrast.setCurrentIndex(widget.contrast.findData(Contrast.LAYER))
    widget.contrast.activated.emit(widget.contrast.currentIndex())
    if options.colours:
        widget.colours.setCurrentIndex(1)
        widget.colours.activated.emit(1)
    QTest.mouseClick(widget.embedding.ahead, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    wait(8)
    image = widget.state.settings.image
    if not options.pyramid:
        click(viewer, image, centres_of("embryo", widget)[0])
        settle(widget)
    wait(1.5)
    print(widget.foot.text())
    print(widget.foot.toolTip())
    viewer.window.screenshot(options.output, canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    main()
