"""Make docs/images/everything.png: one sample, several ways of everything mode.

Uses the bundled weights and the bundled sample::

    python docs/generate_everything_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import litesam
from litesam.io import read_image, write_gallery
from litesam.merge import paint_labels
from litesam.samples import sample_path

PICTURE = Path(__file__).parent / "images" / "everything.png"
#: Part of the sample that is shown: rows, columns.
PART = (slice(140, 340), slice(240, 440))
#: Clicks for the last panel, (y, x) in pixels of that part.
CLICKS = ((56, 103), (104, 50), (140, 183))


def main() -> None:
    """Segment and draw."""
    image = np.asarray(read_image(sample_path("nuclei")).array)[PART]
    segmenter = litesam.Segmenter(image, axes="YX")
    rgb = segmenter.plane().rgb
    panels = []
    for proposals in ("auto_ppn", "grid"):
        labels, records = segmenter.everything(proposals=proposals)
        panels.append((f"{proposals}: {len(records)} objects", rgb, labels))
    objects = segmenter.find_objects()
    chosen = [
        litesam.select_by_prompts(objects, litesam.Prompts((litesam.PointPrompt(y, x),)))
        for y, x in CLICKS
    ]
    labels, painted = paint_labels(chosen, segmenter.plane_shape)
    panels.append((f"{len(painted)} of them, by clicks", rgb, labels))
    write_gallery(PICTURE, panels, overwrite=True, height_px=230)


if __name__ == "__main__":
    main()
