"""The person at the mouse, simulated: prompts made from true objects and from a mask's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.prompting import bounding_box, central_click, deepest_pixel
from litesam.types import Box, BoxPrompt, PointLabel, PointPrompt, Prompts

if TYPE_CHECKING:
    from litesam.types import BoolArray

#: How far each side of a jittered box is off, as a share of the box's side (standard deviation),
#: and the largest shift in pixels: those of SAM's training (Kirillov et al. 2023, App. A).
BOX_NOISE, BOX_NOISE_PX = 0.1, 20.0

__all__ = [
    "bounding_box",
    "central_click",
    "correction_click",
    "jittered_box",
]


def jittered_box(box: Box, shape_yx: tuple[int, int], random: np.random.Generator) -> Prompts:
    """Box of an object as somebody in a hurry draws it: every side is a little off.

    Each side is moved by normal noise of `BOX_NOISE` of the box's height or width, at most
    `BOX_NOISE_PX` pixels, and stays inside the plane of ``shape_yx``.
    """
    sides = np.array([box.y0, box.x0, box.y1, box.x1], dtype=np.float64)
    lengths = np.tile(box.size_yx, 2)
    noise = random.normal(0.0, BOX_NOISE, 4) * lengths
    moved = sides + np.clip(noise, -BOX_NOISE_PX, BOX_NOISE_PX)
    y0, x0 = np.clip(moved[:2], 0.0, np.array(shape_yx) - 1.0)
    y1, x1 = np.clip(moved[2:], (y0 + 1.0, x0 + 1.0), shape_yx)
    return Prompts(box=BoxPrompt(float(y0), float(x0), float(y1), float(x1)))


def correction_click(true: BoolArray, predicted: BoolArray) -> PointPrompt | None:
    """Next click of somebody who corrects a mask: in the middle of the largest error.

    Of what is missing and of what is too much, the pixel that is farthest from the edge of its
    region; a click on the object if it is missing, beside the object if it is too much (Kirillov et
    al. 2023, Sec. 7.1 and App. D; the protocol of RITM, Sofiiuk et al. 2022, Sec. 4).

    Parameters
    ----------
    true, predicted
        (H, W) masks of the plane.

    Returns
    -------
    PointPrompt or None
        None if the masks are equal.
    """
    missing = deepest_pixel(true & ~predicted)
    surplus = deepest_pixel(predicted & ~true)
    if missing[2] == 0 and surplus[2] == 0:
        return None
    if missing[2] >= surplus[2]:
        return PointPrompt(missing[0], missing[1], PointLabel.FOREGROUND)
    return PointPrompt(surplus[0], surplus[1], PointLabel.BACKGROUND)
