"""Parameters with their limits, units and help texts."""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field
from typing import Any, Literal

from litesam.errors import ConfigError


def option(default: Any, help_text: str, unit: str = "", **about: Any) -> Any:
    """Field of a config: default, help, unit, limits (``minimum``, ``maximum``, ``choices``), and
    ``advanced`` for what few people need, so that a window may fold it away, and ``unset``, what
    None is called where it is not the model's own value.
    """
    return field(default=default, metadata={"help": help_text, "unit": unit, **about})


def _check_options(config: Any) -> None:
    """Raise `ConfigError` for the first field outside its declared limits."""
    for name, spec in config.__dataclass_fields__.items():
        value = getattr(config, name)
        if value is None:
            continue
        low, high = spec.metadata.get("minimum"), spec.metadata.get("maximum")
        choices = spec.metadata.get("choices")
        is_number = isinstance(value, numbers.Real)
        if not is_number and (low is not None or high is not None):
            raise ConfigError(f"{name} is {value!r}; a number is needed.")
        if choices is not None and value not in choices:
            raise ConfigError(
                f"{name} is {value!r}; choose one of {', '.join(map(repr, choices))}."
            )
        # Written so that NaN, which compares with nothing, is refused, too.
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            wanted = f"between {low} and {high}"
            if low is None or high is None:
                wanted = f"at {'least' if high is None else 'most'} {low if high is None else high}"
            raise ConfigError(f"{name} is {value}; it must be {wanted}.")


@dataclass(frozen=True, slots=True)
class NormalizeConfig:
    """How intensities become 0–255."""

    low_percentile: float = option(
        0.1, "Darkest share that becomes black", "%", minimum=0.0, maximum=50.0
    )
    high_percentile: float = option(
        99.9, "Share above which all is white", "%", minimum=50.0, maximum=100.0
    )
    limits: tuple[float, float] | None = option(
        None, "Fixed contrast limits (low, high) in image units; they replace the percentiles"
    )
    gamma: float = option(
        1.0,
        "Exponent between the limits: below 1 the dark parts become brighter, 1 is linear",
        minimum=0.05,
        maximum=20.0,
    )

    def __post_init__(self) -> None:
        _check_options(self)
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ConfigError(f"Contrast limits {self.limits} are empty; low must be below high.")


@dataclass(frozen=True, slots=True)
class TilingConfig:
    """How a plane larger than the model's input is cut."""

    tile_px: int = option(512, "Side of a tile, halo included", "px", minimum=64, maximum=4096)
    halo_px: int = option(64, "Overlap on each side of a tile", "px", minimum=0, maximum=1024)
    single_up_to_px: int = option(
        768,
        "Planes whose longest side is at most this are one tile",
        "px",
        minimum=64,
        maximum=4096,
    )

    def __post_init__(self) -> None:
        _check_options(self)
        if 2 * self.halo_px >= self.tile_px:
            raise ConfigError(
                f"A halo of {self.halo_px} px leaves nothing of a tile of {self.tile_px} px; "
                "the tile must be more than twice the halo."
            )


