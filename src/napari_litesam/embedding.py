"""Embedding in the order in which the user needs it: the tiles in sight, the plane shown, then the
planes next to it, and all the others. The bodies of jobs; runs in workers.
"""

from __future__ import annotations

import copy
import itertools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from litesam.errors import Cancelled
from litesam.types import Progress
from napari_litesam.jobs import JobContext
from napari_litesam.levels import level_index, scaling_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from litesam.segmenter import Segmenter
    from litesam.types import BoxPrompt, Tile
    from napari_litesam.levels import Scaling
    from napari_litesam.requests import ImageSource, PlaneRequest
    from napari_litesam.segmenters import SegmenterPool

#: Index of a plane; () in a 2-D image.
Index = tuple[int, ...]


#: Windows of small objects that are embedded with a plane.
_MOST_CLOSER = 16


class Focus:
    """Where the user looks: a plane, and a field of it in pixels of level 0. Thread-safe: the
    window writes it, a worker that embeds asks it before each tile.
    """

    def __init__(self) -> None:
        self._at: tuple[Index, BoxPrompt | None] = ((), None)

    def look(self, index: Index | None, field: BoxPrompt | None) -> None:
        """Take note of the plane and the field that are shown now."""
        self._at = (index or (), field)  # one assignment, so readers see both or neither

    def is_on(self, plane: Index) -> bool:
        """Whether a plane is the one that is shown."""
        return self._at[0] == plane

    @property
    def at(self) -> tuple[Index, BoxPrompt | None]:
        """The plane and the field that are shown now."""
        return self._at

    def next_plane(self, planes: list[Index]) -> Index:
        """Return the plane that is nearest to the one shown."""
        index = self._at[0]
        return min(planes, key=lambda plane: (_steps(plane, index), plane))

    def next_tile(self, tiles: list[Tile], scaling: Scaling) -> Tile:
        """Return the tile that is nearest to the middle of the field; those in sight first."""
        field = self._at[1]
        if field is None:
            return tiles[0]
        seen = scaling.box(field)
        y, x = (seen.y0 + seen.y1) / 2, (seen.x0 + seen.x1) / 2

        def order(tile: Tile) -> tuple[bool, float, int]:
            core = tile.core
            hidden = (
                core.y1 <= seen.y0 or seen.y1 <= core.y0 or core.x1 <= seen.x0 or seen.x1 <= core.x0
            )
            far = abs((core.y0 + core.y1) / 2 - y) + abs((core.x0 + core.x1) / 2 - x)
            return (hidden, far, tile.index)

        return min(tiles, key=order)


def _steps(plane: Index, other: Index) -> int:
    """Distance of two planes; the last axis, usually slices, counts least."""
    pairs = zip(plane, other, strict=False)
    return sum(abs(a - b) * 1000 ** (len(plane) - 1 - n) for n, (a, b) in enumerate(pairs))


class Precedence:
    """Lets a click go before what is embedded in the background. Thread-safe."""

    def __init__(self) -> None:
        self._urgent = 0
        self._changed = threading.Condition()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """What runs inside goes first."""
        with self._changed:
            self._urgent += 1
        try:
            yield
        finally:
            with self._changed:
                self._urgent -= 1
                self._changed.notify_all()

    def give_way(self, cancelled: Callable[[], bool]) -> None:
        """Wait until nothing urgent runs; a cancel ends the wait."""
        with self._changed:
            while self._urgent and not cancelled():
                self._changed.wait(0.05)


