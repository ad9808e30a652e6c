"""A review of everything mode in a session ↔ the review of the panel.

The masks are a field of the session (`litesam.session.FoundMasks`), written once; all that changes
while the user looks through them is a setting of it. Pure functions; no Qt.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from litesam.session import FoundMasks
from napari_litesam import candidates
from napari_litesam.candidates import Candidates, Filters, Verdicts
from napari_litesam.preferences import options_of, options_text
from napari_litesam.reviewer import Review
from napari_litesam.session_images import REVIEW
from napari_litesam.state import Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.session import Session
    from napari_litesam.requests import PlaneRequest
    from napari_litesam.state import Settings


#: What was clicked on, as it is written.
_VERDICTS = ("accepted", "rejected")


def masks_of(review: Review) -> FoundMasks:
    """Return the masks that are under review, as a session keeps them."""
    return FoundMasks(review.plane.index or (), review.found.records)


def to_json(review: Review, settings: Settings) -> dict[str, Any]:
    """Return all else of a review, and what is needed to run everything mode again."""
    found = review.found
    return {
        "index": list(review.plane.index or ()),
        "candidates": len(found.records),
        "proposals": settings.proposals,
        "options": options_text(settings.everything),
        "where": settings.where.value,
        "shape": list(found.shape_yx),
        "usual": asdict(found.filters),
        "containment": found.containment,
        "policy": found.policy,
        "min_visible": found.min_visible,
        "filters": asdict(review.filters),
        "accepted": sorted(review.verdicts.accepted),
        "rejected": sorted(review.verdicts.rejected),
        "answers_boxes": review.answers_boxes,
        "model": [review.plane.source.model, review.plane.source.weights],
    }


def candidates_of(session: Session) -> Candidates | None:
    """Return the candidates that were under review in a session; for a worker.

    None if there are none, or what the session says of them does not fit together.
    """
    written, masks = session.settings.get(REVIEW), session.found
    if masks is None or not isinstance(written, dict):
        return None
    try:
        height, width = (int(size) for size in written["shape"])
        if any(one.box.y1 > height or one.box.x1 > width for one in masks.records):
            return None
        found = candidates.collect(
            masks.records,
            (height, width),
            _filters(written["usual"]),
            containment=float(written["containment"]),
            policy=written["policy"],
            min_visible=float(written["min_visible"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if len(found.records) == len(masks.records) else None


def review_of(session: Session, found: Candidates, plane: PlaneRequest) -> Review | None:
    """Return the review of a session as it was; None where what it says does not fit together.

    Parameters
    ----------
    session, found
        The session, and its `candidates_of`.
    plane
        The plane in which the review was open.
    """
    written = session.settings[REVIEW]
    if plane.source.shape_yx != found.shape_yx:
        return None
    try:
        verdicts = Verdicts(*(frozenset(map(int, written[name])) for name in _VERDICTS))
        filters = _filters(written["filters"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if any(not 0 <= one < len(found.records) for one in verdicts.accepted | verdicts.rejected):
        return None
    match written.get("model"):
        case [str(model), (str() | None) as weights]:
            # Whoever answers now: these masks are of that one.
            plane = replace(plane, source=replace(plane.source, model=model, weights=weights))
    return Review(plane, found, filters, verdicts, bool(written.get("answers_boxes")))


def _filters(written: Any) -> Filters:
    """Return filters of JSON values."""
    kinds = {name: type(value) for name, value in asdict(Filters()).items()}
    return Filters(**{name: kinds[name](value) for name, value in written.items()})


def options_written(session: Session, known: Sequence[str]) -> dict[str, Any]:
    """Return the options of everything mode of a review that was open, as settings; none if there
    was none.

    ``known``: the proposals that there are.
    """
    written = session.settings.get(REVIEW)
    if not isinstance(written, dict):
        return {}
    where = next((one for one in Where if one.value == written.get("where")), Where.PLANE)
    proposals = written.get("proposals")
    return {
        "proposals": proposals if proposals in known else None,
        "everything": options_of(str(written.get("options") or "")),
        "where": where,
    }


def place_of(session: Session) -> str:
    """Return where a review was open, for people: ``" in slice 3"``; "" in a plane alone."""
    index = session.settings[REVIEW].get("index")
    known = isinstance(index, list) and index
    return f" in slice {', '.join(map(str, index))}" if known else ""
