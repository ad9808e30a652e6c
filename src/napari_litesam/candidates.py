"""Candidates of everything mode: which of them are kept, and how they look. Pure functions.

Nothing is decoded here: scores, areas and mutual overlaps are known, so a filter is a comparison of
arrays and the picture is one pass over the masks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam.merge import paint_labels, records_at
from litesam.merge.nms import intersection, overlapping_pairs
from litesam.types import BoolArray, MaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]

#: Values of the picture: 0 nothing, 1 … COLOURS kept, REJECTED what the user clicked away.
COLOURS = 24
REJECTED = 255
#: Who keeps contested pixels, by overlap policy of the engine: the key that rises to the top.
_PRIORITY: dict[str, Callable[[FloatArray, IntArray], FloatArray]] = {
    "score": lambda scores, _areas: scores,
    "largest_first": lambda _scores, areas: -areas.astype(np.float64),
    "smallest_first": lambda _scores, areas: areas.astype(np.float64),
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a candidate must have to be kept.

    Attributes
    ----------
    predicted_iou, stability
        At least that much.
    min_area, max_area
        At least and at most so many pixels; ``max_area`` 0: no limit.
    overlap
        Of two candidates whose IoU is above this the better one stays.
    """

    predicted_iou: float = 0.0
    stability: float = 0.0
    min_area: int = 0
    max_area: int = 0
    overlap: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All that everything mode found in a plane, the best score first.

    Attributes
    ----------
    records
        N masks, which may overlap.
    shape_yx
        Size of the plane.
    filters
        Those that everything mode itself would use.
    containment
        Of two candidates the better one stays if more than this share of the smaller lies in the
        other.
    policy, min_visible
        Who keeps contested pixels, and the share that must be left of a candidate.
    predicted_iou, stability, area, order
        (N,) numbers by candidate; ``order``: who is painted when, the top last.
    pairs, shared_iou, shared_smaller
        (P, 2) pairs (better, worse) that share pixels, their IoU, and the share of the smaller one.
    """

    records: tuple[MaskRecord, ...]
    shape_yx: tuple[int, int]
    filters: Filters
    containment: float
    policy: str
    min_visible: float
    predicted_iou: FloatArray
    stability: FloatArray
    area: IntArray
    order: IntArray
    pairs: IntArray
    shared_iou: FloatArray
    shared_smaller: FloatArray

    @property
    def largest(self) -> int:
        """Area of the largest candidate."""
        return int(self.area.max()) if self.area.size else 0


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the user said by clicks, against the filters: indices of candidates."""

    accepted: frozenset[int] = field(default_factory=frozenset)
    rejected: frozenset[int] = field(default_factory=frozenset)


def collect(
    records: Sequence[MaskRecord],
    shape_yx: tuple[int, int],
    filters: Filters,
    *,
    containment: float = 1.0,
    policy: str = "score",
    min_visible: float = 0.0,
) -> Candidates:
    """Return candidates with all that filters need; for a worker.

    Parameters
    ----------
    records
        Masks of one plane; empty ones are left out.
    shape_yx, filters, containment, policy, min_visible
        See `Candidates`.
    """
    ranked = sorted((r for r in records if r.area), key=lambda record: -record.score)
    area = np.array([r.area for r in ranked], dtype=np.int64)
    score = np.array([r.score for r in ranked], dtype=np.float64)
    # Of equal ones the first is on top, as in the engine.
    order = np.argsort(-_PRIORITY[policy](score, area), kind="stable")[::-1]
    pairs, iou, smaller = _shares(ranked, area)
    return Candidates(
        records=tuple(ranked),
        shape_yx=shape_yx,
        filters=filters,
        containment=containment,
        policy=policy,
        min_visible=min_visible,
        predicted_iou=np.array([r.predicted_iou for r in ranked], dtype=np.float64),
        stability=np.array([r.stability for r in ranked], dtype=np.float64),
        area=area,
        order=order,
        pairs=pairs,
        shared_iou=iou,
        shared_smaller=smaller,
    )


