"""Alignment of a decoder: it learns to give the teacher's masks on the student's embeddings.

Source: Zhang et al. 2023, "Faster Segment Anything: Towards Lightweight SAM for Mobile
Applications" (MobileSAM), Sec. 3.2, where it is the optional step after the decoupled distillation:
the student's embeddings are near the teacher's but not the same, so the decoder that was made for
these is trained a little more. Both encoders and the prompt encoder stay as they are, and no labels
are needed: the masks that the teacher makes of a prompt are the truth, and its predicted IoU.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from litesam.embedder import Embedder
from litesam.errors import ConfigError
from litesam.models.registry import base_of, get_spec
from litesam.models.sam import Sam
from litesam.models.weights import load_network, resolve_weights
from litesam.predictors import load_predictor
from litesam.store import ZarrStore
from litesam.training.distill import check_pair, embed_pictures
from litesam.training.hq import check_same_start
from litesam.training.losses import mask_iou, mask_loss
from litesam.training.run import RunConfig, TrainingRun, step_random
from litesam.types import PromptBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litesam.frames import FloatArray
    from litesam.preprocess import Plane
    from litesam.types import Embedding, IsCancelled, Masks, OnProgress, Tile

_DECODER = "mask_decoder."
#: Families whose decoder is SAM's: it looks at the whole frame.
_FAMILIES = ("sam", "edge_sam")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig(RunConfig):
    """Everything that an alignment depends on, as data.

    Attributes
    ----------
    teacher, student
        Models: whose masks are learned, and whose decoder learns them on its own embeddings.
    teacher_weights
        Weights file of the teacher; None: the standard one.
    start_from
        Weights file of the student; None: the standard one.
    store
        Folder of the embeddings of both; None: in the run folder.
    prompts
        Points in a step; as many boxes are added, those of the masks that the teacher found.
    """

    teacher: str
    student: str
    teacher_weights: str | None = None
    start_from: str | None = None
    store: str | None = None
    learning_rate: float = 1e-4
    prompts: int = 8


class AlignedMasks(NamedTuple):
    """Prompts in model pixels (x, y), points (P, 1, 2) or boxes (P, 4), and what the teacher makes
    of them: logits (P, M, s, s) and predicted IoU (P, M).
    """

    points: Tensor | None
    boxes: Tensor | None
    logits: Tensor
    predicted_iou: Tensor


class AlignBatch(NamedTuple):
    """The student's embedding (1, C, h, w) of a tile, and prompts for it."""

    image: Tensor
    asked: tuple[AlignedMasks, ...]


