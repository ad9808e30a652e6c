"""First prompts of a training step: objects of each crop, a kind of prompt, a decoder window.

Source: Kirillov et al. 2023, "Segment Anything", Appendix A, "Training algorithm".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from litesam.training.targets import Objects, jitter_box, sample_point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PromptKind = Literal["point", "auto", "proposal", "box", "both"]
#: Share of each kind: a bare click, a click with AutoPPN's box under it, that box alone (everything
#: mode's prompt), a drawn box, a click with a drawn box.
KIND_SHARES: dict[PromptKind, float] = {
    "point": 0.06,
    "auto": 0.30,
    "proposal": 0.10,
    "box": 0.32,
    "both": 0.22,
}
#: Sides of the decoder's windows, embedding cells.
WINDOW_SIDES = (16, 32, 64)


@dataclass(slots=True)
class PromptGroup:
    """Prompts of one kind that are decoded in windows of one size; arrays along P."""

    kind: PromptKind
    side: int
    images: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    points: list[tuple[float, float]] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)
    origins: list[tuple[int, int]] = field(default_factory=list)


def make_prompts(
    objects: Sequence[Objects],
    cells: int,
    stride: int,
    count: int,
    random: np.random.Generator,
    shares: Mapping[PromptKind, float] = KIND_SHARES,
    window_sides: Sequence[int] = WINDOW_SIDES,
) -> list[PromptGroup]:
    """Draw up to ``count`` objects of each crop with a first prompt and a decoder window each.

    Parameters
    ----------
    objects
        The crops' objects.
    cells
        Side of the crops' embeddings.
    stride
        Model pixels per cell.
    count
        Largest number of objects of a crop.
    random
        Source of chance.
    shares
        Share of each kind of prompt.
    window_sides
        Sides of the windows that the decoder has, cells, ascending.
    """
    groups: dict[tuple[PromptKind, int], PromptGroup] = {}
    kinds, parts = list(shares), list(shares.values())
    for image, described in enumerate(objects):
        total = len(described.boxes)
        for label in random.permutation(total)[:count] + 1:
            box = described.boxes[label - 1]
            kind = kinds[int(random.choice(len(kinds), p=parts))]
            side = _window_side(box, [s for s in window_sides if s <= cells], stride, random)
            group = groups.setdefault((kind, side), PromptGroup(kind, side))
            point = sample_point(described, int(label), random)
            jittered = jitter_box(box, cells * stride, random)
            group.images.append(image)
            group.labels.append(int(label))
            group.points.append(point)
            group.boxes.append(jittered)
            centre = point if kind in ("point", "auto") else ((jittered[:2] + jittered[2:]) / 2)
            group.origins.append(_window_origin(centre, side, cells, stride, random))
    return list(groups.values())


def _window_side(box: Any, sides: Sequence[int], stride: int, random: np.random.Generator) -> int:
    """Smallest window that holds the object with a margin, now and then a larger one."""
    longest = float(max(box[2] - box[0], box[3] - box[1])) / stride
    fitting = [side for side in sides if longest * 1.25 + 2 <= side] or [sides[-1]]
    return fitting[0] if random.random() < 0.8 else fitting[min(1, len(fitting) - 1)]


def _window_origin(
    centre: Any, side: int, cells: int, stride: int, random: np.random.Generator
) -> tuple[int, int]:
    """Top-left cell of a window around a point, shifted a little and kept inside the crop."""
    shift = random.uniform(-0.1, 0.1, 2) * side
    low = np.round(np.asarray(centre) / stride - side / 2 + shift)
    return tuple(int(v) for v in np.clip(low, 0, cells - side))  # type: ignore[return-value]
