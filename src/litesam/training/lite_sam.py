"""Training of Lite-SAM, end to end: encoder, prompt proposals and windowed mask decoder.

The step follows SAM (Kirillov et al. 2023, Appendix A): a first prompt (point, box, or both as
AutoPPN gives them), the three-mask loss for single points, then a corrective point in the error
region together with the previous logits. AutoPPN's losses are added (Fu et al. 2024). A run is a
folder; it can be cut off at any time and goes on from its checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from litesam.models.auto_ppn import boxes_at
from litesam.models.lite_sam import LiteSAM, build, cut_windows
from litesam.models.prompt_maps import WindowPrompts
from litesam.training.data import Crop, CropStream, DataSetConfig, load_folder
from litesam.training.losses import (
    box_loss,
    confidence_loss,
    mask_iou,
    mask_loss,
    presence_loss,
)
from litesam.training.prompts import KIND_SHARES, PromptGroup, make_prompts
from litesam.training.targets import Objects, describe_objects, proposal_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

#: The mix that the shipped weights are trained on.
DEFAULT_SETS = (
    DataSetConfig("dsb2018_fluo", 0.40),
    DataSetConfig("dsb2018_stained", 0.19),
    DataSetConfig("usiigaci_phase", 0.12),
    DataSetConfig("axons_tem", 0.09),
    DataSetConfig("fib25_neurites", 0.09),
    DataSetConfig("nasa_ebc_cracks", 0.04, exhaustive=False),
    DataSetConfig("pfc_neurons", 0.03, exhaustive=False),
    DataSetConfig("chase_vessels", 0.04, exhaustive=False, proposals=False),
)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that a training run depends on, as data."""

    data_root: str
    run_folder: str
    sets: tuple[DataSetConfig, ...] = DEFAULT_SETS
    steps: int = 4000
    learning_rate: float = 2e-3
    warmup_steps: int = 80
    weight_decay: float = 0.05
    ema_decay: float = 0.998
    crop_px: tuple[int, ...] = (256, 256, 256, 512)
    batch: tuple[int, ...] = (8, 8, 8, 2)
    auto_from: float = 0.12
    prompts_per_crop: int = 4
    correction_share: float = 0.3
    confidence_weight: float = 6.0
    presence_weight: float = 1.0
    box_weight: float = 2.0
    seed: int = 2026
    threads: int = 1
    device: str = "cpu"
    bf16: bool = False
    workers: int = 1
    checkpoint_every_s: float = 300.0
    extra: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """One training run."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.device = torch.device(config.device)
        self.folder = Path(config.run_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.model = _channels_last(build().to(self.device))
        self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            _decay_groups(self.model, config.weight_decay),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        self.step = 0
        self.seconds = 0.0
        self.sets = [load_folder(Path(config.data_root) / s.name, "train") for s in config.sets]
        self._load_checkpoint()

    # ------------------------------------------------------------------ run

    def run(self) -> None:
        """Train until ``config.steps``; logs to ``log.jsonl`` in the run folder."""
        config = self.config
        (self.folder / "config.json").write_text(json.dumps(asdict(config), indent=1))
        last_save = time.monotonic()
        sums: dict[str, float] = {}
        started = time.monotonic()
        since = 0
        for crops in self._batches():
            tick = time.monotonic()
            for name, value in self.train_step(crops).items():
                sums[name] = sums.get(name, 0.0) + value
            self.seconds += time.monotonic() - tick
            self.step += 1
            since += 1
            if since == 50 or self.step >= config.steps:
                line = {name: round(value / since, 4) for name, value in sums.items()}
                line |= {"step": self.step, "s": round((time.monotonic() - started) / since, 3)}
                with (self.folder / "log.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")
                logger.info("%s", line)
                sums, started, since = {}, time.monotonic(), 0
            if time.monotonic() - last_save > config.checkpoint_every_s:
                self.save_checkpoint()
                last_save = time.monotonic()
            if self.step >= config.steps:
                break
        self.save_checkpoint()

    def _batches(self) -> Iterator[list[Crop]]:
        stream = CropStream(
            self.sets,
            self.config.sets,
            crop_px=self.config.crop_px,
            batch=self.config.batch,
            input_px=self.model.input_px,
            seed=self.config.seed,
            start=self.step,
        )
        workers = self.config.workers
        loader: DataLoader[list[Crop]] = DataLoader(
            stream, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None
        )
        return iter(loader)

    # ----------------------------------------------------------------- step

    def train_step(self, crops: Sequence[Crop]) -> dict[str, float]:
        """Do one optimiser step on equally large crops; returns the parts of the loss."""
        config, model = self.config, self.model
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        random = np.random.default_rng((config.seed, self.step, 1))
        model.train()
        if len(crops) < min(4, max(config.batch)):
            # Too few images for statistics of their own: use the running ones.
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            losses = self._losses(crops, random)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self._update_ema()
        return {name: float(value.detach()) for name, value in losses.items()} | self._metrics

    def _losses(self, crops: Sequence[Crop], random: np.random.Generator) -> dict[str, Tensor]:
        config, model = self.config, self.model
        device, stride = self.device, model.stride
        rgb = torch.from_numpy(np.stack([crop.rgb for crop in crops])).to(device)
        labels = torch.from_numpy(np.stack([crop.labels for crop in crops])).to(device)
        objects = [describe_objects(crop.labels) for crop in crops]
        cells = rgb.shape[1] // stride

        embedding = model.image_encoder(normalize(rgb))
        proposals = model.auto_ppn(embedding)
        losses = self._proposal_losses(proposals, crops, objects)
        # A crop stands anywhere in the input, so that every position is trained.
        place = random.integers(0, model.grid_side - cells + 1, 2)
        positions = model.prompt_encoder.dense_positions()
        positions = positions[:, :, place[0] : place[0] + cells, place[1] : place[1] + cells]
        offset_yx = place * stride
        again = random.random() < config.correction_share
        count = config.prompts_per_crop * (3 if cells == model.grid_side else 1)
        parts: list[Tensor] = []
        quality: list[Tensor] = []
        self._metrics = {}
        shares = dict(KIND_SHARES)
        if self.step < config.auto_from * config.steps:
            # AutoPPN's boxes say nothing yet: the decoder would learn to ignore boxes.
            shares["both"] += shares.pop("auto")
        for group in make_prompts(objects, cells, stride, count, random, shares):
            loss, iou_loss, iou = self._group_losses(
                embedding, positions, labels, group, offset_yx, again, proposals
            )
            parts.append(loss)
            quality.append(iou_loss)
            self._metrics[f"iou_{group.kind}"] = float(iou.mean())
        zero = embedding.sum() * 0.0
        losses["mask"] = torch.cat(parts).mean() if parts else zero
        losses["iou"] = torch.cat(quality).mean() if quality else zero
        return losses

    def _group_losses(
        self,
        embedding: Tensor,
        positions: Tensor,
        labels: Tensor,
        group: PromptGroup,
        offset_yx: Any,
        again: bool,
        proposals: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        model, stride = self.model, self.model.stride
        device = embedding.device
        images = torch.tensor(group.images, device=device)
        origins = torch.tensor(group.origins, device=device)
        names = torch.tensor(group.labels, device=device)
        offset_xy = (int(offset_yx[1]), int(offset_yx[0]))
        offset = torch.tensor(offset_xy, device=device, dtype=torch.float32)
        windows = cut_windows(labels[:, None], origins * stride, group.side * stride, images)
        target = F.avg_pool2d((windows == names[:, None, None, None]).float(), 2)

        points = torch.tensor(group.points, device=device, dtype=torch.float32).flip(-1)[:, None]
        boxes: Tensor | None = None
        if group.kind == "auto":
            cell = stride / model.auto_ppn.upscale
            confidence, distances = (part.detach().float() for part in proposals)
            boxes = boxes_at(confidence, distances, points[:, 0], images, cell)
            boxes = boxes.clamp(0, labels.shape[-1]) + offset.repeat(2)
        elif group.kind != "point":
            boxes = torch.tensor(np.array(group.boxes), device=device)[:, [1, 0, 3, 2]]
            boxes = boxes + offset.repeat(2)
        points = points + offset
        ones = torch.ones(len(names), 1, dtype=torch.long, device=device)
        first = (
            WindowPrompts(boxes=boxes)
            if group.kind == "box"
            else WindowPrompts(points, ones, boxes)
        )
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
        if again:
            chosen = logits[:, 0].detach()
            more, signs = correction_points(chosen, target[:, 0])
            more = more * 2.0 + 0.5 + (origins.flip(-1) * stride) + offset
            both = (
                more[:, None] if group.kind == "box" else torch.cat((points, more[:, None]), dim=1)
            )
            kinds = (
                signs[:, None] if group.kind == "box" else torch.cat((ones, signs[:, None]), dim=1)
            )
            second_prompts = WindowPrompts(both, kinds, boxes, chosen)
            logits, iou = model.decode_windows(
                embedding,
                positions,
                origins,
                group.side,
                second_prompts,
                slice(0, 1),
                images,
                offset_xy,
            )
            second = mask_loss(logits.float(), target)[:, 0]
            better = mask_iou(logits, target)
            each = each + second
            quality = quality + ((iou.float() - better) ** 2)[:, 0]
            self._metrics["iou_corrected"] = float(better.mean())
        return each, quality, truth[:, 0]

    def _proposal_losses(
        self,
        proposals: tuple[Tensor, Tensor],
        crops: Sequence[Crop],
        objects: Sequence[Objects],
    ) -> dict[str, Tensor]:
        config, model = self.config, self.model
        chosen = [i for i, crop in enumerate(crops) if crop.proposals]
        if not chosen:
            zero = proposals[0].sum() * 0.0
            return {"confidence": zero, "presence": zero, "box": zero}
        confidence, distances = proposals[0][chosen], proposals[1][chosen]
        stride = model.stride // model.auto_ppn.upscale
        targets = [
            proposal_targets(objects[i], stride, model.input_px, exhaustive=crops[i].exhaustive)
            for i in chosen
        ]

        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(t, name) for t in targets])).to(self.device)

        wanted = stack("confidence")
        central = wanted.amax(dim=1) > 0.2
        return {
            "confidence": config.confidence_weight
            * confidence_loss(confidence.float(), wanted, stack("valid")),
            "presence": config.presence_weight
            * presence_loss(confidence.float(), wanted, stack("valid")),
            "box": config.box_weight
            * box_loss(distances.float(), stack("sides"), stack("groups"), central),
        }

    def _learning_rate(self) -> float:
        config = self.config
        if self.step < config.warmup_steps:
            return config.learning_rate * (self.step + 1) / config.warmup_steps
        done = (self.step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        return config.learning_rate * max(0.01, 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    # ---------------------------------------------------------- checkpoints

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save_checkpoint(self) -> None:
        """Write everything that the run needs to go on; an old checkpoint is replaced at once or
        not at all.
        """
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "optimizer_names": self._optimizer_names(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self._checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _optimizer_names(self, order: Sequence[str] | None = None) -> list[str]:
        """Names of the parameters in the order of the optimiser's state.

        ``order``: names in another order than that of the present model.
        """
        parameters = dict(self.model.named_parameters())
        names = list(parameters) if order is None else [n for n in order if n in parameters]
        groups = [[id(p) for p in group["params"]] for group in self.optimizer.param_groups]
        return [n for group in groups for n in names if id(parameters[n]) in set(group)]

    def _load_checkpoint(self) -> None:
        if not self._checkpoint.is_file():
            return
        state = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema = state["ema"]
        # A checkpoint without names is in the order of its own state dict.
        names = state.get("optimizer_names") or self._optimizer_names(list(state["model"]))
        self.optimizer.load_state_dict(
            _reordered(state["optimizer"], names, self._optimizer_names())
        )
        self.step, self.seconds = state["step"], state["seconds"]
        logger.info("resumed at step %d", self.step)


def normalize(rgb: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32, channels-last in memory, with SAM's pixel
    statistics.
    """
    x = rgb.float()
    x = (x - x.new_tensor(PIXEL_MEAN)) / x.new_tensor(PIXEL_STD)
    return x.permute(0, 3, 1, 2)


