"""What was drawn, or an existing label image → prompts that a model takes."""

from litesam.prompting.drawn import MASK_LOGIT, mask_prompt, prompts_from_drawing
from litesam.prompting.from_masks import (
    PROMPT_KINDS,
    bounding_box,
    central_click,
    deepest_pixel,
    drawings_from_labels,
    outline,
)

__all__ = [
    "MASK_LOGIT",
    "PROMPT_KINDS",
    "bounding_box",
    "central_click",
    "deepest_pixel",
    "drawings_from_labels",
    "mask_prompt",
    "outline",
    "prompts_from_drawing",
]