class AlignTrainer(TrainingRun[AlignConfig, AlignBatch, Sam]):
    """One alignment. Call `precompute`, then `run`; both go on where they were cut off.

    Parameters
    ----------
    config
        What it depends on.
    pictures
        What is learned from, such as `litesam.training.pictures.Pictures`; always the same ones.

    Attributes
    ----------
    base
        The model of litesam whose network the student is.

    Raises
    ------
    ConfigError
        If the two do not go together or have no decoder of SAM, or the run goes on with other
        weights.
    WeightsError
        If weights are missing or damaged.
    """

    def __init__(self, config: AlignConfig, pictures: Sequence[Plane]) -> None:
        teacher, student = get_spec(config.teacher), get_spec(config.student)
        check_can_align(config.teacher, config.student)
        self.base = base_of(student).name
        path = resolve_weights(student, config.start_from)
        self._teacher = load_predictor(teacher.name, config.teacher_weights, config.device)
        self._student = load_predictor(student.name, path, config.device)
        both = self._teacher.weights_hash + self._student.weights_hash
        check_same_start(Path(config.run_folder), hashlib.sha256(both.encode()).hexdigest())
        super().__init__(config, lambda: _network(config.student, path), _is_of_decoder)
        store = ZarrStore(config.store or self.folder / "embeddings")
        self._embedders = (Embedder(self._teacher, store), Embedder(self._student, store))
        self._pictures = pictures
        self._tiles: list[tuple[int, Tile]] = []

    def precompute(
        self, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> int:
        """Encode all tiles of all pictures with both models; those in the store are skipped.

        Returns
        -------
        int
            Number of tiles.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; what is finished is kept.
        ReadError
            If a picture cannot be read.
        """
        message = "embedding with both models"
        self._tiles = embed_pictures(
            self._pictures, self._embedders, message, on_progress, cancelled
        )
        return len(self._tiles)

    def batches(self) -> Iterator[AlignBatch]:
        """Yield the batches from step ``self.step`` on: a random tile and random prompts each.

        Raises
        ------
        ConfigError
            If `precompute` did not come to its end.
        """
        if not self._tiles:
            raise ConfigError("The embeddings are not complete; call precompute first.")
        step = self.step
        while True:
            random = step_random(self.config.seed, step)
            number, tile = self._tiles[int(random.integers(len(self._tiles)))]
            yield self._batch(number, tile, random)
            step += 1

    def set_mode(self, batch: AlignBatch) -> None:
        """Train the decoder; the rest is not asked."""
        del batch
        self.model.eval()
        self.model.mask_decoder.train()

    def losses(self, batch: AlignBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss of the masks and of their predicted IoU against the teacher's; how well they agree
        (IoU).
        """
        image = batch.image.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            positions = self.model.prompt_encoder.dense_positions()
        masks: list[Tensor] = []
        quality: list[Tensor] = []
        agreement: list[Tensor] = []
        for part in batch.asked:
            points = None if part.points is None else part.points.to(self.device)
            boxes = None if part.boxes is None else part.boxes.to(self.device)
            ones = None if points is None else points.new_ones(points.shape[:2])
            logits, iou = self.model.decode(
                image, positions, points, ones, boxes, None, multimask=points is not None
            )
            logits, iou = logits.float(), iou.float()
            truth = (part.logits.to(self.device) > 0).float()
            for candidate in range(truth.shape[1]):
                one = slice(candidate, candidate + 1)
                masks.append(mask_loss(logits[:, one], truth[:, one])[:, 0])
                agreement.append(mask_iou(logits[:, one].detach(), truth[:, one])[:, 0])
            quality.append(((iou - part.predicted_iou.to(self.device)) ** 2).mean(dim=1))
        return (
            {"mask": torch.cat(masks).mean(), "iou": torch.cat(quality).mean()},
            {"agreement": torch.cat(agreement).mean()},
        )

    def _batch(self, number: int, tile: Tile, random: np.random.Generator) -> AlignBatch:
        plane = self._pictures[number]
        theirs, ours = (embedder.embed(plane, tile) for embedder in self._embedders)
        low = np.array((tile.padded.y0, tile.padded.x0))
        last = np.array(tile.padded.size_yx) - 1
        places = low + random.random((self.config.prompts, 1, 2)) * last
        asked, masks = self._with_points(theirs, places)
        boxes = _boxes_of(masks)
        parts = (asked, self._with_boxes(theirs, boxes)) if len(boxes) else (asked,)
        return AlignBatch(torch.from_numpy(np.array(ours.features["image"]))[None], parts)

    def _with_points(self, embedding: Embedding, places: FloatArray) -> tuple[AlignedMasks, Masks]:
        """What the teacher makes of clicks at (P, 1, 2) image pixels."""
        prompts = PromptBatch(points=places, labels=np.ones(places.shape[:2], dtype=np.int64))
        masks = self._teacher.decode(embedding, prompts, multimask=True)
        points = torch.from_numpy(embedding.frame.points_to_model(places))
        return AlignedMasks(points, None, *_answer(masks)), masks

    def _with_boxes(self, embedding: Embedding, boxes: FloatArray) -> AlignedMasks:
        masks = self._teacher.decode(embedding, PromptBatch(boxes=boxes), multimask=False)
        tensor = torch.from_numpy(embedding.frame.boxes_to_model(boxes))
        return AlignedMasks(None, tensor, *_answer(masks))


def check_can_align(teacher: str, student: str) -> None:
    """Check that a student's decoder can be aligned with a teacher's.

    Raises
    ------
    ConfigError
        If the two do not go together (`litesam.training.distill.check_pair`), or are not of the
        family whose decoder is SAM's.
    """
    specs = get_spec(teacher), get_spec(student)
    check_pair(*specs)
    for spec in specs:
        if spec.family not in _FAMILIES:
            raise ConfigError(
                f"The decoder of {spec.name!r} cannot be aligned: it is not SAM's, which decodes a "
                "whole frame; distil without the alignment."
            )


def _answer(masks: Masks) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(masks.logits), torch.from_numpy(masks.predicted_iou)


def _boxes_of(masks: Masks) -> FloatArray:
    """Boxes (P, 4), image pixels, of the best candidate of each prompt; empty masks left out."""
    best = masks.best()
    boxes = [best.crop(row)[0] for row in range(len(best))]
    corners = [(b.y0, b.x0, b.y1, b.x1) for b in boxes if b.y1 > b.y0 and b.x1 > b.x0]
    return np.array(corners, dtype=np.float32).reshape(-1, 4)


def _network(student: str, path: Path) -> Sam:
    network = load_network(get_spec(student), path)
    if not isinstance(network, Sam):
        raise ConfigError(f"{student!r} has no decoder of SAM.")
    return network


def _is_of_decoder(name: str) -> bool:
    return name.startswith(_DECODER)
