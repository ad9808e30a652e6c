"""What None in an `EverythingConfig` means: per way of proposing, then per model."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from litesam.types import PROPOSALS, EverythingConfig

if TYPE_CHECKING:
    from litesam.types import ModelSpec

#: For all ways of proposing.
_COMMON: dict[str, Any] = {
    "points_per_batch": 64,
    "predicted_iou_threshold": 0.0,
    "stability_threshold": 0.0,
    "confidence_threshold": 0.0,
    "prompt_kind": "both",
    "nms_iou": 0.7,
    "nms_containment": 1.0,
    "min_region_area_px": 0,
    "overlap_policy": "score",
    "min_visible": 0.5,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    # those of SAM's automatic mask generator
    "grid": {
        "predicted_iou_threshold": 0.88,
        "stability_threshold": 0.95,
        "prompt_kind": "point",
        "min_visible": 0.25,
    },
    # Proposals hold few places without an object, so the filters are milder than a grid's; between
    # those of EfficientSAM's notebook and none. A model that was measured has its own.
    "auto_ppn": {
        "predicted_iou_threshold": 0.7,
        "stability_threshold": 0.8,
        "confidence_threshold": 0.4,
    },
    # those of MobileSAMv2 (Zhang et al. 2023, arXiv:2312.09579): no filter and no suppression of
    # masks, the largest is painted first
    "boxes": {
        "points_per_batch": 320,
        "confidence_threshold": 0.4,
        "prompt_kind": "box",
        "nms_iou": 1.0,
        "overlap_policy": "largest_first",
        "min_visible": 0.0,
    },
    # The network has filtered and suppressed already.
    "instances": {"nms_iou": 1.0, "overlap_policy": "largest_first", "min_visible": 0.0},
}

#: Options that only some ways of proposing look at; all look at the others.
_ONLY_FOR = {
    "points_per_side": ("grid",),
    "crop_layers": ("grid",),
    "crop_overlap_ratio": ("grid",),
    "crop_points_downscale": ("grid",),
    "crop_nms_iou": ("grid",),
    "points_per_batch": ("grid", "auto_ppn", "boxes"),
    "confidence_threshold": ("auto_ppn", "boxes", "instances"),
    "top_n": ("auto_ppn", "boxes"),
    "prompt_kind": ("auto_ppn", "boxes"),
    "small_objects": ("auto_ppn", "boxes"),
}
#: Options about what a network proposes: without effect on boxes of the caller.
_ABOUT_PROPOSED = frozenset({"confidence_threshold", "top_n", "prompt_kind", "small_objects"})


def ways_of_option(name: str) -> tuple[str, ...]:
    """Return the ways of proposing (`PROPOSALS`) that look at an option."""
    return _ONLY_FOR.get(name, PROPOSALS)


def uses_option(name: str, proposals: str, *, with_boxes: bool = False) -> bool:
    """Whether an option of `EverythingConfig` has any effect.

    Parameters
    ----------
    name
        Name of the option.
    proposals
        The way of proposing.
    with_boxes
        The caller gives the boxes.
    """
    return proposals in ways_of_option(name) and not (with_boxes and name in _ABOUT_PROPOSED)


def resolve_config(
    spec: ModelSpec, proposals: str, config: EverythingConfig | None = None
) -> EverythingConfig:
    """Return the config with every None replaced by the model's default.

    ``spec.everything`` may hold defaults by option name, for all ways of proposing, and, with
    precedence, under the name of the proposals:
    ``{"min_visible": 0.5, "grid": {"stability_threshold": 0.95}}``.

    Raises
    ------
    ConfigError
        If ``spec.everything`` holds a value outside the option's limits.
    """
    config = EverythingConfig() if config is None else config
    own = {name: value for name, value in spec.everything.items() if name not in PROPOSALS}
    of_proposals = spec.everything.get(proposals, {})
    small = {"small_objects": "closer" if spec.looks_closer else "as_tiled"}
    defaults = {**_COMMON, **small, **_DEFAULTS[proposals], **own, **of_proposals}
    missing = {
        option.name: defaults[option.name]
        for option in fields(config)
        if getattr(config, option.name) is None
    }
    return replace(config, **missing)
