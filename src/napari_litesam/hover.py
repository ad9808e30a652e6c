"""A preview under the pointer, before any click: what a click there would give."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from litesam.types import PointPrompt, Prompts
from napari_litesam import segmenters
from napari_litesam.jobs import Lane
from napari_litesam.requests import NotReady, PlaneRequest, SegmentRequest, resolve_plane
from napari_litesam.state import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from litesam.errors import LiteSamError
    from napari_litesam.replies import Reply
    from napari_litesam.requests import Scene
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

#: At most one decode in this time, milliseconds.
INTERVAL_MS = 80


class Hover:
    """Shows the object under the pointer while the setting ``hover`` is on and nothing is prompted.

    Nothing of it is a prompt: it cannot be committed, undone or saved.

    Parameters
    ----------
    viewer, state, pool, layers
        Where the pointer moves, the settings, what decodes, and where the preview is shown.
    scene
        Gives what the viewer shows.
    prompted
        Whether there are prompts or words, whose preview has precedence.

    Attributes
    ----------
    lane
        The worker.
    decoded
        Number of previews that were asked for.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        pool: SegmenterPool,
        layers: ViewerLayers,
        scene: Callable[[], Scene],
        prompted: Callable[[], bool],
    ) -> None:
        self._viewer, self._state, self._pool, self._layers = viewer, state, pool, layers
        self._scene, self._prompted = scene, prompted
        self.lane = Lane("hover")
        self.decoded = 0
        self._position: tuple[float, ...] | None = None
        self._shown = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._ask)
        state.settings_changed.connect(self._on_settings)
        viewer.mouse_move_callbacks.append(self._on_move)

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self.lane.idle and not self._timer.isActive()

    def close(self) -> None:
        """Cancel all work and let go of the viewer."""
        self._timer.stop()
        self._state.settings_changed.disconnect(self._on_settings)
        if self._on_move in self._viewer.mouse_move_callbacks:
            self._viewer.mouse_move_callbacks.remove(self._on_move)
        self.lane.close()

    def _on_settings(self, changed: frozenset[str]) -> None:
        if changed & {"hover", "tool", "image"} and not self._wanted():
            self._forget()

    def _wanted(self) -> bool:
        settings = self._state.settings
        return settings.hover and settings.tool is Tool.POINT and not self._prompted()

    def _on_move(self, _viewer: Any, event: Any) -> None:
        """Take note of where the pointer is; the newest place counts."""
        if not self._wanted() or getattr(event, "is_dragging", False):
            return
        self._position = tuple(float(v) for v in event.position)
        if not self._timer.isActive():
            self._timer.start()

    def _ask(self) -> None:
        """Ask for the object under the pointer; a reply that comes late is dropped by the lane."""
        if not self._wanted() or self._position is None:
            return
        request = self._request(self._position)
        if request is None:
            self._forget()
            return
        if not self.lane.idle:
            self._timer.start()  # again, with the place of then
            return
        self.decoded += 1
        self.lane.submit(
            partial(segmenters.peek, self._pool, request),
            partial(self._on_reply, self._position, request),
            self._on_error,
        )

    def _request(self, position: tuple[float, ...]) -> SegmentRequest | None:
        """Return what a click at a place of the world would ask; None outside of the image."""
        image = self._state.settings.image
        plane = resolve_plane(self._state.settings, self._scene())
        if image is None or isinstance(plane, NotReady):
            return None
        y, x = (float(v) for v in np.asarray(image.world_to_data(position))[-2:])
        height, width = plane.source.shape_yx
        if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
            return None
        point = PointPrompt(float(np.clip(y, 0, height - 1)), float(np.clip(x, 0, width - 1)))
        return SegmentRequest(plane, Prompts(points=(point,)))

    def _on_reply(
        self, position: tuple[float, ...], request: SegmentRequest, reply: Reply | None
    ) -> None:
        image = self._state.settings.image
        if image is None or not self._wanted():
            return
        plane = resolve_plane(self._state.settings, self._scene())
        here = isinstance(plane, PlaneRequest) and plane.key == request.plane.key
        if reply is not None and here:  # another image or slice may be shown by now
            box = None if reply.record is None else reply.record.box
            self._layers.show_preview(image, reply.mask, box)
            self._shown = True
        if position != self._position and not self._timer.isActive():
            self._timer.start()

    def _on_error(self, _error: LiteSamError) -> None:
        """Show nothing: a click there will say what is wrong."""
        self._forget()

    def _forget(self) -> None:
        """Take the preview away, unless it is that of a prompt by now."""
        self._position = None
        self._timer.stop()
        self.lane.drop()
        if self._shown and not self._prompted():
            self._layers.hide_preview()
        self._shown = False
