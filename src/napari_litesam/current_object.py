"""The object that the prompts of the plane describe: asked for, shown, and ready to be committed.

Replies to prompts that have changed meanwhile are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_litesam import segmenters
from napari_litesam.jobs import Lane
from napari_litesam.replies import Reply
from napari_litesam.requests import SegmentRequest
from napari_litesam.state import Candidate, Level
from napari_litesam.variants import point_count

if TYPE_CHECKING:
    from litesam.errors import LiteSamError
    from litesam.types import BoolArray, ModelSpec
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers


#: How long a click may wait for its mask before the window goes on without: a pause that nobody
#: sees, and more than a decode takes.
_MOMENT_S = 0.045


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The object in the preview."""

    request: SegmentRequest
    reply: Reply

    @property
    def mask(self) -> BoolArray:
        """(H, W) bool."""
        return self.reply.mask


class CurrentObject:
    """Asks a worker for the object of the prompts and shows the reply.

    Attributes
    ----------
    lane
        The worker.
    awaited
        The object that was to be committed as soon as it is there is there; under which id.
    failed
        The error that a prompt met; the preview is hidden already.
    """

    awaited = Signal(object)
    failed = Signal(object)

    def __init__(self, state: PluginState, pool: SegmenterPool, layers: ViewerLayers) -> None:
        self._state = state
        self._pool = pool
        self._layers = layers
        self.lane = Lane("click")
        self._asked: tuple[Any, ...] | None = None
        self._shown: Shown | None = None
        self._awaits_commit = False
        self._into: int | None = None
        self._wanted: int | None = None
        self._best: Reply | None = None

    @property
    def asked(self) -> bool:
        """Whether there are prompts that the model was asked about."""
        return self._asked is not None

    @property
    def shown(self) -> Shown | None:
        """The object in the preview."""
        return self._shown

    @property
    def ready(self) -> Shown | None:
        """The object in the preview if it is the answer to the prompts of now."""
        shown = self._shown
        return shown if shown is not None and shown.request.key == self._asked else None

    def ask(self, request: SegmentRequest, spec: ModelSpec, candidate: int | None = None) -> None:
        """Ask for the object of a request, unless that was asked already.

        ``candidate``: which of its masks to show; None: the one of highest predicted IoU.
        """
        changed, self._wanted = candidate != self._wanted, candidate
        if request.key == self._asked:
            if changed and self._best is not None and self.ready is not None:
                self._show(request, spec, self._best)
            return
        if self._shown is not None and self._shown.request.plane.key != request.plane.key:
            self.hide()
        self._asked = request.key
        self._state.report(Level.BUSY, "Decoding")
        self.lane.submit(
            partial(segmenters.segment, self._pool, request),
            partial(self._on_segmented, request, spec),
            self._on_error,
        )

    def meet(self) -> None:
        """Give the worker a moment to answer before anything is drawn."""
        self.lane.meet(_MOMENT_S)

    def next_candidate(self, step: int) -> int | None:
        """Return the next mask of the object that is not empty; None if there is no other."""
        shown = self.ready
        if shown is None:
            return None
        reply = shown.reply
        for distance in range(1, reply.candidates):
            other = reply.with_candidate(reply.candidate + step * distance)
            if other.mask.any():
                return other.candidate
        return None

    def await_commit(self, into: int | None = None) -> None:
        """Emit `awaited` when the object that is asked for is there."""
        self._awaits_commit, self._into = True, into
        self._state.report(Level.BUSY, "The object will be committed as soon as it is there")

    def drop(self) -> None:
        """There is nothing to ask for: hide the object; what is being embedded for it goes on."""
        self.lane.drop()
        self._asked = None
        self._awaits_commit = False
        self.hide()

    def cancel(self) -> None:
        """Stop; the prompts are not asked again before they change."""
        self._awaits_commit = False
        self.lane.cancel()

    def forget(self) -> None:
        """Stop; image or model are others now, so the prompts have to be asked again."""
        self.cancel()
        self._asked = None
        self._set_shown(None)

    def ask_again(self) -> None:
        """Let prompts that got no answer be asked again."""
        if self._shown is None:
            self._asked = None

    def hide(self) -> None:
        """Empty the preview."""
        self._set_shown(None)
        self._layers.hide_preview()

    def give_up(self) -> None:
        """Something failed: show nothing and commit nothing."""
        self._awaits_commit = False
        self.hide()

    def close(self) -> None:
        """Cancel all work."""
        self.lane.close()
        self._shown = None

    def _set_shown(self, shown: Shown | None) -> None:
        """Note what is in the preview, and tell the panel which of the candidates it is."""
        self._shown = shown
        candidate = None
        if shown is not None and shown.reply.result is not None and shown.reply.record is not None:
            reply, iou = shown.reply, shown.reply.record.predicted_iou
            candidate = Candidate(reply.candidate, reply.candidates, iou)
        self._state.show_candidate(candidate)

    def _on_error(self, error: LiteSamError) -> None:
        self.give_up()
        self.failed.emit(error)

    def _on_segmented(self, request: SegmentRequest, spec: ModelSpec, result: Reply) -> None:
        if self._state.settings.image is None or request.key != self._asked:
            return
        self._show(request, spec, result)

    def _show(self, request: SegmentRequest, spec: ModelSpec, best: Reply) -> None:
        """Show the wanted candidate of a reply."""
        image = self._state.settings.image
        if image is None:
            return
        self._best = best
        result = best if self._wanted is None else best.with_candidate(self._wanted)
        record = result.record
        area = int(result.mask.sum()) if record is None else record.area
        if area == 0:
            self.give_up()
            self._state.report(
                Level.WARNING,
                "The model found no object there. Add a point on the object, or draw a box."
                if request.prompted
                else "The model found nothing that could be compared with the words.",
            )
            return
        self._layers.show_preview(image, result.mask, None if record is None else record.box)
        self._set_shown(Shown(request, result))
        if self._awaits_commit:
            self._awaits_commit = False
            self.awaited.emit(self._into)
            return
        if result.each:
            found = sum(bool(record.area) for record in result.each)
            self._state.report(
                Level.READY,
                f"{found} objects, {area:,} px in all. Commit them ({{commit}}), or add more.",
            )
            return
        if result.record is None:
            return
        if not request.prompted or result.prompts is None:
            self._state.report(
                Level.READY,
                f"Object of {area:,} px; {result.record.score:.0%} of the fit of all objects. "
                "Commit it ({commit}), or click on another one.",
            )
            return
        text = f"Object of {area:,} px, predicted IoU {result.record.predicted_iou:.2f}. "
        if result.candidates > 1:
            text += (
                f"Mask {result.candidate + 1} of {result.candidates} ({{next_candidate}}: next). "
            )
        if spec.max_points is not None and point_count(result.prompts) >= spec.max_points:
            text += f"{spec.title} takes no more points for it: commit it ({{commit}})."
        else:
            text += "Refine it with more points, or commit it ({commit})."
        self._state.report(Level.READY, text)
