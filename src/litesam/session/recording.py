"""Results of the engine → what is written down about them in a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.preprocess import Composite
from litesam.session.actions import (
    Accepted,
    BatchCommit,
    BatchObject,
    EverythingCommit,
    HandEdit,
    MaskCommit,
    ObjectCommit,
    Patch,
)
from litesam.session.hashes import mask_hash
from litesam.session.references import ImageReference, ModelReference, Outcome
from litesam.types import Box, EverythingConfig, NormalizeConfig, TilingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.merge import SegmentResult
    from litesam.objects import Change
    from litesam.predictors import Predictor
    from litesam.segmenter import Segmenter
    from litesam.session.drawn import Drawn
    from litesam.types import HqMode, MaskRecord, Prompts

    Boxes = tuple[tuple[float, float, float, float], ...]


def image_reference(
    segmenter: Segmenter,
    path: str | None = None,
    *,
    normalize: NormalizeConfig | None = None,
    tiling: TilingConfig | None = None,
    scale: Sequence[float] | None = None,
    unit: str | None = None,
) -> ImageReference:
    """Describe the image of a segmenter.

    Parameters
    ----------
    segmenter
        Gives axes, shape, type and channel; of a composite the colours as well.
    path
        File of the image, or None.
    normalize, tiling
        What the segmenter was made with.
    scale, unit
        Spacing of the pixels along each axis of the array.
    """
    return ImageReference(
        path,
        segmenter.axes,
        tuple(int(size) for size in segmenter.image.shape),
        str(segmenter.image.dtype),
        segmenter.channel,
        normalize or NormalizeConfig(),
        tiling or TilingConfig(),
        None if scale is None else tuple(float(step) for step in scale),
        unit,
        colour_references(segmenter.image),
    )


def colour_references(image: Any) -> tuple[ImageReference | None, ...]:
    """Describe the colours of a composite; empty for any other image."""
    if not isinstance(image, Composite):
        return ()
    return tuple(
        None
        if part is None
        else ImageReference(
            part.path,
            part.axes,
            tuple(int(size) for size in part.image.shape),
            str(part.image.dtype),
            part.channel,
            part.normalize,
        )
        for part in image.parts
    )


def model_reference(
    predictor: Predictor,
    name: str | None = None,
    *,
    hq: HqMode = False,
    weights: str | None = None,
) -> ModelReference:
    """Describe a loaded model; ``name``, ``hq`` and ``weights`` as given to `load_predictor`."""
    return ModelReference(name or predictor.spec.name, hq, weights, predictor.weights_hash)


def outcome_of(record: MaskRecord) -> Outcome:
    """Scores and hash of a mask."""
    return Outcome(float(record.predicted_iou), float(record.stability), mask_hash(record))


def record_object(
    number: int,
    index: tuple[int, ...],
    prompts: Prompts,
    result: SegmentResult,
    *,
    multimask: bool | None = None,
    model: ModelReference | None = None,
    policy: str = "never_overwrite",
    reopened: bool = False,
    drawn: Drawn | None = None,
) -> ObjectCommit:
    """Write down a committed result of `Segmenter.segment`.

    Parameters
    ----------
    number
        Its id.
    index, prompts, multimask
        As given to `Segmenter.segment`.
    result
        What it gave, perhaps with another candidate. The tile is noted as well.
    model
        None: the session's.
    policy, reopened
        As given to `litesam.objects.commit_mask`.
    drawn
        What the prompts were made of, if shapes were drawn.
    """
    return ObjectCommit(
        number,
        index,
        prompts,
        result.candidate,
        multimask,
        result.tile.index if result.tile.index >= 0 else None,
        model,
        policy,
        reopened,
        outcome_of(result.record),
        drawn,
    )


def record_batch(
    numbers: Sequence[int],
    index: tuple[int, ...],
    prompts: Sequence[Prompts],
    records: Sequence[MaskRecord],
    *,
    model: ModelReference | None = None,
    policy: str = "never_overwrite",
) -> BatchCommit:
    """Write down committed results of `Segmenter.segment_many`.

    ``numbers``: the id of each, 0 for one that got no pixel.
    """
    objects = tuple(
        BatchObject(number, one, outcome_of(record))
        for number, one, record in zip(numbers, prompts, records, strict=True)
    )
    return BatchCommit(index, objects, model, policy)


def record_everything(
    accepted: Sequence[tuple[int, int]],
    index: tuple[int, ...],
    records: Sequence[MaskRecord],
    *,
    overlapping: bool = False,
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    boxes: Boxes | None = None,
    model: ModelReference | None = None,
    policy: str = "never_overwrite",
) -> EverythingCommit:
    """Write down what was committed of an everything run.

    Parameters
    ----------
    accepted
        Number of the candidate in ``records`` and its id, in the order of their commits.
    index, proposals, config, boxes
        As given to the run.
    records
        What it gave: of `Segmenter.find_objects` with ``overlapping``, else of
        `Segmenter.everything`.
    overlapping, model, policy
        See ``records``; None: the session's; as given to the commit.
    """
    return EverythingCommit(
        index,
        tuple(
            Accepted(candidate, number, outcome_of(records[candidate]))
            for candidate, number in accepted
        ),
        "masks" if overlapping else "objects",
        proposals,
        config or EverythingConfig(),
        boxes,
        model,
        policy,
    )


def record_mask(
    number: int,
    index: tuple[int, ...],
    record: MaskRecord,
    *,
    source: str = "",
    model: ModelReference | None = None,
    policy: str = "never_overwrite",
    reopened: bool = False,
) -> MaskCommit:
    """Write down a committed mask whose pixels are to be kept as they are."""
    return MaskCommit(
        number, index, record.box, record.crop, source, model, policy, reopened, outcome_of(record)
    )


def record_change(change: Change) -> HandEdit:
    """Write down pixels that a person set, one patch for each plane that they lie in."""
    patches = []
    leading = [range(start, stop) for start, stop in change.region[:-2]]
    corner = [start for start, _ in change.region[-2:]]
    for place in np.ndindex(*(len(axis) for axis in leading)):
        changed = change.changed[place]
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        if rows.size == 0:
            continue
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        where = changed[y0:y1, x0:x1]
        values: Any = change.after[place][y0:y1, x0:x1][where]
        box = Box(y0 + corner[0], x0 + corner[1], y1 + corner[0], x1 + corner[1])
        index = tuple(axis[at] for axis, at in zip(leading, place, strict=True))
        if (values == values[0]).all():
            values = int(values[0])
        patches.append(Patch(index, box, where, values))
    return HandEdit(tuple(patches))
