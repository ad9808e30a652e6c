"""Everything mode: labels for a whole plane without a person.

``proposals`` says what the decoder is asked (a grid of points, places of AutoPPN, boxes), with
``crops`` of the grid and the ``sources`` of proposals that are not the model's own; ``defaults``
are per model; ``closer`` cuts smaller tiles for small objects; ``decoding`` filters masks and
suppresses duplicates; ``tile`` does one tile, ``generator`` a plane.
"""

from litesam.everything.closer import closer_windows
from litesam.everything.crops import crop_boxes
from litesam.everything.defaults import resolve_config, uses_option, ways_of_option
from litesam.everything.generator import find_objects, label_plane, segment_everything
from litesam.everything.proposals import choose_proposals, grid_points
from litesam.everything.sources import BoxSource
from litesam.everything.tile import generate

__all__ = [
    "BoxSource",
    "choose_proposals",
    "closer_windows",
    "crop_boxes",
    "find_objects",
    "generate",
    "grid_points",
    "label_plane",
    "resolve_config",
    "segment_everything",
    "uses_option",
    "ways_of_option",
]
