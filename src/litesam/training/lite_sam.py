"""Training of Lite-SAM, end to end: encoder, prompt proposals and windowed mask decoder.

The step follows SAM (Kirillov et al. 2023, Appendix A): a first prompt (point, box, or both as
AutoPPN gives them), the three-mask loss for single points, then a corrective point in the error
region together with the previous logits. AutoPPN's losses are added (Fu et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.auto_ppn import boxes_at
from litesam.models.lite_sam import LiteSAM, build
from litesam.models.prompt_maps import (
    WindowPrompts,
    boxes_of_masks,
    boxes_with_clicks,
    contradicted,
    logits_at,
)
from litesam.models.registry import get_spec
from litesam.models.weights import load_network
from litesam.training.batches import (
    Batch,
    BatchStream,
    GroupTensors,
    group_tensors,
    load_batches,
)
from litesam.training.data import AugmentConfig, CropStream, DataSetConfig, load_folder
from litesam.training.losses import (
    box_loss,
    confidence_loss,
    mask_iou,
    mask_loss,
    presence_loss,
)
from litesam.training.run import RunConfig, TrainingRun
from litesam.training.synthetic import PREFIX, SyntheticSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litesam.training.data import RgbImage
    from litesam.training.prompts import PromptGroup

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

#: The mix that the shipped weights are trained on.
DEFAULT_SETS = (
    DataSetConfig("dsb2018_fluo", 0.38),
    DataSetConfig("dsb2018_stained", 0.18),
    DataSetConfig("usiigaci_phase", 0.13),
    DataSetConfig("axons_tem", 0.09),
    DataSetConfig("fib25_neurites", 0.07),
    DataSetConfig("nasa_ebc_cracks", 0.05, exhaustive=False),
    DataSetConfig("pfc_neurons", 0.05, exhaustive=False),
    DataSetConfig("chase_vessels", 0.05, exhaustive=False, proposals=False),
    DataSetConfig("synthetic:cells", 0.08),
    DataSetConfig("synthetic:membranes", 0.05),
    DataSetConfig("synthetic:filaments", 0.05),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(RunConfig):
    """Everything that a training run of Lite-SAM depends on, as data.

    Attributes
    ----------
    data_root, sets
        Folder of data sets, and which of them in which shares; those whose names begin with
        ``synthetic:`` are drawn (`litesam.training.synthetic`).
    start_from
        Weights file to start from; None: random weights.
    frozen_encoder, frozen_proposals
        Leave the encoder as it is, and AutoPPN; without the encoder the statistics of all layers
        stay as well.
    crop_px, batch
        Sides of the crops and how many there are in a step, in turn.
    auto_from
        Share of the steps after which clicks come with AutoPPN's boxes; from the first step on
        with weights to start from.
    prompts_per_crop
        Largest number of prompted objects of a crop; three times as many in whole inputs.
    correction_share, most_corrections
        Share of the steps in which corrective clicks follow, and their largest number.
    click_weight
        Of the loss at the places of clicks, in the masks after a corrective one.
    confidence_weight, presence_weight, box_weight
        Of AutoPPN's losses.
    augment
        How crops are varied.
    """

    data_root: str
    sets: tuple[DataSetConfig, ...] = DEFAULT_SETS
    start_from: str | None = None
    frozen_encoder: bool = False
    frozen_proposals: bool = False
    crop_px: tuple[int, ...] = (256, 256, 512)
    batch: tuple[int, ...] = (8, 8, 2)
    auto_from: float = 0.12
    prompts_per_crop: int = 4
    correction_share: float = 0.4
    most_corrections: int = 3
    click_weight: float = 0.5
    confidence_weight: float = 6.0
    presence_weight: float = 1.0
    box_weight: float = 2.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)


class Trainer(TrainingRun[TrainConfig, Batch, LiteSAM]):
    """One training run of Lite-SAM.

    Parameters
    ----------
    config
        What it depends on.
    sets
        Images of ``config.sets``; None: read from ``config.data_root``.
    """

    parallel = True

    def __init__(
        self, config: TrainConfig, sets: Sequence[Sequence[RgbImage]] | None = None
    ) -> None:
        frozen = (
            *(("image_encoder.",) if config.frozen_encoder else ()),
            *(("auto_ppn.",) if config.frozen_proposals else ()),
        )
        super().__init__(
            config,
            lambda: _build(config.start_from),
            (lambda name: not name.startswith(frozen)) if frozen else None,
        )
        root = Path(config.data_root)
        self.sets = sets or [load_set(root, s.name, config.seed) for s in config.sets]

    def batches(self) -> Iterator[Batch]:
        """Yield the batches from step ``self.step`` on."""
        config, model = self.config, self.model
        crops = CropStream(
            self.sets,
            config.sets,
            crop_px=config.crop_px,
            batch=config.batch,
            input_px=model.input_px,
            max_enlargement=get_spec("lite_sam").max_enlargement,
            augment=config.augment,
            seed=config.seed,
            rank=self.group.rank,
        )
        stream = BatchStream(
            crops,
            stride=model.stride,
            proposal_stride=model.stride // model.auto_ppn.upscale,
            prompts_per_crop=config.prompts_per_crop,
            correction_share=config.correction_share,
            most_corrections=config.most_corrections,
            auto_from=0 if config.start_from else round(config.auto_from * config.steps),
            start=self.step,
        )
        return load_batches(stream, config.workers)

    def set_mode(self, batch: Batch) -> None:
        """Train; too few images for statistics of their own use the running ones."""
        self.model.train()
        config = self.config
        if config.frozen_encoder or len(batch.rgb) < min(4, max(config.batch)):
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of masks, their predicted IoU and AutoPPN; IoU by the kind of the first prompt."""
        model = self.model
        batch = batch.to(self.device)
        cells = batch.rgb.shape[1] // model.stride
        with torch.set_grad_enabled(not self.config.frozen_encoder):
            embedding = model.image_encoder(normalize(batch.rgb))
        with torch.set_grad_enabled(not self.config.frozen_proposals):
            proposals = model.auto_ppn(embedding)
        losses = self._proposal_losses(proposals, batch)
        top, left = batch.place
        positions = model.prompt_encoder.dense_positions()
        positions = positions[:, :, top : top + cells, left : left + cells]
        parts: list[Tensor] = []
        quality: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        for group in batch.prompts:
            loss, iou_loss, iou = self._group_losses(
                embedding, positions, batch, group, proposals, figures
            )
            parts.append(loss)
            quality.append(iou_loss)
            figures[f"iou_{group.kind}"] = iou.mean()
        zero = proposals[0].sum() * 0.0
        losses["mask"] = torch.cat(parts).mean() if parts else zero
        losses["iou"] = torch.cat(quality).mean() if quality else zero
        return losses, figures

    def _group_losses(
        self,
        embedding: Tensor,
        positions: Tensor,
        batch: Batch,
        group: PromptGroup,
        proposals: tuple[Tensor, Tensor],
        figures: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (P,) of the masks and of their predicted IoU, and IoU (P,) of the single mask."""
        model, stride = self.model, self.model.stride
        asked = group_tensors(batch, group, stride)
        images, origins, target, offset_xy = (
            asked.images,
            asked.origins,
            asked.target,
            asked.offset_xy,
        )
        points, ones, boxes = asked.points, asked.labels, asked.boxes
        if group.kind in ("auto", "proposal"):
            boxes = own_boxes(model, asked, proposals, batch.labels.shape[-1])
        box_alone = group.kind in ("box", "proposal")
        first = WindowPrompts(boxes=boxes) if box_alone else WindowPrompts(points, ones, boxes)
        logits, iou = model.decode_windows(
            embedding, positions, origins, group.side, first, slice(0, 4), images, offset_xy
        )
        logits, iou = logits.float(), iou.float()
        loss = mask_loss(logits, target)
        truth = mask_iou(logits, target)
        iou_loss = (iou - truth) ** 2
        if group.kind in ("point", "auto"):
            # The single mask always learns; of the three only the closest one (SAM's ambiguity).
            each = loss[:, 0] + loss[:, 1:].min(dim=1).values
            quality = iou_loss.mean(dim=1)
        else:
            each, quality = loss[:, 0], iou_loss[:, 0]
        # What is corrected is what a user sees: of three masks the one of highest predicted IoU.
        seen = iou[:, 1:].argmax(dim=1) + 1 if group.kind in ("point", "auto") else 0
        chosen = logits[torch.arange(len(logits)), seen].detach()
        for number in range(batch.corrections):
            clicks = correction_clicks(chosen, target[:, 0], asked, stride)
            if number == 0 and box_alone:
                points, ones = clicks
            else:
                points = torch.cat((points, clicks[0]), dim=1)
                ones = torch.cat((ones, clicks[1]), dim=1)
            if group.kind not in ("box", "both"):  # what AutoPPN saw gives way to the mask
                boxes = corrected_boxes(chosen, asked, stride, points, ones, boxes)
            corrected = WindowPrompts(points, ones, boxes, chosen)
            logits, iou = model.decode_windows(
                embedding,
                positions,
                origins,
                group.side,
                corrected,
                slice(0, 1),
                images,
                offset_xy,
            )
            logits = logits.float()
            better = mask_iou(logits, target)
            heard = click_loss(logits[:, 0], points, ones, asked, stride)
            share = 1.0 / batch.corrections
            each = each + share * (
                mask_loss(logits, target)[:, 0] + self.config.click_weight * heard
            )
            quality = quality + share * ((iou.float() - better) ** 2)[:, 0]
            chosen = logits[:, 0].detach()
            figures[f"iou_corrected_{number + 1}"] = better.mean()
            figures[f"unheard_{number + 1}"] = unheard(chosen, points, ones, asked, stride)
        return each, quality, truth[:, 0]

    def _proposal_losses(self, proposals: tuple[Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
        config, targets = self.config, batch.targets
        if targets is None:
            zero = proposals[0].sum() * 0.0
            return {"confidence": zero, "presence": zero, "box": zero}
        confidence, distances = (part[batch.with_proposals].float() for part in proposals)
        central = targets.confidence.amax(dim=1) > 0.2
        return {
            "confidence": config.confidence_weight
            * confidence_loss(confidence, targets.confidence, targets.valid),
            "presence": config.presence_weight
            * presence_loss(confidence, targets.confidence, targets.valid),
            "box": config.box_weight * box_loss(distances, targets.sides, targets.groups, central),
        }


def normalize(
    rgb: Tensor,
    mean: Sequence[float] = PIXEL_MEAN,
    std: Sequence[float] = PIXEL_STD,
) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32, channels-last in memory; SAM's pixel statistics
    unless others are given.
    """
    x = rgb.float()
    x = (x - x.new_tensor(mean)) / x.new_tensor(std)
    return x.permute(0, 3, 1, 2)


def own_boxes(
    model: LiteSAM, asked: GroupTensors, proposals: tuple[Tensor, Tensor], side: int
) -> Tensor:
    """Boxes (P, 4) that AutoPPN sees under the clicks, cut to the crop of ``side`` pixels.

    ``proposals`` are what `AutoPPN` says of the crops.
    """
    offset = asked.points.new_tensor(asked.offset_xy)
    confidence, distances = (part.detach().float() for part in proposals)
    cell = model.stride / model.auto_ppn.upscale
    points = asked.points[:, 0] - offset
    boxes = boxes_at(confidence, distances, points, asked.images, cell)
    return boxes.clamp(0, side) + offset.repeat(2)


def correction_clicks(
    logits: Tensor, target: Tensor, asked: GroupTensors, stride: int
) -> tuple[Tensor, Tensor]:
    """Draw one click of each mask's error region.

    Parameters
    ----------
    logits, target
        (P, s, s).
    asked
        The windows that they are of.
    stride
        Model pixels per cell.

    Returns
    -------
    tuple
        Points (P, 1, 2) (x, y) in model pixels and labels (P, 1): 1 where the object was missed, 0
        where too much was taken. A perfect mask gets a point of the object.
    """
    mask, truth = logits > 0, target >= 0.5
    error = (mask ^ truth).flatten(1).float()
    weights = torch.where(error.any(dim=1, keepdim=True), error, target.flatten(1) + 1e-6)
    index = weights.multinomial(1)[:, 0]
    width = logits.shape[-1]
    places = torch.stack((index % width, index // width), dim=1).float()
    pixel = stride / 4
    points = places * pixel + (pixel - 1) / 2 + _corners(asked, stride)
    return points[:, None], truth.flatten(1).gather(1, index[:, None]).long()


def corrected_boxes(
    logits: Tensor,
    asked: GroupTensors,
    stride: int,
    points: Tensor,
    labels: Tensor,
    otherwise: Tensor | None,
) -> Tensor:
    """Boxes (P, 4) of masks (P, s, s) and of all clicks on the object, model pixels.

    An object that is corrected has the box of its mask so far, as in inference. ``otherwise``: the
    box of an object whose mask is empty, (P, 4); None: the window.
    """
    pixel, corners = stride / 4, _corners(asked, stride).repeat(1, 2)
    boxes, empty = boxes_of_masks(logits, pixel)
    whole = boxes.new_tensor([0.0, 0.0, 1.0, 1.0]) * logits.shape[-1] * pixel + corners
    boxes = torch.where(empty[:, None], whole if otherwise is None else otherwise, boxes + corners)
    return boxes_with_clicks(boxes, points, labels)


def click_loss(
    logits: Tensor, points: Tensor, labels: Tensor, asked: GroupTensors, stride: int
) -> Tensor:
    """Cross entropy (P,) of the logits (P, s, s) at the clicks, mean over those in the window."""
    places = points - _corners(asked, stride)[:, None]
    found, inside = logits_at(logits, places, stride / 4)
    error = F.binary_cross_entropy_with_logits(found, labels.float(), reduction="none")
    return (error * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)


def unheard(
    logits: Tensor, points: Tensor, labels: Tensor, asked: GroupTensors, stride: int
) -> Tensor:
    """Share of the objects whose mask contradicts one of its clicks."""
    places = points - _corners(asked, stride)[:, None]
    return contradicted(logits, places, labels, stride / 4).any(dim=1).float().mean()


def _corners(asked: GroupTensors, stride: int) -> Tensor:
    """Model pixel (x, y) of the top left of each window, (P, 2)."""
    return asked.origins.flip(-1) * stride + asked.points.new_tensor(asked.offset_xy)


def load_set(root: Path, name: str, seed: int) -> Sequence[RgbImage]:
    """Images of a data set to learn from: drawn ones, or the training split of a folder."""
    if name.startswith(PREFIX):
        return SyntheticSet(name, seed=seed)
    return load_folder(root / name, "train")


def _build(start_from: str | None) -> LiteSAM:
    model = build()
    if start_from is not None:
        model.load_state_dict(load_network(get_spec("lite_sam"), Path(start_from)).state_dict())
    # torch declares no memory_format for Module.to
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
