"""The review of everything mode: candidates are shown, filtered, clicked on, accepted or discarded.

What is under review is a part of the moment that undo goes back to. No Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_litesam import candidates
from napari_litesam.candidates import Candidates, Filters, Verdicts
from napari_litesam.committer import Outcome
from napari_litesam.requests import NotReady, PlaneRequest, look_at, same_pixels
from napari_litesam.state import ReviewStatus

if TYPE_CHECKING:
    from napari_litesam.committer import Committer
    from napari_litesam.history import History
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

_NOTHING = "There are no candidates under review; press Everything."


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """Candidates of a plane and what the user said about them.

    Attributes
    ----------
    plane
        The plane.
    found
        The candidates.
    filters, verdicts
        The sliders, and what was clicked on.
    answers_boxes
        They are the answer to boxes that the user drew.
    """

    plane: PlaneRequest
    found: Candidates
    filters: Filters
    verdicts: Verdicts = field(default_factory=Verdicts)
    answers_boxes: bool = False


class Reviewer:
    """Holds the review of one panel.

    Attributes
    ----------
    changed
        The review is another one now.
    """

    changed = Signal()

    def __init__(
        self,
        state: PluginState,
        layers: ViewerLayers,
        history: History,
        committer: Committer,
    ) -> None:
        self._state = state
        self._layers = layers
        self._history = history
        self._committer = committer
        self._painted: Review | None = None

    @property
    def review(self) -> Review | None:
        """What is under review, if it belongs to the image and channel that are chosen."""
        review, settings = self._history.now.review, self._state.settings
        if not isinstance(review, Review) or settings.image is None:
            return None
        source = review.plane.source
        seen = look_at(settings)
        if isinstance(seen, NotReady):
            return None
        same = same_pixels(seen.layer, source.layer) and source.axes == seen.axes
        # Without a choice the channel is that at the slider.
        return review if same and settings.channel in (None, source.channel) else None

    def bring_back(self, review: Review) -> None:
        """Go on with a review as it was, as a step."""
        self._set(review, "")

    def begin(self, plane: PlaneRequest, found: Candidates, *, answers_boxes: bool) -> Outcome:
        """Put candidates under review."""
        if not found.records:
            return Outcome(
                False,
                "Everything found no object. Lower the thresholds, or try the other proposals.",
            )
        review = Review(plane, found, found.filters, answers_boxes=answers_boxes)
        self._set(review, "")
        return Outcome(
            True,
            f"Everything: {_counted(len(found.records))}. Move the sliders, then accept all "
            "({accept_all}).",
        )

    def filter(self, **changes: Any) -> None:
        """Change filters; moves of one slider after the other are one step of undo."""
        review = self.review
        if review is None or replace(review.filters, **changes) == review.filters:
            return
        filters = replace(review.filters, **changes)
        self._set(replace(review, filters=filters), "filter " + " ".join(sorted(changes)))

    def click(self, y: float, x: float) -> None:
        """Accept or reject the candidate at a pixel of the plane."""
        review = self.review
        if review is None:
            return
        verdicts = candidates.toggled(review.found, review.filters, review.verdicts, y, x)
        if verdicts is not None:
            self._set(replace(review, verdicts=verdicts), "")

    def accept(self) -> Outcome:
        """Commit what is kept, as one step of undo.

        Raises
        ------
        LiteSamError
            If the Labels layer cannot take it.
        """
        review = self.review
        if review is None:
            return Outcome(False, _NOTHING)
        found = candidates.to_objects(review.found, _kept(review), review.filters, review.verdicts)
        if not found:
            return Outcome(False, "No candidate is kept; lower the sliders or click on some.")
        outcome = self._committer.commit_all(review.plane, found, clear=review.answers_boxes)
        self._history.now = replace(self._history.now, review=None)
        self.changed.emit()
        return outcome

    def discard(self) -> Outcome:
        """Put the candidates away; undo brings them back."""
        if self.review is None:
            return Outcome(False, _NOTHING)
        self._set(None, "")
        return Outcome(True, "Candidates discarded; Undo brings them back.")

    def show(self, plane: PlaneRequest | NotReady) -> None:
        """Paint the review if it belongs to the plane shown, and tell the panel about it."""
        review, image = self.review, self._state.settings.image
        here = review is not None and not isinstance(plane, NotReady)
        here = here and review is not None and review.plane.index == getattr(plane, "index", None)
        if review is None or image is None:
            self._state.show_review(None)
        if review is None or image is None or not here:
            self._painted = None
            self._layers.hide_candidates()
            return
        if review is self._painted and self._layers.candidates is not None:
            return
        is_kept = _kept(review)
        picture = candidates.picture(review.found, is_kept, review.verdicts)
        self._layers.show_candidates(image, picture)
        self._painted = review
        self._state.show_review(
            ReviewStatus(
                filters=review.filters,
                kept=int(is_kept.sum()),
                total=len(review.found.records),
                accepted=len(review.verdicts.accepted),
                rejected=len(review.verdicts.rejected),
                largest=review.found.largest,
            )
        )

    def _set(self, review: Review | None, kind: str) -> None:
        self._history.review(review, kind)
        self.changed.emit()


def _counted(candidates: int) -> str:
    return "1 candidate" if candidates == 1 else f"{candidates} candidates"


def _kept(review: Review) -> Any:
    return candidates.kept(review.found, review.filters, review.verdicts)