@dataclass(frozen=True, slots=True)
class EverythingConfig:
    """Parameters of everything mode; None means the model's own default."""

    points_per_side: int = option(32, "Grid: points along each side", minimum=1, maximum=256)
    points_per_batch: int | None = option(None, "Prompts decoded at once", minimum=1, maximum=1024)
    predicted_iou_threshold: float | None = option(
        None, "Drop masks whose predicted IoU is not above this", minimum=0.0, maximum=1.0
    )
    stability_threshold: float | None = option(
        None, "Drop masks whose stability score is below this", minimum=0.0, maximum=1.0
    )
    stability_offset: float = option(
        1.0, "Logit shift of the stability score", minimum=0.0, maximum=10.0
    )
    nms_iou: float | None = option(
        None,
        "Of two masks that overlap more than this the better stays; 1 keeps both",
        minimum=0.0,
        maximum=1.0,
    )
    confidence_threshold: float | None = option(
        None,
        "AutoPPN and instances: drop what has a confidence below this",
        minimum=0.0,
        maximum=1.0,
    )
    top_n: int = option(
        512, "AutoPPN: at most this many proposals per tile", minimum=1, maximum=4096
    )
    prompt_kind: Literal["point", "box", "both"] | None = option(
        None, "AutoPPN: what goes to the decoder", choices=("point", "box", "both")
    )
    small_objects: Literal["closer", "as_tiled"] | None = option(
        None,
        "AutoPPN: where most objects are small for the model: closer: look again in smaller tiles, "
        "which takes longer; as_tiled: take the tiles as they are",
        choices=("closer", "as_tiled"),
    )
    min_area_px: int = option(0, "Drop objects smaller than this", "px", minimum=0)
    min_region_area_px: int | None = option(
        None,
        "Fill holes of a mask, and remove islands of it, that are smaller than this",
        "px",
        minimum=0,
        advanced=True,
    )
    nms_containment: float | None = option(
        None,
        "Of two masks the better stays if more than this share of the smaller lies in the other; "
        "1 keeps nested masks",
        minimum=0.0,
        maximum=1.0,
    )
    overlap_policy: Literal["score", "largest_first", "smallest_first"] | None = option(
        None,
        "Who keeps contested pixels: score: the mask of better score; largest_first: the smaller "
        "mask, painted last; smallest_first: the larger mask",
        choices=("score", "largest_first", "smallest_first"),
    )
    min_visible: float | None = option(
        None,
        "Drop objects of which overlaps leave less than this share",
        minimum=0.0,
        maximum=1.0,
    )
    crop_layers: int = option(
        0,
        "Grid: layers of crops that are looked at as well; layer i cuts a tile into 2^i x 2^i",
        minimum=0,
        maximum=4,
        advanced=True,
    )
    crop_overlap_ratio: float = option(
        512 / 1500,
        "Grid: overlap of the crops of layer 1, share of the shorter side; half of it in layer 2 …",
        minimum=0.0,
        maximum=0.9,
        advanced=True,
    )
    crop_points_downscale: int = option(
        1,
        "Grid: points along each side of a crop are divided by this once per layer",
        minimum=1,
        maximum=16,
        advanced=True,
    )
    crop_nms_iou: float = option(
        0.7,
        "Grid: of two masks of different crops whose boxes overlap more than this that of the "
        "smaller crop stays",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )

    def __post_init__(self) -> None:
        _check_options(self)


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """How the objects of successive slices are linked into objects of a volume, or tracks."""

    measure: Literal["iou", "smaller"] = option(
        "smaller",
        "Overlap of two cross-sections: iou: shared pixels of the pixels of both; smaller: of the "
        "pixels of the smaller one, which follows objects to their tips and through coarse steps",
        choices=("iou", "smaller"),
    )
    min_overlap: float = option(
        0.5, "Cross-sections that overlap less than this are not linked", minimum=0.0, maximum=1.0
    )
    max_gap: int = option(
        1,
        "An object that is missing in up to this many slices goes on behind them",
        "slices",
        minimum=0,
        maximum=64,
    )
    min_extent: int = option(
        1, "Drop objects that were seen in fewer slices than this", "slices", minimum=1
    )
    waist: float = option(
        0.0,
        "Cut an object where its cross-section is at most this share of what it is on both sides, "
        "as where nuclei lie on top of each other (0.7 is good for round objects); 0: never",
        minimum=0.0,
        maximum=0.95,
    )
    max_shift_px: float = option(
        0.0,
        "Also link objects of the same shape whose centres are at most this far apart from one "
        "slice to the next, as moving cells in time; 0: by overlap alone",
        "px",
        minimum=0.0,
        maximum=4096.0,
    )

    def __post_init__(self) -> None:
        _check_options(self)


@dataclass(frozen=True, slots=True)
class PropagateConfig:
    """How prompted objects are carried from slice to slice."""

    prompt_kind: Literal["box", "point", "both", "mask", "all"] = option(
        "both",
        "What the decoder is told about the slice before: box: the box of the mask; point: its "
        "central point; both; mask: box and the mask itself, for models that take masks; all: box, "
        "point and mask",
        choices=("box", "point", "both", "mask", "all"),
    )
    stop_quality: float = option(
        0.88,
        "Stop where the predicted IoU falls below this share of that on the prompted slice",
        minimum=0.0,
        maximum=1.0,
    )
    min_overlap: float = option(
        0.3,
        "Stop where a mask overlaps the one before less than this (IoU)",
        minimum=0.0,
        maximum=1.0,
    )
    max_area_change: float = option(
        3.0,
        "Stop where an object grows or shrinks by more than this factor from one slice to the next",
        minimum=1.0,
        maximum=100.0,
    )
    min_contrast: float = option(
        0.15,
        "Stop where an object that was clearly brighter or darker than its surroundings keeps less "
        "than this share of the difference; 0: never",
        minimum=0.0,
        maximum=1.0,
    )
    patience: int = option(
        1,
        "Go on behind up to so many slices in a row in which an object seems lost",
        "slices",
        minimum=0,
        maximum=16,
    )
    max_slices: int | None = option(
        None,
        "Go at most so many slices beyond the last prompted one",
        "slices",
        minimum=1,
        unset="no limit",
    )
    object_share: float = option(
        0.08,
        "Small planes get a rim, so that an object takes no more than about this share of the side "
        "of what the model sees; 0: no rim",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    batch_size: int = option(64, "Objects decoded at once", minimum=1, maximum=1024, advanced=True)

    def __post_init__(self) -> None:
        _check_options(self)
