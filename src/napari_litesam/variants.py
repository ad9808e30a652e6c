"""Models in words: groups, one line, all details, and which model is the HQ one of another.

Pure functions of specs and of what there is of their weights. No Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from litesam.types import ModelSpec, Prompts
    from litesam.weights import WeightsStatus

#: Family of the models whose names begin so; light ones first.
_FAMILIES = {
    "lite_sam": "Lite-SAM",
    "mobile_sam": "MobileSAM",
    "mobilesam": "MobileSAM",
    "edge_sam": "EdgeSAM",
    "efficient_sam": "EfficientSAM",
    "efficientvit_sam": "EfficientViT-SAM",
    "sam_vit": "SAM",
    "sam_hq": "HQ-SAM",
    "fastsam": "FastSAM",
}
#: Words for the ways of everything mode, short and in full.
PROPOSALS = {
    "auto_ppn": ("AutoPPN", "AutoPPN: places that Lite-SAM's network sees. Quick."),
    "grid": ("Grid", "A regular grid of points over the plane, as SAM does. Slow."),
    "boxes": (
        "Boxes",
        "The boxes that you have drawn in this plane, one object each; without any, boxes of "
        "AutoPPN.",
    ),
    "instances": ("Instances", "All objects that the network finds by itself. Quick."),
}


def grouped(specs: Iterable[ModelSpec]) -> dict[str, list[ModelSpec]]:
    """Return the models by family, those of no known family each by itself at the end."""
    groups: dict[str, list[ModelSpec]] = {family: [] for family in _FAMILIES.values()}
    for spec in specs:
        known = (family for start, family in _FAMILIES.items() if spec.name.startswith(start))
        groups.setdefault(next(known, spec.title), []).append(spec)
    return {family: members for family, members in groups.items() if members}


def size_words(size_bytes: int | None) -> str:
    """``"41 MB"``, ``"2.6 GB"``; a question mark if the size is not known."""
    if size_bytes is None:
        return "? MB"
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{max(size_bytes / 1e6, 0.1):.{0 if size_bytes >= 9.5e6 else 1}f} MB"


def one_line(spec: ModelSpec, status: WeightsStatus | None) -> str:
    """Parameters, licence and size of a model, and whether it is there."""
    parts = [_parameters(spec), spec.weights.licence]
    if status is None:
        parts.append(size_words(spec.weights.size_bytes or spec.weights.approx_bytes))
    elif status.present:
        parts.append("✓ here")
    else:
        parts.append(f"↓ {size_words(status.download_bytes)}")
    return " · ".join(parts)


def details(spec: ModelSpec, status: WeightsStatus | None) -> str:
    """Everything about a model that helps to choose, one fact a line."""
    limit = "" if spec.max_points is None else f"; at most {spec.max_points} points, a box is two"
    # A mask prompt is what refines an earlier mask; the panel asks for points and boxes.
    kinds = {"point": "points", "box": "boxes", "text": "words"}
    prompts = " and ".join(kinds[p] for p in spec.prompts if p in kinds)
    lines = [
        spec.title,
        f"Parameters: {_parameters(spec)}",
        f"Weights: {_where(spec, status)}",
        f"Licence of the weights: {spec.weights.licence}",
        *([spec.weights.licence_note] if spec.weights.licence_note else []),
        f"Prompts: {prompts}{limit}",
        f"HQ: {_hq(spec)}",
        "Everything: " + ", ".join(PROPOSALS.get(p, (p,))[0] for p in spec.proposals),
        f"Memory: about {size_words(spec.memory_bytes)}",
        spec.paper,
    ]
    return "\n".join(lines)


def _hq(spec: ModelSpec) -> str:
    if spec.hq is None:
        return "no"
    if is_hq(spec):
        return "yes"
    return "can be chosen"


def _parameters(spec: ModelSpec) -> str:
    millions = spec.parameters / 1e6
    return f"{millions:.1f} M" if millions < 99.95 else f"{millions:.0f} M"


def _where(spec: ModelSpec, status: WeightsStatus | None) -> str:
    if status is None:
        return size_words(spec.weights.size_bytes or spec.weights.approx_bytes)
    if not status.present:
        return f"not on this computer, {size_words(status.download_bytes)} to download"
    place = "in the package" if status.origin == "bundled" else str(status.path)
    return f"{size_words(status.size_bytes)}, {place}"


# ----------------------------------------------------------------------------------------------- HQ


def is_hq(spec: ModelSpec) -> bool:
    """Whether a model is an HQ one itself."""
    return spec.hq == spec.name


def hq_partner(spec: ModelSpec, specs: Sequence[ModelSpec]) -> ModelSpec | None:
    """Return the model with the other state of HQ and the same encoder; None if there is none."""
    for other in specs:
        if other is spec or other.name == spec.name:
            continue
        if other.name == spec.hq or (is_hq(spec) and other.hq == spec.name):
            return other
    return None


def why_no_hq(spec: ModelSpec, specs: Sequence[ModelSpec]) -> str | None:
    """Return why HQ cannot be switched for a model, and for which it can; None if it can."""
    if hq_partner(spec, specs) is not None:
        return None
    if is_hq(spec):
        return f"{spec.title} is HQ always; its model without HQ is not offered."
    able = [s.title for s in specs if not is_hq(s) and hq_partner(s, specs) is not None]
    if not able:
        return "No model here has an HQ decoder."
    return (
        f"There is no HQ decoder for {spec.title}: such a decoder is trained for one encoder. "
        f"{', '.join(able)} have one."
    )


# ------------------------------------------------------------------------------------------ prompts


def why_no_words(spec: ModelSpec, specs: Sequence[ModelSpec]) -> str | None:
    """Return why a model cannot find objects by words, and which can; None if it can."""
    if "text" in spec.prompts:
        return None
    able = [s.title for s in specs if "text" in s.prompts]
    others = f"; {' and '.join(able)} can" if able else ""
    return f"{spec.title} cannot find objects by words{others}."


def why_not(spec: ModelSpec, prompts: Prompts) -> str | None:
    """Return why a model cannot take these prompts and what to do; None if it can."""
    for kind, given in (("box", prompts.box is not None), ("point", bool(prompts.points))):
        if given and kind not in spec.prompts:
            return (
                f"{spec.title} takes no {kind} prompts. The prompts stay: undo ({{undo}}) or "
                "delete them, or choose another model."
            )
    count = point_count(prompts)
    if spec.max_points is not None and count > spec.max_points:
        box = ", the box counts as two" if prompts.box is not None else ""
        return (
            f"{spec.title} takes at most {spec.max_points} points; there are {count}{box}. "
            "The prompts stay: undo ({undo}) or delete some, or choose another model."
        )
    return None


def point_count(prompts: Prompts) -> int:
    """Points of a prompt as models with a limit count them."""
    return len(prompts.points) + 2 * (prompts.box is not None)
