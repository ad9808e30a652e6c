"""What is freed of a removed layer is freed in the OpenGL context that drew it.

napari (seen in 0.9.2) tells OpenGL to free textures and buffers as soon as a layer is removed, in
whichever context is current then: with two windows often the other one's, where the same numbers
name other objects. The next paint ends the program or leaves the canvas black. Every context of a
panel's own window is made current before one of its layers goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow, QWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel


class OwnContext(QObject):  # type: ignore[misc]  # qtpy is untyped
    """Make the canvas of a panel's window current before a layer is removed.

    Parameters
    ----------
    viewer
        The viewer whose layers are drawn in the window.
    panel
        A widget in that window, docked or floating; it owns this object.
    """

    def __init__(self, viewer: ViewerModel, panel: QWidget) -> None:
        super().__init__(panel)
        self._panel = panel
        removing = viewer.layers.events.removing
        removing.connect(self._make_current)
        panel.destroyed.connect(lambda: removing.disconnect(self._make_current))

    def _make_current(self, event: Any = None) -> None:
        window: QWidget | None = self._panel
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is None or window.centralWidget() is None:
            return
        for canvas in window.centralWidget().findChildren(QOpenGLWidget):
            if canvas.isValid():
                canvas.makeCurrent()
