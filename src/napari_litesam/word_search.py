"""Words for an object: passed on as soon as what compares words with pictures is loaded.

Knows a worker and the state, but neither layers nor widgets.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_litesam import segmenters
from napari_litesam.jobs import Lane
from napari_litesam.state import Level

if TYPE_CHECKING:
    from litesam.errors import LiteSamError
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState, Words


class WordSearch:
    """Loads CLIP on the first use.

    Attributes
    ----------
    lane
        The worker that loads.
    ready
        `Words` that can be looked for now.
    missing
        The text that waits because CLIP is not on this computer.
    failed
        The error that loading met.
    """

    ready = Signal(object)
    missing = Signal(str)
    failed = Signal(object)

    def __init__(self, state: PluginState, pool: SegmenterPool) -> None:
        self._state = state
        self._pool = pool
        self.lane = Lane("words")

    def find(self, words: Words, place: str | None = None, *, download: bool = False) -> None:
        """Look for the object that fits words.

        Parameters
        ----------
        words
            What to look for, and in which plane.
        place
            Folder with a CLIP; None: the usual one.
        download
            The user wants it to be downloaded if it is not on this computer.
        """
        self.lane.submit(
            partial(segmenters.load_scorer, self._pool, place, download),
            partial(self._on_loaded, words),
            self._on_error,
        )

    def close(self) -> None:
        """Cancel all work."""
        self.lane.close()

    def _on_loaded(self, words: Words, there: bool) -> None:
        if there:
            self.ready.emit(words)
            return
        self._state.report(
            Level.WARNING, "CLIP, which compares objects with words, is not on this computer."
        )
        self.missing.emit(words.text)

    def _on_error(self, error: LiteSamError) -> None:
        self.failed.emit(error)
