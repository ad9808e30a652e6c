"""Crops → what a step of Lite-SAM needs, prepared in the processes that load the data."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from litesam.training.data import worker_steps
from litesam.training.prompts import KIND_SHARES, PromptGroup, make_prompts
from litesam.training.run import step_random
from litesam.training.targets import ProposalTargets, describe_objects, proposal_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litesam.training.data import Crop, CropStream


@dataclass(frozen=True, slots=True)
class TargetTensors:
    """`ProposalTargets` of several crops, (B, …) each."""

    confidence: Tensor
    valid: Tensor
    sides: Tensor
    groups: Tensor


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
    again
        Whether a corrective prompt follows.
    """

    rgb: Tensor
    labels: Tensor
    with_proposals: list[int]
    targets: TargetTensors | None
    prompts: list[PromptGroup]
    place: tuple[int, int]
    again: bool

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device."""
        targets = self.targets
        if targets is not None:
            moved = {f.name: getattr(targets, f.name).to(device) for f in fields(targets)}
            targets = TargetTensors(**moved)
        return replace(
            self, rgb=self.rgb.to(device), labels=self.labels.to(device), targets=targets
        )


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
    correction_share
        Share of the steps with a corrective prompt.
    auto_from
        Step from which clicks come with AutoPPN's boxes. Before, these say nothing: the decoder
        would learn to ignore boxes.
    start
        First step.
    """

    def __init__(
        self,
        crops: CropStream,
        *,
        stride: int,
        proposal_stride: int,
        prompts_per_crop: int,
        correction_share: float,
        auto_from: int,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.crops = crops
        self.stride = stride
        self.proposal_stride = proposal_stride
        self.prompts_per_crop = prompts_per_crop
        self.correction_share = correction_share
        self.auto_from = auto_from
        self.start = start

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
        again = bool(random.random() < self.correction_share)
        count = self.prompts_per_crop * (3 if cells == grid_side else 1)
        shares = dict(KIND_SHARES)
        if step < self.auto_from:
            shares["both"] += shares.pop("auto")
        prompts = make_prompts(objects, cells, self.stride, count, random, shares)
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
            _stack(targets) if targets else None,
            prompts,
            (int(place[0]), int(place[1])),
            again,
        )


def _stack(targets: Sequence[ProposalTargets]) -> TargetTensors:
    return TargetTensors(
        **{
            field.name: torch.from_numpy(np.stack([getattr(t, field.name) for t in targets]))
            for field in fields(ProposalTargets)
        }
    )
