"""Volumes of bright balls on a dark ground, and what it takes to label them in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from engine.threshold_predictor import CONFIG, INPUT_PX, NORMALIZE, TILING, ThresholdPredictor
from litesam.frames import Frame
from litesam.types import Embedding

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


class ExactPredictor(ThresholdPredictor):
    """Shows every region of up to 128 px without resampling, so blocks of any size are exact."""

    def encode(self, rgb: npt.NDArray[np.uint8], origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        self.encoded += 1
        height, width = rgb.shape[:2]
        frame = Frame(origin_yx, (height, width), (height, width), (INPUT_PX, INPUT_PX))
        grey = np.zeros((1, INPUT_PX, INPUT_PX), dtype=np.float32)
        grey[0, :height, :width] = rgb.mean(axis=-1)
        return Embedding({"image": grey}, frame, self.spec.name, self.weights_hash)


#: Keyword arguments of `label_volume` for the test predictor.
OPTIONS: dict[str, Any] = {
    "config": CONFIG,
    "normalize": NORMALIZE,
    "tiling": TILING,
    "proposals": "auto_ppn",
    "canvas_px": 0,
}


def balls(
    shape: tuple[int, int, int], centres: list[tuple[int, int, int]], radius: int = 6
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """A volume and its labels, ZYX."""
    labels = np.zeros(shape, dtype=np.int32)
    zz, yy, xx = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for number, (z, y, x) in enumerate(centres, start=1):
        labels[(zz - z) ** 2 + (yy - y) ** 2 + (xx - x) ** 2 <= radius**2] = number
    return np.where(labels > 0, 200, 20).astype(np.uint8), labels


def small_volume() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """12 slices of 96 × 80 px with five balls."""
    places = [(3, 20, 20), (5, 60, 30), (8, 25, 60), (9, 75, 62), (2, 70, 12)]
    return balls((12, 96, 80), places, radius=4)


def read_labels(path: Path) -> npt.NDArray[Any]:
    """Level 0 of a result."""
    return np.asarray(zarr.open_array(path / "0", mode="r")[...])


def files_of(path: Path) -> dict[str, bytes]:
    """All files of a folder, to compare two results bit for bit."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def predictor() -> ExactPredictor:
    """The test predictor."""
    return ExactPredictor()
