"""Which controls cannot be used now, and why: sentences for their tooltips. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from litesam.models.registry import get_spec
from litesam.types import ModelSpec
from napari_litesam.image_axes import channel_choices
from napari_litesam.requests import NotReady, PlaneRequest
from napari_litesam.variants import why_no_hq, why_no_words

if TYPE_CHECKING:
    from napari_litesam.state import Settings


_TOOLS = ("positive", "negative", "box", "lasso", "scribble")


@dataclass(frozen=True, slots=True)
class Situation:
    """What the controller knows beside the settings.

    Attributes
    ----------
    plane
        The plane shown, or why there is none.
    computing
        A computation that was started by a button runs.
    decoding
        A prompt is being answered.
    comparing
        What compares pictures with words is being loaded.
    shown
        An object is in the preview.
    asked
        There are prompts that the model was asked about.
    specs
        The models that can be chosen.
    can_undo, can_redo, has_prompts
        Whether there are steps to undo and to redo, and prompts to clear.
    candidates
        Number of masks to choose from for the object in the preview.
    """

    plane: PlaneRequest | NotReady
    specs: tuple[ModelSpec, ...] = ()
    computing: bool = False
    decoding: bool = False
    comparing: bool = False
    shown: bool = False
    asked: bool = False
    can_undo: bool = False
    can_redo: bool = False
    candidates: int = 0
    has_prompts: bool = False


def disabled_reasons(settings: Settings, situation: Situation) -> dict[str, str]:
    """Return the reason by name of each control that cannot be used now."""
    plane = situation.plane
    reasons: dict[str, str] = {}
    if isinstance(plane, NotReady):
        for name in ("embed", "everything", *_TOOLS, "words", "find"):
            reasons[name] = plane.reason
    elif situation.computing:
        for name in ("embed", "everything", "clear_cache"):
            reasons[name] = "A computation is running; wait or cancel it."
    if not (situation.computing or situation.decoding):
        reasons["cancel"] = "Nothing is running."
    if settings.colours is not None:
        reasons["channel"] = "The colours say what the model sees."
    elif len(channel_choices(settings.image)) < 2:
        reasons["channel"] = (
            "The image has no channel axis; the sliders choose the plane."
            if settings.image is not None
            else "There is no image."
        )
    if isinstance(plane, NotReady) or not plane.source.planes:
        reasons["all_planes"] = "The image has one plane."
    if not situation.can_undo:
        reasons["undo"] = "There is nothing to undo."
    if not situation.can_redo:
        reasons["redo"] = "Nothing was undone."
    if situation.candidates < 2:
        reasons["candidate"] = candidate_reason(situation.candidates)
    if not situation.has_prompts:
        reasons["clear"] = "There are no prompts."
    if not situation.shown and not situation.decoding:
        reasons["commit"] = commit_reason(situation.asked)
    if settings.image is None:
        reasons["target"] = "There is no image."
    spec = get_spec(settings.model)
    no_hq = why_no_hq(spec, situation.specs)
    if no_hq is not None:
        reasons["hq"] = no_hq
    no_words = why_no_words(spec, situation.specs)
    if no_words is not None:
        reasons.update(dict.fromkeys(("words", "find"), no_words))
    elif situation.comparing:
        reasons["find"] = "CLIP is being loaded."
    for kind, names in (("box", ("box",)), ("point", ("positive", "negative", "scribble"))):
        if kind not in spec.prompts:
            reasons.update(dict.fromkeys(names, f"{spec.title} takes no {kind} prompts."))
    if not {"mask", "point"} & set(spec.prompts):
        reasons["lasso"] = f"{spec.title} takes neither masks nor points, which outlines become."
    return reasons


def candidate_reason(candidates: int) -> str:
    """Why there is no other mask to choose."""
    if not candidates:
        return "There is no object in the preview: click on one."
    return (
        "The model gives several masks for a single point only; a box and further points say "
        "what is meant."
    )


def commit_reason(asked: bool) -> str:
    """Why there is nothing to commit."""
    if not asked:
        return "There is no object to commit: click on one, or draw a box around it."
    return "There is no mask for these prompts; change them."
