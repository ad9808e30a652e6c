"""JSON values → sessions; whatever is wrong is named with its place in the file."""

from __future__ import annotations

import base64
import zlib
from dataclasses import fields
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from litesam.errors import ReadError
from litesam.io import mask_from_runs, runs_from_text
from litesam.session.actions import (
    Accepted,
    Action,
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
from litesam.session.drawn import Drawn, DrawnShape
from litesam.session.encoding import FORMAT, VERSION
from litesam.session.json_fields import (
    Fields,
    box_of,
    flag_of,
    four_of,
    items_of,
    mapping_of,
    number_of,
    numbers_of,
    pair_of,
    text_of,
    whole_of,
    whole_pair_of,
    wholes_of,
)
from litesam.session.references import ImageReference, ModelReference, Outcome
from litesam.session.values import Draft, FoundMasks, Session
from litesam.types import (
    AnyArray,
    BoolArray,
    Box,
    BoxPrompt,
    EverythingConfig,
    MaskRecord,
    NormalizeConfig,
    PointLabel,
    PointPrompt,
    Prompts,
    TilingConfig,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def session_from_json(value: Any, source: str = "session") -> Session:
    """Return the session of JSON values.

    Parameters
    ----------
    value
        What `session_to_json` gave.
    source
        Name of the file, for messages.

    Raises
    ------
    ReadError
        If it is no session, of an unknown version, or any field is missing or wrong.
    """
    top = Fields(value, f"{source}: ")
    if top.get("format", text_of, None) != FORMAT:
        raise ReadError(f"{source} is no session of litesam: its field format is not {FORMAT!r}.")
    version = top.get("version", whole_of, 0)
    if version != VERSION:
        newer = "a newer one wrote it; update litesam" if version > VERSION else "it is damaged"
        raise ReadError(
            f"{source} has version {version} of the session format, this litesam reads version "
            f"{VERSION}: {newer}."
        )
    return top.make(
        lambda: Session(
            image=image_from_json(top.part("image")),
            model=model_from_json(top.part("model")),
            actions=tuple(action_from_json(part) for part in top.parts("actions")),
            drafts=tuple(draft_from_json(part) for part in top.parts("drafts", optional=True)),
            found=found_from_json(top, "found"),
            labels_dtype=top.part("labels").get("dtype", text_of),
            settings=dict(top.get("settings", mapping_of, {})),
            program=top.get("program", text_of, ""),
            created=top.get("created", text_of, ""),
        )
    )


# -------------------------------------------------------------------------------------- the parts


def image_from_json(part: Fields) -> ImageReference:
    """Return the image reference of JSON values."""
    image = ImageReference(
        path=part.get("path", text_of, None),
        axes=part.get("axes", text_of).upper(),
        shape=part.get("shape", wholes_of),
        dtype=part.get("dtype", text_of),
        channel=part.get("channel", whole_of, None),
        normalize=_config(part, "normalize", NormalizeConfig),
        tiling=_config(part, "tiling", TilingConfig),
        scale=part.get("scale", numbers_of, None),
        unit=part.get("unit", text_of, None),
        colours=tuple(
            None if one is None else image_from_json(Fields(one, f"{part.place}.colours[{i}]"))
            for i, one in enumerate(part.get("colours", items_of, []))
        ),
    )
    letters = set(image.axes)
    if len(image.axes) != len(image.shape) or not {"Y", "X"} <= letters:
        raise ReadError(
            f"{part.place}: the axes {image.axes!r} do not fit the shape {image.shape}; one letter "
            "each is needed, Y and X among them."
        )
    if image.scale is not None and len(image.scale) != len(image.shape):
        raise ReadError(f"{part.place}.scale needs one number for each of {image.axes}.")
    if image.colours and (len(image.colours) != 3 or not any(image.colours)):
        raise ReadError(f"{part.place}.colours needs red, green and blue, one of them not null.")
    return image


def model_from_json(part: Fields) -> ModelReference:
    """Return the model reference of JSON values."""
    return ModelReference(
        part.get("name", text_of),
        part.get("hq", _hq, False),
        part.get("weights", text_of, None),
        part.get("weights_hash", text_of, None),
    )


def draft_from_json(part: Fields) -> Draft:
    """Return the draft of JSON values."""
    return part.make(
        lambda: Draft(
            part.get("index", wholes_of),
            _prompts(part) if "prompts" in part else None,
            part.get("id", whole_of, None),
            _shapes(part),
        )
    )


def found_from_json(part: Fields, name: str) -> FoundMasks | None:
    """Return the masks under review in a field; None if there are none, or they are damaged: they
    can be found again, and all else is worth more.
    """
    try:
        inside = part.part(name)
        records = tuple(one.make(partial(_found_mask, one)) for one in inside.parts("masks"))
        return FoundMasks(inside.get("index", wholes_of), records) if records else None
    except ReadError:
        return None


def action_from_json(part: Fields) -> Action:
    """Return the action of JSON values."""
    kind = part.get("kind", text_of)
    if kind not in _ACTIONS:
        raise ReadError(
            f"{part.place} is of the kind {kind!r}; known are {', '.join(map(repr, _ACTIONS))}."
        )
    return part.make(lambda: _ACTIONS[kind](part))


def _object(part: Fields) -> Action:
    return ObjectCommit(
        id=part.get("id", whole_of),
        index=part.get("index", wholes_of),
        prompts=_prompts(part),
        candidate=part.get("candidate", whole_of, None),
        multimask=part.get("multimask", flag_of, None),
        tile=part.get("tile", whole_of, None),
        model=_model(part),
        policy=part.get("policy", text_of),
        reopened=part.get("reopened", flag_of, False),
        outcome=_outcome(part),
        drawn=_drawn(part.part("drawn")) if "drawn" in part else None,
    )


def _batch(part: Fields) -> Action:
    return BatchCommit(
        index=part.get("index", wholes_of),
        objects=tuple(
            BatchObject(one.get("id", whole_of), _prompts(one), _outcome(one))
            for one in part.parts("objects")
        ),
        model=_model(part),
        policy=part.get("policy", text_of),
    )


def _everything(part: Fields) -> Action:
    return EverythingCommit(
        index=part.get("index", wholes_of),
        accepted=tuple(
            Accepted(one.get("candidate", whole_of), one.get("id", whole_of), _outcome(one))
            for one in part.parts("accepted")
        ),
        candidates=part.get("candidates", text_of),  # type: ignore[arg-type]
        proposals=part.get("proposals", text_of, None),
        config=_config(part, "config", EverythingConfig),
        boxes=part.get("boxes", lambda value: tuple(four_of(box) for box in items_of(value)), None),
        model=_model(part),
        policy=part.get("policy", text_of),
    )


def _mask(part: Fields) -> Action:
    box = part.get("box", box_of)
    return MaskCommit(
        id=part.get("id", whole_of),
        index=part.get("index", wholes_of),
        box=box,
        crop=part.get("mask", lambda text: _runs(text, box)),
        source=part.get("source", text_of, ""),
        model=_model(part),
        policy=part.get("policy", text_of),
        reopened=part.get("reopened", flag_of, False),
        outcome=_outcome(part),
    )


def _found_mask(part: Fields) -> MaskRecord:
    box = part.get("box", box_of)
    return MaskRecord(
        box,
        part.get("mask", lambda text: _runs(text, box)),
        part.get("predicted_iou", number_of),
        part.get("stability", number_of),
        part.get("score", number_of),
        part.get("point", pair_of, None),
    )


def _edit(part: Fields) -> Action:
    return ObjectEdit(
        operation=part.get("operation", text_of),
        ids=part.get("ids", wholes_of),
        index=part.get("index", wholes_of, None),
        seeds=part.get("seeds", lambda value: tuple(pair_of(seed) for seed in items_of(value)), ()),
        new_id=part.get("new_id", whole_of, None),
        size_px=part.get("size_px", whole_of, None),
    )


def _paint(part: Fields) -> Action:
    return HandEdit(tuple(_patch(one) for one in part.parts("patches")))


def _labels(part: Fields) -> Action:
    return LabelsLoaded(part.get("path", text_of), part.get("sha256", text_of, None))


_ACTIONS: dict[str, Callable[[Fields], Action]] = {
    "object": _object,
    "batch": _batch,
    "everything": _everything,
    "mask": _mask,
    "edit": _edit,
    "paint": _paint,
    "labels": _labels,
}


def _prompts(part: Fields) -> Prompts:
    inside = part.part("prompts")
    mask = inside.part("mask") if "mask" in inside else None
    return inside.make(
        lambda: Prompts(
            inside.get("points", lambda value: tuple(_point(p) for p in items_of(value)), ()),
            inside.get("box", lambda value: BoxPrompt(*four_of(value)), None),
            None if mask is None else _logits(mask),
        )
    )


def _logits(part: Fields) -> AnyArray:
    shape = part.get("shape", whole_pair_of)
    return part.get("logits", lambda text: _unpacked(text, "<f4", shape))


def _drawn(part: Fields) -> Drawn:
    return part.make(lambda: Drawn(_shapes(part), _prompts(part) if "prompts" in part else None))


def _shapes(part: Fields) -> tuple[DrawnShape, ...]:
    return tuple(one.make(partial(_shape, one)) for one in part.parts("shapes", optional=True))


def _shape(part: Fields) -> DrawnShape:
    return DrawnShape(
        part.get("type", text_of),
        part.get("vertices", lambda value: tuple(pair_of(vertex) for vertex in items_of(value))),
        part.get("label", lambda value: PointLabel(whole_of(value)), PointLabel.FOREGROUND),
    )


def _outcome(part: Fields) -> Outcome:
    if "outcome" not in part:
        return Outcome()
    inside = part.part("outcome")
    return Outcome(
        inside.get("predicted_iou", number_of, None),
        inside.get("stability", number_of, None),
        inside.get("mask_hash", text_of, None),
    )


def _model(part: Fields) -> ModelReference | None:
    return model_from_json(part.part("model")) if "model" in part else None


def _config(part: Fields, name: str, config: Callable[..., T]) -> T:
    """Return a config; its fields that are absent are the defaults."""
    if name not in part:
        return config()
    inside = part.part(name)
    known = {spec.name for spec in fields(config)}  # type: ignore[arg-type]
    given = part.get(name, mapping_of)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ReadError(f"{inside.place} has unknown fields ({', '.join(unknown)}).")
    hints = get_type_hints(config)
    values = {key: inside.get(key, _reader_of(hints[key])) for key in given if key in inside}
    return inside.make(lambda: config(**values))


def _reader_of(hint: Any) -> Callable[[Any], Any]:
    """What reads a field of a config, by its type: a number, a text or a pair of numbers."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    (kind,) = (option for option in options if option is not type(None))
    if get_origin(kind) is tuple:
        return pair_of
    return {int: whole_of, float: number_of}.get(kind, text_of)


def _patch(part: Fields) -> Patch:
    box = part.get("box", box_of)
    where = part.get("where", lambda text: _runs(text, box))
    count = int(np.count_nonzero(where))
    values: int | AnyArray = part.get(
        "values",
        lambda value: (
            _unpacked(value, "<i8", (count,)) if isinstance(value, str) else whole_of(value)
        ),
    )
    return part.make(lambda: Patch(part.get("index", wholes_of), box, where, values))


# ------------------------------------------------------------------------------------- the values


def _hq(value: Any) -> Any:
    if value not in (True, False, "only"):
        raise ValueError('true, false or "only" is needed.')
    return value


def _point(value: Any) -> PointPrompt:
    y, x, label = items_of(value)
    return PointPrompt(number_of(y), number_of(x), PointLabel(whole_of(label)))


def _runs(text: Any, box: Box) -> BoolArray:
    return mask_from_runs(runs_from_text(text_of(text)), box.size_yx)


def _unpacked(text: Any, dtype: str, shape: tuple[int, ...]) -> AnyArray:
    data = zlib.decompress(base64.b64decode(text_of(text), validate=True))
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(dtype[1:])
