"""A predictor without a network that is right on bright objects on a dark ground.

It keeps the grey plane as its embedding and answers a prompt with the bright connected object that
was meant. Images of up to 128 px have no resampling, so masks are exact and results are known in
advance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.frames import fit_longest_side
from litesam.models.registry import get_spec
from litesam.types import (
    EverythingConfig,
    Masks,
    ModelSpec,
    NormalizeConfig,
    Proposals,
    TilingConfig,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from litesam.types import Embedding, PromptBatch

from dataclasses import replace

from litesam.types import Embedding as _Embedding

INPUT_PX = 128

#: Where the discs of a small test scene lie.
CENTRES = [(30, 30), (30, 90), (90, 60)]

#: 0–255 stay as they are; tiles of 128 px without resampling.
NORMALIZE = NormalizeConfig(limits=(0.0, 255.0))
TILING = TilingConfig(tile_px=128, halo_px=24, single_up_to_px=128)
CONFIG = EverythingConfig(points_per_side=16)


class ThresholdPredictor:
    """Satisfies the predictor protocol; proposals are the centres of the bright objects."""

    def __init__(self, proposes: bool = True) -> None:
        self.spec: ModelSpec = replace(
            get_spec("lite_sam"),
            name="threshold",
            input_px=INPUT_PX,
            feature_shapes={"image": (1, INPUT_PX, INPUT_PX)},
            proposals=("auto_ppn", "grid", "boxes") if proposes else ("grid",),
            everything={},
            looks_closer=False,
        )
        self.device = "cpu"
        self.weights_hash = self.encoder_hash = "0" * 16
        self.encoded = 0
        self.decoded: list[int] = []
        self.multimask: list[bool] = []

    def encode(self, rgb: npt.NDArray[np.uint8], origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        self.encoded += 1
        frame = fit_longest_side(rgb.shape[:2], INPUT_PX, origin_yx)
        height, width = frame.content_yx
        y = (np.arange(height) + 0.5) * rgb.shape[0] / height
        x = (np.arange(width) + 0.5) * rgb.shape[1] / width
        grey = np.zeros((1, INPUT_PX, INPUT_PX), dtype=np.float32)
        grey[0, :height, :width] = rgb[y.astype(int)][:, x.astype(int)].mean(axis=-1)
        return _Embedding({"image": grey}, frame, self.spec.name, self.weights_hash)

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        self.decoded.append(len(prompts))
        self.multimask.append(multimask)
        objects = self._objects(embedding)
        masks, scores = [], []
        for p in range(len(prompts)):
            found = self._meant(embedding, objects, prompts, p)
            variants = [found]
            if multimask:
                variants = [ndimage.binary_erosion(found, iterations=2), found, found & False]
            masks.append([np.where(v, 8.0, -8.0) for v in variants])
            best = 0.95 if found.any() else 0.1
            scores.append([best * 0.8, best, best * 0.7] if multimask else [best])
        return Masks(
            np.array(masks, dtype=np.float32),
            np.array(scores, dtype=np.float32),
            embedding.frame,
            (INPUT_PX, INPUT_PX),
        )

    decode_windows = decode

    def batches(
        self, embedding: Embedding, prompts: PromptBatch, batch_size: int = 64
    ) -> Iterator[npt.NDArray[np.int64]]:
        # Neighbours are not together, as in a decoder that sorts prompts by their place.
        order = np.argsort(np.arange(len(prompts)) % 3, kind="stable")
        for start in range(0, len(prompts), batch_size):
            yield order[start : start + batch_size]

    def propose(
        self, embedding: Embedding, *, top_n: int, confidence_threshold: float
    ) -> Proposals | None:
        if "auto_ppn" not in self.spec.proposals:
            return None
        objects = self._objects(embedding)
        points, boxes, confidence = [], [], []
        for label, (rows, columns) in enumerate(ndimage.find_objects(objects), start=1):
            depth = ndimage.distance_transform_edt(np.pad(objects[rows, columns] == label, 1))
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            points.append((columns.start + x - 1, rows.start + y - 1))
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
            confidence.append(1.0 - 1.0 / (1.0 + depth.max()))
        order = np.argsort(-np.array(confidence), kind="stable")[:top_n]
        order = order[np.array(confidence)[order] > confidence_threshold] if len(order) else order
        order = order.astype(int)
        return Proposals(
            embedding.frame.points_to_image(np.reshape(points, (-1, 2))[order]),
            embedding.frame.boxes_to_image(np.reshape(boxes, (-1, 4))[order]),
            np.array(confidence, dtype=np.float32)[order],
        )

    @staticmethod
    def _objects(embedding: Embedding) -> npt.NDArray[np.int32]:
        objects, _ = ndimage.label(embedding.features["image"][0] > 127)
        return objects

    @staticmethod
    def _meant(
        embedding: Embedding, objects: npt.NDArray[np.int32], prompts: PromptBatch, p: int
    ) -> npt.NDArray[np.bool_]:
        """Bright object under the foreground points, or the one that fills the box best."""
        if prompts.points is not None and prompts.labels is not None and prompts.points.shape[1]:
            xy = embedding.frame.points_to_model(prompts.points[p])
            x, y = np.clip(np.round(xy).astype(int), 0, INPUT_PX - 1).T
            here = set(objects[y, x][prompts.labels[p] == 1]) - {0}
            here -= set(objects[y, x][prompts.labels[p] == 0])
            return np.isin(objects, list(here))
        if prompts.boxes is not None:
            x0, y0, x1, y1 = np.round(embedding.frame.boxes_to_model(prompts.boxes[p])).astype(int)
            counts = np.bincount(objects[max(y0, 0) : y1, max(x0, 0) : x1].ravel(), minlength=1)
            counts[0] = 0
            return objects == counts.argmax() if counts.any() else objects < 0
        return prompts.low_res_masks[p] > 0


def discs(
    shape_yx: tuple[int, int], centres: list[tuple[int, int]], radius: int = 7
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """An image of bright discs on a dark ground and its labels."""
    labels = np.zeros(shape_yx, dtype=np.int32)
    yy, xx = np.mgrid[: shape_yx[0], : shape_yx[1]]
    for number, (y, x) in enumerate(centres, start=1):
        labels[(yy - y) ** 2 + (xx - x) ** 2 <= radius**2] = number
    return np.where(labels > 0, 200, 20).astype(np.uint8), labels


def same_objects(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32]) -> bool:
    """Whether two label images hold the same objects under whatever numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1).T
    a, b = pairs.T
    return len(set(a)) == len(pairs) == len(set(b)) and bool(((a == 0) == (b == 0)).all())