def _shares(
    records: Sequence[MaskRecord], area: IntArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Pairs of masks that share pixels, their IoU, and the share of the smaller one."""
    counted = [
        (i, j, shared)
        for i, j in overlapping_pairs([record.box for record in records])
        if (shared := intersection(records[i], records[j]))
    ]
    table = np.array(counted, dtype=np.int64).reshape(-1, 3)
    pairs, common = table[:, :2], table[:, 2].astype(np.float64)
    first, second = area[pairs[:, 0]], area[pairs[:, 1]]
    return pairs, common / (first + second - common), common / np.minimum(first, second)


# ---------------------------------------------------------------------------------------- filtering


def passing(found: Candidates, filters: Filters) -> BoolArray:
    """Return (N,) bool: who passes the filters and is no duplicate of a better one that does."""
    alive = (
        (found.predicted_iou >= filters.predicted_iou)
        & (found.stability >= filters.stability)
        & (found.area >= filters.min_area)
    )
    if filters.max_area:
        alive &= found.area <= filters.max_area
    clash = (found.shared_iou > filters.overlap) | (found.shared_smaller > found.containment)
    clash &= alive[found.pairs[:, 0]] & alive[found.pairs[:, 1]]
    # In the order of the better ones: who was removed removes nobody.
    for better, worse in found.pairs[clash].tolist():
        if alive[better]:
            alive[worse] = False
    return np.asarray(alive)


def kept(found: Candidates, filters: Filters, verdicts: Verdicts) -> BoolArray:
    """Return (N,) bool: who is kept. Verdicts of the user count more than filters."""
    result = passing(found, filters)
    result[list(verdicts.rejected)] = False
    result[list(verdicts.accepted)] = True
    return result


def toggled(
    found: Candidates, filters: Filters, verdicts: Verdicts, y: float, x: float
) -> Verdicts | None:
    """Verdicts after a click: what is on top there is rejected; what was rejected is accepted
    again; where nothing is to be seen the best candidate that the filters hide is accepted.

    Parameters
    ----------
    found, filters, verdicts
        What is shown.
    y, x
        Pixel of the plane.

    Returns
    -------
    Verdicts or None
        None if no candidate is there.
    """
    here = records_at(found.records, y, x)
    if not here:
        return None
    is_kept = kept(found, filters, verdicts)
    shown = [index for index in painted(found, is_kept, verdicts) if index in set(here)]
    if shown:
        top = shown[-1]
        return Verdicts(verdicts.accepted - {top}, verdicts.rejected | {top})
    gone = [index for index in here if index in verdicts.rejected]
    chosen = gone[0] if gone else min(here)  # the best score comes first
    rejected = verdicts.rejected - {chosen}
    if passing(found, filters)[chosen]:
        return Verdicts(verdicts.accepted, rejected)
    return Verdicts(verdicts.accepted | {chosen}, rejected)


# ------------------------------------------------------------------------------------------ showing


def painted(found: Candidates, is_kept: BoolArray, verdicts: Verdicts) -> list[int]:
    """Return the kept candidates in the order of painting; what the user accepted is on top."""
    order = found.order[is_kept[found.order]].tolist()
    if not verdicts.accepted:
        return list(order)
    return [i for i in order if i not in verdicts.accepted] + [
        i for i in order if i in verdicts.accepted
    ]


def picture(found: Candidates, is_kept: BoolArray, verdicts: Verdicts) -> ByteArray:
    """Return (H, W) uint8: colour numbers of the kept, `REJECTED` for what was clicked away."""
    canvas = np.zeros(found.shape_yx, dtype=np.uint8)
    for index in verdicts.rejected:
        record = found.records[index]
        canvas[record.box.slices][record.crop] = REJECTED
    for index in painted(found, is_kept, verdicts):
        record = found.records[index]
        canvas[record.box.slices][record.crop] = index % COLOURS + 1
    return canvas


def to_objects(
    found: Candidates, is_kept: BoolArray, filters: Filters, verdicts: Verdicts
) -> list[MaskRecord]:
    """Return the kept candidates as objects that share no pixel, the bottom first.

    Contested pixels are settled as everything mode does it: who overlaps leave too little of is
    left out.
    """
    order = painted(found, is_kept, verdicts)
    ranked = [replace(found.records[i], score=float(rank)) for rank, i in enumerate(order)]
    _, visible = paint_labels(ranked, found.shape_yx, min_visible=found.min_visible)
    result = []
    for record in visible:
        index = order[int(record.score)]
        if record.area >= filters.min_area or index in verdicts.accepted:
            result.append(replace(record, score=found.records[index].score, label=0))
    return result
