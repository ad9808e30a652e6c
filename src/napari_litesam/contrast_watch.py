"""Follows the contrast limits and the gamma of the chosen image, late: a slider that is dragged
must not have the image embedded a hundred times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_litesam.contrast import look_of
from napari_litesam.state import Contrast

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_litesam.state import PluginState

#: The user has let go of the slider for so long.
DELAY_MS = 500
_EVENTS = ("contrast_limits", "gamma")


class ContrastWatch:
    """Keeps the setting ``look`` as the chosen layer shows itself, while the contrast is that of
    the layer.

    Parameters
    ----------
    state
        Its settings choose the image and the contrast, and get the look.
    """

    def __init__(self, state: PluginState) -> None:
        self._state = state
        self._images: tuple[Image, ...] = ()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._look)
        state.settings_changed.connect(self._on_settings)
        self._on_settings(frozenset({"image"}))

    @property
    def idle(self) -> bool:
        """Whether no change waits to be taken over."""
        return not self._timer.isActive()

    def close(self) -> None:
        """Let go of the layer."""
        self._state.settings_changed.disconnect(self._on_settings)
        self._timer.stop()
        self._watch(())

    def _on_settings(self, changed: frozenset[str]) -> None:
        if not changed & {"image", "colours", "contrast"}:
            return
        settings = self._state.settings
        images = [] if settings.image is None else [settings.image]
        images += [] if settings.colours is None else settings.colours.layers
        follows = settings.contrast is Contrast.LAYER
        self._watch(tuple(dict.fromkeys(images)) if follows else ())
        self._look()

    def _watch(self, images: tuple[Image, ...]) -> None:
        for old in self._images:
            for name in _EVENTS:
                getattr(old.events, name).disconnect(self._on_look)
        self._images = images
        for new in images:
            for name in _EVENTS:
                getattr(new.events, name).connect(self._on_look)

    def _on_look(self, _event: Any = None) -> None:
        self._timer.start()

    def _look(self) -> None:
        self._timer.stop()
        settings = self._state.settings
        if not self._images or settings.image is None:
            self._state.update(look=None, looks=())
            return
        layers = () if settings.colours is None else settings.colours.layers
        self._state.update(
            look=look_of(settings.image), looks=tuple(look_of(layer) for layer in layers)
        )
