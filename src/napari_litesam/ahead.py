"""Follows where the user looks: embeds that in the background, and tells what is embedded and what
it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import psutil
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_litesam import embedding, segmenters
from napari_litesam.embedding import Focus
from napari_litesam.jobs import Lane
from napari_litesam.requests import PlaneRequest, resolve_plane, visible_field
from napari_litesam.segmenters import CacheSize

if TYPE_CHECKING:
    from collections.abc import Callable

    from litesam.errors import LiteSamError
    from litesam.types import BoxPrompt
    from napari_litesam.requests import Scene
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState

#: How often the window asks where the user looks; every so many times it also asks for the size of
#: the cache, which takes longer on a disk.
_LOOK_MS = 250
_LOOKS_PER_SIZE = 4
_LOOKS_PER_SIZE_OF_DISK = 40
#: Memory is told in tens of megabytes: the panel is not drawn anew for every object in it.
_MEMORY_DIGITS = -7
#: Tiles that are embedded ahead while embeddings are kept in memory, of which there is less.
MOST_TILES_IN_MEMORY = 96


@dataclass(frozen=True, slots=True)
class Overview:
    """What is embedded and what it takes.

    Attributes
    ----------
    model, device
        The model in use and where it runs; "" while it is not loaded.
    planes, planes_done
        Planes of the image and how many are embedded; 0 without an image.
    tiles, tiles_done
        The same for the tiles of the plane shown; 0 while it is not known.
    cache
        Embeddings that are kept; None while it is not known.
    memory_bytes
        Memory of the whole program.
    ahead
        Whether something is being embedded in the background now.
    """

    model: str
    device: str = ""
    planes: int = 0
    planes_done: int = 0
    tiles: int = 0
    tiles_done: int = 0
    cache: CacheSize | None = None
    memory_bytes: int = 0
    ahead: bool = False


class Ahead:
    """Embeds what the user looks at, in a worker of its own, as long as the setting ``ahead`` is
    on.

    Parameters
    ----------
    state, pool
        Settings, and what embeds.
    scene
        Gives what the viewer shows.

    Attributes
    ----------
    focus
        Where the user looks; other jobs may follow it too.
    lane
        The worker.
    changed
        The `Overview` changed.
    failed
        An error of the background.
    """

    changed = Signal(object)
    failed = Signal(object)

    def __init__(self, state: PluginState, pool: SegmenterPool, scene: Callable[[], Scene]) -> None:
        self._state = state
        self._pool = pool
        self._scene = scene
        self.focus = Focus()
        self.lane = Lane("ahead")
        self._sizes = Lane("sizes")
        self._cache: CacheSize | None = None
        self._overview: Overview | None = None
        #: What was embedded, or is, or could not be.
        self._begun: tuple[Any, ...] | None = None
        #: Where the user looked when what the memory holds was embedded, and no more; None: that
        #: is not so.
        self._filled: Any = None
        self._looks = 0
        self._closed = False
        self._timer = QTimer()
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.look)
        self._timer.start()
        state.settings_changed.connect(self._on_settings)

    @property
    def idle(self) -> bool:
        """Whether no job runs at all."""
        return self.lane.idle and self._sizes.idle

    def close(self) -> None:
        """Cancel all work."""
        self._closed = True
        self._timer.stop()
        self._state.settings_changed.disconnect(self._on_settings)
        self.lane.close()
        self._sizes.close()

    def look(self) -> None:
        """Take note of where the user looks, and begin to embed that."""
        if self._closed:
            return
        plane = resolve_plane(self._state.settings, self._scene())
        if isinstance(plane, PlaneRequest):
            self.focus.look(plane.index, self._field())
            if self._state.settings.ahead:
                self._begin(plane)
        every = _LOOKS_PER_SIZE_OF_DISK if self._state.settings.disk else _LOOKS_PER_SIZE
        if self._looks % every == 0:
            self.measure()
        self._looks += 1
        self._tell(plane if isinstance(plane, PlaneRequest) else None)

    def measure(self) -> None:
        """Ask for the size of the cache."""
        if self._sizes.idle and not self._closed:
            self._sizes.submit(
                partial(segmenters.cache_size, self._pool), self._on_size, self.failed.emit
            )

    def clear_cache(self) -> None:
        """Remove all embeddings that are kept."""
        self.lane.cancel()
        self._sizes.submit(
            partial(segmenters.clear_cache, self._pool), self._on_cleared, self.failed.emit
        )

    def _on_settings(self, changed: frozenset[str]) -> None:
        if "disk" in changed:
            self._pool.use_disk(self._state.settings.disk)
            self.measure()
        if changed & {"ahead", "disk", "image"}:
            self._begun = None
            self.lane.cancel()

    def _field(self) -> BoxPrompt | None:
        """Return the field that is shown; None if there is none."""
        image = self._state.settings.image
        if image is None:
            return None
        field = visible_field(image)
        return field if field.y0 < field.y1 and field.x0 < field.x1 else None

    def _begin(self, plane: PlaneRequest) -> None:
        """Embed all planes of an image, from the one shown on, unless that was begun already.

        Of what is kept in memory there is not room for all: then what is missing near the place
        that the user looks at is embedded, and again near the next one when the user goes on.
        """
        key, at = plane.source.key, self.focus.at
        if key == self._begun and self._filled in (None, at):
            return
        if self.lane.busy:
            self.lane.cancel()
        self._begun, self._filled = key, None
        most = None if self._state.settings.disk else MOST_TILES_IN_MEMORY
        job = partial(
            embedding.embed, self._pool, plane, True, self.focus, most_tiles=most, quiet=True
        )
        self.lane.submit(job, partial(self._on_done, at, prod(plane.source.planes)), self._on_error)

    def _on_done(self, at: Any, total: int, complete: int) -> None:
        if complete < total:
            self._filled = at
        self.measure()

    def _on_cleared(self, size: CacheSize) -> None:
        self._begun = None
        self._on_size(size)

    def _on_error(self, error: LiteSamError) -> None:
        self.failed.emit(error)

    def _on_size(self, size: CacheSize) -> None:
        self._cache = size

    def _tell(self, plane: PlaneRequest | None) -> None:
        settings = self._state.settings
        device = self._pool.device((settings.model, settings.device, settings.weights))
        memory = round(psutil.Process().memory_info().rss, _MEMORY_DIGITS)
        overview = Overview(settings.model, device, cache=self._cache, memory_bytes=memory)
        if plane is not None:
            source = plane.source
            total = prod(source.planes)
            complete, done, tiles = self._pool.record.of(source, plane.index)
            overview = Overview(
                settings.model,
                device,
                total,
                complete,
                tiles,
                done,
                self._cache,
                memory,
                self.lane.busy,
            )
        if overview != self._overview:
            self._overview = overview
            self.changed.emit(overview)
