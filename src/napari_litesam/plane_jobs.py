"""Long computations on a whole plane or stack, one at a time: *Embed* and *Everything*. No Qt
beside the lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from litesam.types import MaskRecord
from napari_litesam import embedding, segmenters
from napari_litesam.candidates import Candidates
from napari_litesam.jobs import Job, Lane
from napari_litesam.requests import NotReady, PlaneRequest, resolve_everything, resolve_plane
from napari_litesam.state import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from litesam.errors import LiteSamError
    from napari_litesam.embedding import Focus
    from napari_litesam.reports import Reporter
    from napari_litesam.requests import EverythingRequest, Scene
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState


@dataclass(frozen=True, slots=True, eq=False)
class Proposed:
    """Candidates of a plane for a review; see `Found`."""

    plane: PlaneRequest
    candidates: Candidates
    answers_boxes: bool


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """All objects of a plane.

    Attributes
    ----------
    plane
        The plane.
    objects
        The objects; they share no pixel.
    answers_boxes
        They are the answer to boxes that the user drew.
    """

    plane: PlaneRequest
    objects: list[MaskRecord]
    answers_boxes: bool


class PlaneJobs:
    """Runs what takes long, in a worker of its own.

    Attributes
    ----------
    lane
        The worker.
    started, embedded, found, proposed, failed
        A computation began; so many planes are embedded; all objects of a plane, to be written or
        to be reviewed; an error.
    """

    started = Signal()
    embedded = Signal(int)
    found = Signal(Found)
    proposed = Signal(Proposed)
    failed = Signal(object)

    def __init__(self, state: PluginState, pool: SegmenterPool, reporter: Reporter) -> None:
        self._state = state
        self._pool = pool
        self._reporter = reporter
        self.lane = Lane("plane")
        self._finding = False

    @property
    def finding(self) -> bool:
        """Whether *Everything* runs."""
        return self._finding and self.lane.busy

    def embed(self, scene: Scene, focus: Focus) -> None:
        """Embed the plane shown, or all planes, in the order in which the user looks at them."""
        settings = self._state.settings
        plane = resolve_plane(settings, scene)
        if isinstance(plane, NotReady):
            self._reporter.refuse(plane.reason)
            return
        self._start(
            "Embedding",
            partial(embedding.embed, self._pool, plane, settings.all_planes, focus),
            self.embedded.emit,
        )

    def everything(self, scene: Scene, *, at_once: bool) -> None:
        """Find all objects of the plane shown; ``at_once``: without a review."""
        request = resolve_everything(self._state.settings, scene)
        if isinstance(request, NotReady):
            self._reporter.refuse(request.reason)
            return
        body = segmenters.everything if at_once else segmenters.candidates
        self._start(
            "Segmenting everything",
            partial(body, self._pool, request),
            partial(self._on_everything if at_once else self._on_candidates, request),
            finding=True,
        )

    def _start(
        self, text: str, job: Job, on_done: Callable[[Any], None], *, finding: bool = False
    ) -> None:
        """Start a computation, unless another one runs."""
        if self.lane.busy:
            self._reporter.refuse("Another computation is running; wait or cancel it.")
            return
        self._finding = finding
        self.started.emit()
        self._state.report(Level.BUSY, text)
        self.lane.submit(job, on_done, self._on_error)

    def _on_everything(self, request: EverythingRequest, reply: Any) -> None:
        self.found.emit(Found(request.plane, reply, bool(request.boxes)))

    def _on_candidates(self, request: EverythingRequest, found: Candidates) -> None:
        self.proposed.emit(Proposed(request.plane, found, bool(request.boxes)))

    def _on_error(self, error: LiteSamError) -> None:
        self.failed.emit(error)