class Record:
    """Which tiles of which planes were embedded, by source. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tiles: dict[Any, dict[Index, set[int]]] = {}
        self._counts: dict[Any, int] = {}

    def open(self, source: ImageSource, tiles: int) -> None:
        """Take note of how many tiles a plane has."""
        with self._lock:
            self._counts[source.key] = tiles

    def add(self, source: ImageSource, index: Index | None, tile: int) -> None:
        """Take note of a tile that is embedded."""
        with self._lock:
            self._tiles.setdefault(source.key, {}).setdefault(index or (), set()).add(tile)

    def trim(self, most: int) -> None:
        """Forget the tiles that were noted first, because there is room for so many only."""
        with self._lock:
            count = sum(len(t) for planes in self._tiles.values() for t in planes.values())
            for source in list(self._tiles):
                planes = self._tiles[source]
                for index in list(planes):
                    if count <= most:
                        return
                    count -= len(planes.pop(index))

    def clear(self) -> None:
        """Forget all, because the embeddings are gone."""
        with self._lock:
            self._tiles.clear()

    def of(self, source: ImageSource, index: Index | None) -> tuple[int, int, int]:
        """Return the number of complete planes, of embedded tiles of one plane, and of all tiles
        of a plane (0 while that is not known).
        """
        with self._lock:
            planes = self._tiles.get(source.key, {})
            count = self._counts.get(source.key, 0)
            complete = sum(count > 0 and len(tiles) >= count for tiles in planes.values())
            return complete, len(planes.get(index or (), ())), count


def embed(
    pool: SegmenterPool,
    request: PlaneRequest,
    all_planes: bool,
    focus: Focus,
    context: JobContext,
    *,
    most_tiles: int | None = None,
    quiet: bool = False,
) -> int:
    """Embed one plane, or all of a stack, those first that the user looks at.

    Parameters
    ----------
    pool, request
        What embeds, and the plane.
    all_planes
        All planes of its source and not only that one.
    focus
        Where the user looks; may move while this runs.
    context
        Progress and cancel.
    most_tiles
        Embed no more than this, and than there is room for at a time; None: all. Those that are
        there already count: what is near is not thrown out of the memory for what is far.
    quiet
        Tell no progress.

    Returns
    -------
    int
        Number of planes that are complete.

    Raises
    ------
    Cancelled
        If the user said so; what is embedded is kept.
    LiteSamError
        If the model or the image cannot be used.
    """
    source = request.source
    if quiet:
        context = JobContext(lambda _progress: None, context.cancelled)
    segmenter, scaling = pool.get(source, context), scaling_of(source)
    planes: list[Index] = [request.index or ()]
    if all_planes and source.planes:
        planes = list(itertools.product(*map(range, source.planes)))
    left = {plane: list(segmenter.tiles) for plane in planes}
    total, embedded = len(planes), 0

    def room() -> int:
        """How many more may be embedded."""
        if most_tiles is None:
            return _MOST_CLOSER
        return min(most_tiles, pool.room() or most_tiles) - embedded

    while left and room() > 0:
        pool.precedence.give_way(context.cancelled)
        done = total - len(left)
        if context.cancelled():
            raise Cancelled(f"Cancelled after {done} of {total} planes; what is embedded is kept.")
        plane = focus.next_plane(list(left))
        tile = focus.next_tile(left[plane], scaling)
        if total > 1:
            context.on_progress(Progress(done, total, f"Embedding plane {plane}"))
        else:
            count = len(segmenter.tiles)
            at = count - len(left[plane])
            context.on_progress(Progress(at, count, f"Embedding tile {at + 1}"))
        _with_tiles(segmenter, tile).embed(
            level_index(source, plane or None), cancelled=context.cancelled
        )
        pool.record.add(source, plane, tile.index)
        embedded += 1
        left[plane].remove(tile)
        if not left[plane]:
            del left[plane]
            if focus.is_on(plane):
                most = min(room(), _MOST_CLOSER)
                embedded += _embed_closer(pool, segmenter, source, plane, focus, context, most)
    context.on_progress(Progress(total, total, "Embedded"))
    return total - len(left)


def _embed_closer(
    pool: SegmenterPool,
    segmenter: Segmenter,
    source: ImageSource,
    plane: Index,
    focus: Focus,
    context: JobContext,
    most: int,
) -> int:
    """Embed the windows in which clicks on small objects of a plane are answered: a few, those in
    sight first; return how many. The others are embedded when a click needs them.
    """
    index = level_index(source, plane or None)
    left = segmenter.closer_windows(index)
    total = min(len(left), most)
    for at in range(total):
        if not focus.is_on(plane):
            return at
        pool.precedence.give_way(context.cancelled)
        if context.cancelled():
            raise Cancelled("Cancelled; the plane is embedded, its small objects are not yet.")
        context.on_progress(Progress(at, total, f"Embedding small objects, window {at + 1}"))
        window = focus.next_tile(left, scaling_of(source))
        _with_tiles(segmenter, window).embed(index, cancelled=context.cancelled)
        left.remove(window)
    return total


def _with_tiles(segmenter: Segmenter, *tiles: Tile) -> Segmenter:
    """Segmenter of some of the tiles; planes and embeddings are shared."""
    other = copy.copy(segmenter)
    other.tiles = tiles
    return other
