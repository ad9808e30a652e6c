"""The models that litesam knows: an explicit tuple; adding a model is adding
a `ModelSpec` to its family's file in `catalogue`.

Builders are strings, so that listing models imports no torch.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from litesam.errors import UnknownModelError
from litesam.models.catalogue.edge_sam import EDGE_SAM
from litesam.models.catalogue.efficient_sam import EFFICIENT_SAM
from litesam.models.catalogue.efficientvit_sam import EFFICIENTVIT_SAM
from litesam.models.catalogue.fast_sam import FAST_SAM
from litesam.models.catalogue.lite_sam import LITE_SAM, LITE_SAM_HQ
from litesam.models.catalogue.mobile_sam import MOBILE_SAM, MOBILE_SAM_HQ
from litesam.models.catalogue.mobilesam_v2 import MOBILE_SAM_V2, MOBILE_SAM_V2_ENCODERS
from litesam.models.catalogue.sam import HQ_SAM, SAM
from litesam.models.own_models import own_models

if TYPE_CHECKING:
    from litesam.types import ModelSpec

MODELS: tuple[ModelSpec, ...] = (
    *LITE_SAM,
    *MOBILE_SAM,
    *MOBILE_SAM_HQ,
    *MOBILE_SAM_V2,
    *SAM,
    *HQ_SAM,
    *EFFICIENT_SAM,
    *EDGE_SAM,
    *EFFICIENTVIT_SAM,
    *FAST_SAM,
    *LITE_SAM_HQ,
)

#: Image encoders with a file of their own, of models with ``encoder_from``; no models themselves.
ENCODERS: tuple[ModelSpec, ...] = MOBILE_SAM_V2_ENCODERS


def known_models() -> tuple[ModelSpec, ...]:
    """Return the specs of all networks that a whole weights file can be of."""
    return MODELS


def list_models() -> tuple[ModelSpec, ...]:
    """Return the specs of all models, the default first, the user's own last."""
    return (*MODELS, *own_models(known_models()))


def get_spec(name: str) -> ModelSpec:
    """Return the spec of one model, the user's own too, or of one of `ENCODERS`.

    Raises
    ------
    UnknownModelError
        If no model has that name; the message lists close matches.
    """
    for spec in (*known_models(), *ENCODERS):
        if spec.name == name:
            return spec
    listed = list_models()
    for spec in listed:
        if spec.name == name:
            return spec
    names = [spec.name for spec in listed]
    close = get_close_matches(str(name).lower().replace("-", "_").replace(" ", "_"), names, n=2)
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise UnknownModelError(
        f"There is no model {name!r}. {hint}Models: {', '.join(map(repr, names))}."
    )


def base_of(spec: ModelSpec) -> ModelSpec:
    """Return the model of litesam that a model is made of: itself, or that of an own model."""
    for known in known_models():
        if known.name == spec.name:
            return known
    return next(
        known
        for known in known_models()
        if (known.builder, known.parameters) == (spec.builder, spec.parameters)
    )
