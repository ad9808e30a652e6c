"""Which model runs when HQ is switched on, and why some have none. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam.errors import ConfigError
from litesam.models.registry import MODELS, get_spec

if TYPE_CHECKING:
    from litesam.types import HqMode, ModelSpec


def hq_spec(spec: ModelSpec, hq: HqMode = True) -> ModelSpec:
    """Return the model that runs for ``spec`` in an HQ mode: itself if HQ is off.

    Raises
    ------
    ConfigError
        If there is no HQ decoder for the model, or the mode is unknown.
    """
    if hq not in (False, True, "only"):
        raise ConfigError(f"hq={hq!r} is not known; choose False, True or 'only'.")
    if not hq:
        return spec
    reason = why_no_hq(spec)
    if reason is not None:
        raise ConfigError(reason)
    return get_spec(spec.hq or spec.name)


def why_no_hq(spec: ModelSpec) -> str | None:
    """Return why a model cannot be used with HQ and which can, or None if it can."""
    if spec.hq is not None:
        return None
    return (
        f"Model {spec.name!r} has no HQ decoder: such a decoder is trained for one encoder, and "
        f"none has been published for that of {spec.title}. For HQ choose {models_with_hq()}; or "
        f"use {spec.name!r} with hq=False."
    )


def models_with_hq() -> str:
    """Names of the models whose HQ decoder anybody can have, as words."""
    names = {model.name for model in MODELS}
    *able, last = [
        repr(model.name) for model in MODELS if model.hq in names and model.hq != model.name
    ]
    return f"{', '.join(able)} or {last}"