def correction_points(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one point of each mask's error region.

    Parameters
    ----------
    logits, target
        (P, h, w).

    Returns
    -------
    tuple
        Points (P, 2) (x, y) in pixels of the logits and labels (P,): 1 where the object was missed,
        0 where too much was taken. A perfect mask gets a point of the object.
    """
    mask, truth = logits > 0, target >= 0.5
    error = (mask ^ truth).flatten(1).float()
    weights = torch.where(error.any(dim=1, keepdim=True), error, target.flatten(1) + 1e-6)
    index = weights.multinomial(1)[:, 0]
    width = logits.shape[-1]
    points = torch.stack((index % width, index // width), dim=1).float()
    return points, truth.flatten(1).gather(1, index[:, None])[:, 0].long()


def _channels_last(model: LiteSAM) -> LiteSAM:
    # torch declares no memory_format for Module.to
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only, not for biases, norms, scales and embeddings."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim >= 2 and "embed" not in name and "token" not in name.split(".")[-2]
        (decayed if plain and "scale" not in name else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def _reordered(state: dict[str, Any], old: Sequence[str], new: Sequence[str]) -> dict[str, Any]:
    """Optimiser state for parameters in another order: it knows them by number only."""
    moments = {new.index(old[number]): value for number, value in state["state"].items()}
    return {"state": moments, "param_groups": state["param_groups"]}
