"""Everything mode: labels for a whole plane without a person.

``proposals`` says where objects may be (a grid of points, or the model's own AutoPPN),
``generator`` decodes, filters and merges.
"""

from litesam.everything.generator import (
    generate,
    label_plane,
    resolve_config,
    segment_everything,
)
from litesam.everything.proposals import choose_proposals, grid_points

__all__ = [
    "choose_proposals",
    "generate",
    "grid_points",
    "label_plane",
    "resolve_config",
    "segment_everything",
]
