"""JSON values → sessions; whatever is wrong is named with its place in the file."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import fields
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from litesam.errors import ConfigError, PromptError, ReadError
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
    from collections.abc import Callable, Mapping

T = TypeVar("T")
_MISSING = object()


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
    if top.get("format", _text, None) != FORMAT:
        raise ReadError(f"{source} is no session of litesam: its field format is not {FORMAT!r}.")
    version = top.get("version", _whole, 0)
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
            labels_dtype=top.part("labels").get("dtype", _text),
            settings=dict(top.get("settings", _mapping, {})),
            program=top.get("program", _text, ""),
            created=top.get("created", _text, ""),
        )
    )


class Fields:
    """The fields of one JSON object, and its place in the file.

    Raises
    ------
    ReadError
        Wherever a field is not as it must be.
    """

    def __init__(self, value: Any, place: str) -> None:
        self.place = place
        if not isinstance(value, dict):
            raise ReadError(
                f"{self._title} is {_shown(value)}; an object with named fields is needed."
            )
        self._value = value

    def __contains__(self, name: str) -> bool:
        return self._value.get(name) is not None

    def get(self, name: str, read: Callable[[Any], T], default: Any = _MISSING) -> T:
        """Read a field; None and absent are the default."""
        value = self._value.get(name)
        if value is None:
            if default is _MISSING:
                raise ReadError(f"{self._title} has no field {name!r}; it is needed.")
            return default  # type: ignore[no-any-return]
        try:
            return read(value)
        except (TypeError, ValueError, ReadError, zlib.error) as error:
            raise ReadError(
                f"{self._inside(name)} is {_shown(value)}: {error or 'it is damaged'}"
            ) from error

    @property
    def _title(self) -> str:
        return self.place.removesuffix(": ")

    def _inside(self, name: str) -> str:
        """Place of a field."""
        return f"{self.place}{'' if self.place.endswith(': ') else '.'}{name}"

    def part(self, name: str) -> Fields:
        """Return the fields of an object inside."""
        return Fields(self.get(name, lambda value: value), self._inside(name))

    def parts(self, name: str, *, optional: bool = False) -> list[Fields]:
        """Return the fields of each object of a list inside."""
        items = self.get(name, _items, [] if optional else _MISSING)
        return [Fields(item, f"{self._inside(name)}[{i}]") for i, item in enumerate(items)]

    def make(self, build: Callable[[], T]) -> T:
        """Build a value; what it refuses is an error of this place."""
        try:
            return build()
        except (ConfigError, PromptError) as error:
            raise ReadError(f"{self._title}: {error}") from error


# -------------------------------------------------------------------------------------- the parts


def image_from_json(part: Fields) -> ImageReference:
    """Return the image reference of JSON values."""
    image = ImageReference(
        path=part.get("path", _text, None),
        axes=part.get("axes", _text).upper(),
        shape=part.get("shape", _whole_numbers),
        dtype=part.get("dtype", _text),
        channel=part.get("channel", _whole, None),
        normalize=_config(part, "normalize", NormalizeConfig),
        tiling=_config(part, "tiling", TilingConfig),
        scale=part.get("scale", _numbers, None),
        unit=part.get("unit", _text, None),
        colours=tuple(
            None if one is None else image_from_json(Fields(one, f"{part.place}.colours[{i}]"))
            for i, one in enumerate(part.get("colours", _items, []))
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
        part.get("name", _text),
        part.get("hq", _hq, False),
        part.get("weights", _text, None),
        part.get("weights_hash", _text, None),
    )


def draft_from_json(part: Fields) -> Draft:
    """Return the draft of JSON values."""
    return part.make(
        lambda: Draft(
            part.get("index", _whole_numbers),
            _prompts(part) if "prompts" in part else None,
            part.get("id", _whole, None),
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
        return FoundMasks(inside.get("index", _whole_numbers), records) if records else None
    except ReadError:
        return None


def action_from_json(part: Fields) -> Action:
    """Return the action of JSON values."""
    kind = part.get("kind", _text)
    if kind not in _ACTIONS:
        raise ReadError(
            f"{part.place} is of the kind {kind!r}; known are {', '.join(map(repr, _ACTIONS))}."
        )
    return part.make(lambda: _ACTIONS[kind](part))


def _object(part: Fields) -> Action:
    return ObjectCommit(
        id=part.get("id", _whole),
        index=part.get("index", _whole_numbers),
        prompts=_prompts(part),
        candidate=part.get("candidate", _whole, None),
        multimask=part.get("multimask", _flag, None),
        tile=part.get("tile", _whole, None),
        model=_model(part),
        policy=part.get("policy", _text),
        reopened=part.get("reopened", _flag, False),
        outcome=_outcome(part),
        drawn=_drawn(part.part("drawn")) if "drawn" in part else None,
    )


def _batch(part: Fields) -> Action:
    return BatchCommit(
        index=part.get("index", _whole_numbers),
        objects=tuple(
            BatchObject(one.get("id", _whole), _prompts(one), _outcome(one))
            for one in part.parts("objects")
        ),
        model=_model(part),
        policy=part.get("policy", _text),
    )


def _everything(part: Fields) -> Action:
    return EverythingCommit(
        index=part.get("index", _whole_numbers),
        accepted=tuple(
            Accepted(one.get("candidate", _whole), one.get("id", _whole), _outcome(one))
            for one in part.parts("accepted")
        ),
        candidates=part.get("candidates", _text),  # type: ignore[arg-type]
        proposals=part.get("proposals", _text, None),
        config=_config(part, "config", EverythingConfig),
        boxes=part.get("boxes", lambda value: tuple(_four(box) for box in _items(value)), None),
        model=_model(part),
        policy=part.get("policy", _text),
    )


def _mask(part: Fields) -> Action:
    box = part.get("box", _box)
    return MaskCommit(
        id=part.get("id", _whole),
        index=part.get("index", _whole_numbers),
        box=box,
        crop=part.get("mask", lambda text: _runs(text, box)),
        source=part.get("source", _text, ""),
        model=_model(part),
        policy=part.get("policy", _text),
        reopened=part.get("reopened", _flag, False),
        outcome=_outcome(part),
    )


def _found_mask(part: Fields) -> MaskRecord:
    box = part.get("box", _box)
    return MaskRecord(
        box,
        part.get("mask", lambda text: _runs(text, box)),
        part.get("predicted_iou", _number),
        part.get("stability", _number),
        part.get("score", _number),
        part.get("point", _two, None),
    )


def _edit(part: Fields) -> Action:
    return ObjectEdit(
        operation=part.get("operation", _text),
        ids=part.get("ids", _whole_numbers),
        index=part.get("index", _whole_numbers, None),
        seeds=part.get("seeds", lambda value: tuple(_two(seed) for seed in _items(value)), ()),
        new_id=part.get("new_id", _whole, None),
        size_px=part.get("size_px", _whole, None),
    )


def _paint(part: Fields) -> Action:
    return HandEdit(tuple(_patch(one) for one in part.parts("patches")))


def _labels(part: Fields) -> Action:
    return LabelsLoaded(part.get("path", _text), part.get("sha256", _text, None))


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
            inside.get("points", lambda value: tuple(_point(p) for p in _items(value)), ()),
            inside.get("box", lambda value: BoxPrompt(*_four(value)), None),
            None if mask is None else _logits(mask),
        )
    )


def _logits(part: Fields) -> AnyArray:
    shape = part.get("shape", _two_whole)
    return part.get("logits", lambda text: _unpacked(text, "<f4", shape))


def _drawn(part: Fields) -> Drawn:
    return part.make(lambda: Drawn(_shapes(part), _prompts(part) if "prompts" in part else None))


def _shapes(part: Fields) -> tuple[DrawnShape, ...]:
    return tuple(one.make(partial(_shape, one)) for one in part.parts("shapes", optional=True))


def _shape(part: Fields) -> DrawnShape:
    return DrawnShape(
        part.get("type", _text),
        part.get("vertices", lambda value: tuple(_two(vertex) for vertex in _items(value))),
        part.get("label", lambda value: PointLabel(_whole(value)), PointLabel.FOREGROUND),
    )


def _outcome(part: Fields) -> Outcome:
    if "outcome" not in part:
        return Outcome()
    inside = part.part("outcome")
    return Outcome(
        inside.get("predicted_iou", _number, None),
        inside.get("stability", _number, None),
        inside.get("mask_hash", _text, None),
    )


def _model(part: Fields) -> ModelReference | None:
    return model_from_json(part.part("model")) if "model" in part else None


def _config(part: Fields, name: str, config: Callable[..., T]) -> T:
    """Return a config; its fields that are absent are the defaults."""
    if name not in part:
        return config()
    inside = part.part(name)
    known = {spec.name for spec in fields(config)}  # type: ignore[arg-type]
    given = part.get(name, _mapping)
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
        return _two
    return {int: _whole, float: _number}.get(kind, _text)


def _patch(part: Fields) -> Patch:
    box = part.get("box", _box)
    where = part.get("where", lambda text: _runs(text, box))
    count = int(np.count_nonzero(where))
    values: int | AnyArray = part.get(
        "values",
        lambda value: (
            _unpacked(value, "<i8", (count,)) if isinstance(value, str) else _whole(value)
        ),
    )
    return part.make(lambda: Patch(part.get("index", _whole_numbers), box, where, values))


# ------------------------------------------------------------------------------------- the values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is needed.")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is needed.")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a whole number is needed.")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError("a number is needed.")
    return float(value)


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is needed.")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object with named fields is needed.")
    return value


def _hq(value: Any) -> Any:
    if value not in (True, False, "only"):
        raise ValueError('true, false or "only" is needed.')
    return value


def _whole_numbers(value: Any) -> tuple[int, ...]:
    return tuple(_whole(item) for item in _items(value))


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(_number(item) for item in _items(value))


def _two(value: Any) -> tuple[float, float]:
    y, x = _numbers(value)
    return y, x


def _two_whole(value: Any) -> tuple[int, int]:
    height, width = _whole_numbers(value)
    return height, width


def _four(value: Any) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = _numbers(value)
    return y0, x0, y1, x1


def _point(value: Any) -> PointPrompt:
    y, x, label = _items(value)
    return PointPrompt(_number(y), _number(x), PointLabel(_whole(label)))


def _box(value: Any) -> Box:
    y0, x0, y1, x1 = _whole_numbers(value)
    if not (0 <= y0 <= y1 and 0 <= x0 <= x1):
        raise ValueError("a box (y0, x0, y1, x1) is needed.")
    return Box(y0, x0, y1, x1)


def _runs(text: Any, box: Box) -> BoolArray:
    return mask_from_runs(runs_from_text(_text(text)), box.size_yx)


def _unpacked(text: Any, dtype: str, shape: tuple[int, ...]) -> AnyArray:
    data = zlib.decompress(base64.b64decode(_text(text), validate=True))
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(dtype[1:])
