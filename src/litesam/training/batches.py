"""Crops → what a step of Lite-SAM needs, prepared in the processes that load the data."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from litesam.models.lite_sam import cut_windows
from litesam.training.data import worker_steps
from litesam.training.prompts import KIND_SHARES, WINDOW_SIDES, PromptGroup, make_prompts
from litesam.training.run import step_random
from litesam.training.targets import ProposalTargets, describe_objects, proposal_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from litesam.training.data import Crop, CropStream
    from litesam.training.prompts import PromptKind


@dataclass(frozen=True, slots=True)
class TargetTensors:
    """`ProposalTargets` of several crops, (B, …) each."""

    confidence: Tensor
    valid: Tensor
    sides: Tensor
    groups: Tensor

    def to(self, device: torch.device) -> TargetTensors:
        """Return the targets on a device."""
        return TargetTensors(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Batch:
    """One step.

    Attributes
    ----------
    rgb, labels
        (B, S, S, 3) uint8 and (B, S, S) int32, model pixels.
    with_proposals, targets
        Indices of the crops whose labels AutoPPN learns from, and its targets for them; None: no
        crop.
    prompts
        First prompts, by kind and window.
    place
        (row, column) of the embedding's first cell in a whole input.
    corrections
        Number of corrective clicks that follow, one after the other.
    """

    rgb: Tensor
    labels: Tensor
    with_proposals: list[int]
    targets: TargetTensors | None
    prompts: list[PromptGroup]
    place: tuple[int, int]
    corrections: int

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return replace(
            self, rgb=self.rgb.to(device), labels=self.labels.to(device), targets=targets
        )


@dataclass(frozen=True, slots=True)
class GroupTensors:
    """Prompts of one `PromptGroup` as tensors; pixels are those of the whole input, (x, y).

    Attributes
    ----------
    images
        (P,) crop of each prompt.
    origins
        (P, 2) top-left cell (y, x) of its window in the crop.
    target
        (P, 1, s, s) share of each pixel of the logits that belongs to the object.
    points, labels
        (P, 1, 2) and (P, 1): a click on each object.
    boxes
        (P, 4), or None for kinds of prompts without a drawn box.
    offset_xy
        Pixel at which the crop begins.
    """

    images: Tensor
    origins: Tensor
    target: Tensor
    points: Tensor
    labels: Tensor
    boxes: Tensor | None
    offset_xy: tuple[int, int]


def group_tensors(
    batch: Batch, group: PromptGroup, stride: int, pixels_per_cell: int = 4
) -> GroupTensors:
    """Tensors of a group of prompts, on the batch's device.

    Parameters
    ----------
    batch, group
        A step, and one of its groups.
    stride
        Model pixels per cell of the embedding.
    pixels_per_cell
        Pixels of the logits along a side of a cell.
    """
    device = batch.labels.device
    images, origins, names = (
        torch.tensor(values, device=device)
        for values in (group.images, group.origins, group.labels)
    )
    # A crop stands anywhere in the input, so that every position is trained.
    offset_xy = (batch.place[1] * stride, batch.place[0] * stride)
    offset = torch.tensor(offset_xy, device=device, dtype=torch.float32)
    windows = cut_windows(batch.labels[:, None], origins * stride, group.side * stride, images)
    target = F.avg_pool2d(
        (windows == names[:, None, None, None]).float(), stride // pixels_per_cell
    )
    points = torch.tensor(group.points, device=device, dtype=torch.float32).flip(-1)[:, None]
    boxes: Tensor | None = None
    if group.kind in ("box", "both"):
        boxes = torch.from_numpy(np.array(group.boxes)).to(device)[:, [1, 0, 3, 2]]
        boxes = boxes + offset.repeat(2)
    ones = torch.ones(len(names), 1, dtype=torch.long, device=device)
    return GroupTensors(images, origins, target, points + offset, ones, boxes, offset_xy)


class BatchStream(IterableDataset[Batch]):
    """Endless, seeded stream of batches.

    Parameters
    ----------
    crops
        Where the crops come from.
    stride, proposal_stride
        Model pixels per cell of the embedding, and of AutoPPN's maps.
    prompts_per_crop
        Largest number of prompted objects of a crop; three times as many in whole inputs.
    correction_share, most_corrections
        Share of the steps with corrective clicks, and their largest number: 1 to that many.
    auto_from
        Step from which clicks come with AutoPPN's boxes. Before, these say nothing: the decoder
        would learn to ignore boxes.
    start
        First step.
    shares, window_sides
        Kinds of prompts and sides of windows, see `make_prompts`.
    """

    def __init__(
        self,
        crops: CropStream,
        *,
        stride: int,
        proposal_stride: int,
        prompts_per_crop: int,
        correction_share: float,
        most_corrections: int = 1,
        auto_from: int,
        start: int = 0,
        shares: Mapping[PromptKind, float] = KIND_SHARES,
        window_sides: Sequence[int] = WINDOW_SIDES,
    ) -> None:
        super().__init__()
        self.crops = crops
        self.stride = stride
        self.proposal_stride = proposal_stride
        self.prompts_per_crop = prompts_per_crop
        self.correction_share = correction_share
        self.most_corrections = most_corrections
        self.auto_from = auto_from
        self.start = start
        self.shares = shares
        self.window_sides = window_sides

    def __iter__(self) -> Iterator[Batch]:
        for step in worker_steps(self.start):
            yield self.prepare(self.crops.crops_of(step), step)

    def prepare(self, crops: Sequence[Crop], step: int) -> Batch:
        """Make a batch of equally large crops."""
        random = step_random(self.crops.seed, step)
        objects = [describe_objects(crop.labels) for crop in crops]
        grid_side = self.crops.input_px // self.stride
        cells = crops[0].labels.shape[0] // self.stride
        place = random.integers(0, grid_side - cells + 1, 2)
        corrections = int(random.random() < self.correction_share)
        if corrections:
            corrections = int(random.integers(1, self.most_corrections + 1))
        count = self.prompts_per_crop * (3 if cells == grid_side else 1)
        shares = dict(self.shares)
        if step < self.auto_from:
            for kind in ("auto", "proposal"):
                shares["both"] += shares.pop(kind, 0.0)
        prompts = make_prompts(
            objects, cells, self.stride, count, random, shares, self.window_sides
        )
        chosen = [number for number, crop in enumerate(crops) if crop.proposals]
        targets = [
            proposal_targets(
                objects[number],
                self.proposal_stride,
                self.crops.input_px,
                exhaustive=crops[number].exhaustive,
            )
            for number in chosen
        ]
        return Batch(
            torch.from_numpy(np.stack([crop.rgb for crop in crops])),
            torch.from_numpy(np.stack([crop.labels for crop in crops])),
            chosen,
            stack_targets(targets) if targets else None,
            prompts,
            (int(place[0]), int(place[1])),
            corrections,
        )


def load_batches(stream: BatchStream, workers: int) -> Iterator[Batch]:
    """Batches of a stream, prepared by some processes ahead of time; 0: when they are wanted."""
    loader: DataLoader[Batch] = DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
    )
    return iter(loader)


def stack_targets(targets: Sequence[ProposalTargets]) -> TargetTensors:
    """Stack the targets of several crops."""
    return TargetTensors(
        **{
            field.name: torch.from_numpy(np.stack([getattr(t, field.name) for t in targets]))
            for field in fields(ProposalTargets)
        }
    )
