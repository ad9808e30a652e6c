"""Sessions → JSON values. What each field means is written down in docs/reference/session.md."""

from __future__ import annotations

import base64
import zlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.io import run_lengths, runs_to_text
from litesam.session.actions import (
    Accepted,
    BatchCommit,
    BatchObject,
    EverythingCommit,
    HandEdit,
    LabelsLoaded,
    MaskCommit,
    ObjectCommit,
    ObjectEdit,
    Patch,
)
from litesam.types import EverythingConfig, NormalizeConfig, TilingConfig

if TYPE_CHECKING:
    from litesam.session.actions import Action
    from litesam.session.drawn import Drawn, DrawnShape
    from litesam.session.references import ImageReference, ModelReference, Outcome
    from litesam.session.values import Draft, FoundMasks, Session
    from litesam.types import AnyArray, BoolArray, Box, MaskRecord, Prompts

FORMAT = "litesam-session"
VERSION = 1

Json = dict[str, Any]


def session_to_json(session: Session) -> Json:
    """Return a session as JSON values."""
    return _present(
        format=FORMAT,
        version=VERSION,
        program=session.program,
        created=session.created,
        image=image_to_json(session.image),
        model=model_to_json(session.model),
        labels={"dtype": session.labels_dtype},
        actions=[action_to_json(action) for action in session.actions],
        drafts=[draft_to_json(draft) for draft in session.drafts],
        found=found_to_json(session.found),
        settings=dict(session.settings),
    )


def image_to_json(image: ImageReference) -> Json:
    """Return an image reference as JSON values; settings that are the defaults are left out."""
    return _present(
        path=image.path,
        axes=image.axes,
        shape=list(image.shape),
        dtype=image.dtype,
        channel=image.channel,
        normalize=_config(image.normalize, NormalizeConfig()),
        tiling=_config(image.tiling, TilingConfig()),
        scale=None if image.scale is None else list(image.scale),
        unit=image.unit,
        colours=[None if one is None else image_to_json(one) for one in image.colours] or None,
    )


def model_to_json(model: ModelReference) -> Json:
    """Return a model reference as JSON values."""
    return _present(
        name=model.name,
        hq=model.hq or None,
        weights=model.weights,
        weights_hash=model.weights_hash,
    )


def draft_to_json(draft: Draft) -> Json:
    """Return a draft as JSON values."""
    return _present(
        id=draft.id,
        index=list(draft.index),
        prompts=None if draft.prompts is None else prompts_to_json(draft.prompts),
        shapes=_shapes(draft.shapes),
    )


def found_to_json(found: FoundMasks | None) -> Json | None:
    """Return masks that are under review as JSON values."""
    if found is None:
        return None
    return {"index": list(found.index), "masks": [_found_mask(one) for one in found.records]}


def prompts_to_json(prompts: Prompts) -> Json:
    """Return the prompts of one object as JSON values."""
    box = prompts.box
    return _present(
        points=[[point.y, point.x, int(point.label)] for point in prompts.points] or None,
        box=None if box is None else [box.y0, box.x0, box.y1, box.x1],
        mask=None if prompts.low_res_mask is None else _logits(prompts.low_res_mask),
    )


def action_to_json(action: Action) -> Json:
    """Return an action as JSON values."""
    match action:
        case ObjectCommit():
            about = _present(
                id=action.id,
                index=list(action.index),
                prompts=prompts_to_json(action.prompts),
                candidate=action.candidate,
                multimask=action.multimask,
                tile=action.tile,
                model=_model(action.model),
                policy=action.policy,
                reopened=action.reopened or None,
                outcome=_outcome(action.outcome),
                drawn=_drawn(action.drawn),
            )
        case BatchCommit():
            about = _present(
                index=list(action.index),
                objects=[_batch_object(one) for one in action.objects],
                model=_model(action.model),
                policy=action.policy,
            )
        case EverythingCommit():
            about = _present(
                index=list(action.index),
                candidates=action.candidates,
                proposals=action.proposals,
                config=_config(action.config, EverythingConfig()),
                boxes=None if action.boxes is None else [list(box) for box in action.boxes],
                accepted=[_accepted(one) for one in action.accepted],
                model=_model(action.model),
                policy=action.policy,
            )
        case MaskCommit():
            about = _present(
                id=action.id,
                index=list(action.index),
                box=_box(action.box),
                mask=_runs(action.crop),
                source=action.source or None,
                model=_model(action.model),
                policy=action.policy,
                reopened=action.reopened or None,
                outcome=_outcome(action.outcome),
            )
        case ObjectEdit():
            about = _present(
                operation=action.operation,
                ids=list(action.ids),
                index=None if action.index is None else list(action.index),
                seeds=[list(seed) for seed in action.seeds] or None,
                new_id=action.new_id,
                size_px=action.size_px,
            )
        case HandEdit():
            about = {"patches": [_patch(patch) for patch in action.patches]}
        case LabelsLoaded():
            about = _present(path=action.path, sha256=action.sha256)
    return {"kind": action.kind, **about}


def _found_mask(record: MaskRecord) -> Json:
    return _present(
        box=_box(record.box),
        mask=_runs(record.crop),
        predicted_iou=float(record.predicted_iou),
        stability=float(record.stability),
        score=float(record.score),
        point=None if record.point is None else [float(at) for at in record.point],
    )


def _present(**values: Any) -> Json:
    """Values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _model(model: ModelReference | None) -> Json | None:
    return None if model is None else model_to_json(model)


def _outcome(outcome: Outcome) -> Json | None:
    found = _present(
        predicted_iou=outcome.predicted_iou,
        stability=outcome.stability,
        mask_hash=outcome.mask_hash,
    )
    return found or None


def _drawn(drawn: Drawn | None) -> Json | None:
    if drawn is None:
        return None
    prompts = None if drawn.prompts is None else prompts_to_json(drawn.prompts)
    return _present(prompts=prompts, shapes=_shapes(drawn.shapes))


def _shapes(shapes: tuple[DrawnShape, ...]) -> list[Json] | None:
    return [
        {
            "type": shape.kind,
            "vertices": [list(vertex) for vertex in shape.vertices],
            "label": int(shape.label),
        }
        for shape in shapes
    ] or None


def _config(config: Any, default: Any) -> Json | None:
    """Fields of a config that differ from the defaults."""
    found = {}
    for spec in fields(config):
        value = getattr(config, spec.name)
        if value != getattr(default, spec.name):
            found[spec.name] = list(value) if isinstance(value, tuple) else value
    return found or None


def _batch_object(one: BatchObject) -> Json:
    return _present(id=one.id, prompts=prompts_to_json(one.prompts), outcome=_outcome(one.outcome))


def _accepted(one: Accepted) -> Json:
    return _present(candidate=one.candidate, id=one.id, outcome=_outcome(one.outcome))


def _patch(patch: Patch) -> Json:
    values = patch.values
    one = not isinstance(values, np.ndarray)
    return {
        "index": list(patch.index),
        "box": _box(patch.box),
        "where": _runs(patch.where),
        "values": int(values) if one else _packed(values, "<i8"),
    }


def _box(box: Box) -> list[int]:
    return [box.y0, box.x0, box.y1, box.x1]


def _runs(mask: BoolArray) -> str:
    return runs_to_text(run_lengths(mask))


def _logits(logits: AnyArray) -> Json:
    return {"shape": list(logits.shape), "logits": _packed(logits, "<f4")}


def _packed(values: Any, dtype: str) -> str:
    """Numbers as base64 of zlib of their bytes."""
    data = np.ascontiguousarray(values, dtype=dtype).tobytes()
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")
