"""Make docs/images/failures.png: where Lite-SAM fails, beside what is right.

Uses the bundled weights and the validation images named below::

    python docs/generate_failures_picture.py data

``data`` is the folder of the data sets of the model card.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import litesam
from litesam.io import read_image, read_labels
from litesam.io.overlay import draw_overlay
from litesam.merge import paint_labels
from litesam.preprocess import to_rgb

PICTURE = Path(__file__).parent / "images" / "failures.png"
SIDE_PX, GAP_PX, TITLE_PX = 250, 10, 30
#: Pixels of the objects' outlines.
LINE_PX = 3.0


@dataclass(frozen=True, slots=True)
class Case:
    """A part of a validation image; ``boxes``: one for each object, in place of everything mode."""

    title: str
    folder: str
    name: str
    part: tuple[Any, ...]
    boxes: bool = False


CASES = (
    # title, folder, image, rows and columns, boxes
    Case("clumps", "dsb2018_fluo", "2bf594e9d06f78b4", (slice(0, 256), slice(0, 256))),
    Case("stained", "dsb2018_stained", "0d3640c1f1b80f24", (slice(0, 256), slice(0, 256))),
    Case("phase contrast", "usiigaci_phase", "set49_val", (slice(200, 520), slice(200, 520))),
    Case("TEM", "axons_tem", "sub-374_sample-0002_acq-roi_TEM", (slice(0, 400), slice(0, 400))),
    Case("cracks, boxes", "nasa_ebc_cracks", "EBC1_test_050317_3_S0440016", (...,), True),
    Case("neuron, a box", "pfc_neurons", "img006", (slice(0, 480), slice(80, 560)), True),
)


def _found(segmenter: litesam.Segmenter, truth: np.ndarray, case: Case) -> np.ndarray:
    """Labels that the model gives."""
    if not case.boxes:
        return segmenter.everything()[0]
    prompts = []
    for number in np.unique(truth[truth > 0]):
        rows, columns = np.nonzero(truth == number)
        box = litesam.BoxPrompt(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        prompts.append(litesam.Prompts(box=box))
    return paint_labels(segmenter.segment_many(prompts), truth.shape)[0]


def _tile(rgb: np.ndarray, labels: np.ndarray) -> Image.Image:
    zoom = max(1, round(2 * SIDE_PX / len(rgb)))
    drawn = Image.fromarray(draw_overlay(rgb, labels, zoom=zoom, line_px=LINE_PX))
    return drawn.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


def main() -> None:
    """Segment and draw."""
    data = Path(sys.argv[1])
    step = SIDE_PX + GAP_PX
    size = (len(CASES) * step + GAP_PX, TITLE_PX + 2 * step)
    sheet = Image.new("RGB", size, (250, 250, 250))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for column, case in enumerate(CASES):
        folder = data / case.folder
        image = np.asarray(read_image(folder / "images" / f"{case.name}.png").array)
        truth = np.asarray(read_labels(folder / "labels" / f"{case.name}.png").array)
        hq = case.folder == "pfc_neurons"
        segmenter = litesam.Segmenter(image, axes="YX" if image.ndim == 2 else "YXC", hq=hq)
        rgb, labels = to_rgb(image).rgb, _found(segmenter, truth, case)
        left = GAP_PX + column * step
        pen.text((left, TITLE_PX // 2), case.title, fill=(40, 40, 40), font=font, anchor="lm")
        for row, marks in enumerate((truth, labels)):
            part = _tile(rgb[case.part], np.asarray(marks)[case.part])
            sheet.paste(part, (left, TITLE_PX + row * step))
    sheet.quantize(256).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
