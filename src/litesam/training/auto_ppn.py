"""Training of an AutoPPN on the frozen embeddings of any SAM-like model.

Source: Fu et al. 2024 (arXiv 2407.08965), Sec. 3.2; targets and losses are those of Lite-SAM's own.
The images are encoded once, into an embedding store, as they will be in use; so even a large
encoder costs nothing in the training itself. No augmentation: it would need embeddings of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from litesam.embedder import Embedder
from litesam.errors import ConfigError
from litesam.io.atomic import atomic_path
from litesam.models.auto_ppn import FRAME_PX, AutoPPN
from litesam.predictors import load_predictor
from litesam.predictors.proposer import KIND
from litesam.preprocess import to_rgb
from litesam.store import ZarrStore
from litesam.tiling import make_tiles
from litesam.training.batches import TargetTensors, stack_targets
from litesam.training.data import relabel_parts
from litesam.training.hq import check_same_start
from litesam.training.losses import box_loss, confidence_loss, presence_loss
from litesam.training.run import RunConfig, TrainingRun, step_random
from litesam.training.targets import ProposalTargets, describe_objects, proposal_targets
from litesam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from litesam.io import LabelledImage
    from litesam.preprocess import Plane
    from litesam.types import IsCancelled, LabelArray, ModelSpec, OnProgress, Tile


#: Tiles whose targets are kept in memory, half a megabyte each.
_TARGETS_KEPT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class PpnConfig(RunConfig):
    """Everything that the training of an AutoPPN depends on, as data.

    Attributes
    ----------
    model
        Model whose embeddings it sees.
    model_weights
        Weights file of the model; None: the standard one.
    store
        Folder of the embeddings; None: in the run folder.
    exhaustive
        Whether every object is labelled; if not, background does not count.
    batch
        Tiles in a step.
    confidence_weight, presence_weight, box_weight
        Of the losses.
    """

    model: str
    model_weights: str | None = None
    store: str | None = None
    exhaustive: bool = True
    batch: int = 8
    confidence_weight: float = 6.0
    presence_weight: float = 1.0
    box_weight: float = 2.0


@dataclass(frozen=True, slots=True)
class PpnBatch:
    """Embeddings (B, C, h, w) and AutoPPN's targets for them."""

    embeddings: Tensor
    targets: TargetTensors


class PpnTrainer(TrainingRun[PpnConfig, PpnBatch, AutoPPN]):
    """One training run. Call `precompute`, then `run`; both go on where they were cut off.

    Parameters
    ----------
    config
        What it depends on.
    items
        Labelled images; always the same ones.

    Raises
    ------
    ConfigError
        If the model has no image embedding, there is nothing to learn from, or the run goes on with
        other weights of the model.
    WeightsError
        If the model's weights are missing or damaged.
    """

    def __init__(self, config: PpnConfig, items: Sequence[LabelledImage]) -> None:
        self._predictor = load_predictor(config.model, config.model_weights, config.device)
        self.spec = self._predictor.spec
        if "image" not in self.spec.feature_shapes:
            raise ConfigError(
                f"{self.spec.name!r} finds objects by itself and has no image embedding for an "
                "AutoPPN; choose a model of the SAM family, such as 'mobile_sam'."
            )
        check_same_start(Path(config.run_folder), self._predictor.encoder_hash)
        channels, self._grid_side, _ = self.spec.feature_shapes["image"]
        super().__init__(config, lambda: AutoPPN(channels))
        self._embedder = Embedder(
            self._predictor, ZarrStore(config.store or self.folder / "embeddings")
        )
        self._images: list[tuple[Plane, LabelArray]] = [
            (to_rgb(item.image), item.labels) for item in items
        ]
        self._tiles: list[tuple[int, Tile]] = [
            (number, tile)
            for number, (plane, labels) in enumerate(self._images)
            for tile in make_tiles(plane.shape_yx)
            if config.exhaustive or labels[tile.padded.slices].any()
        ]
        self._targets_of = lru_cache(maxsize=_TARGETS_KEPT)(self._make_targets)
        if not any(labels.any() for _, labels in self._images):
            raise ConfigError("No object is labelled in these images; there is nothing to learn.")

    def precompute(
        self, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> int:
        """Encode all tiles; those in the store are skipped. Returns their number.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; what is finished is kept.
        """
        total = len(self._images)
        for number, (plane, _) in enumerate(self._images):
            tiles = [tile for image, tile in self._tiles if image == number]
            self._embedder.embed_all(plane, tiles, cancelled=cancelled)
            if on_progress is not None:
                on_progress(Progress(number + 1, total, f"embedding with {self.spec.name}"))
        return len(self._tiles)

    def batches(self) -> Iterator[PpnBatch]:
        """Yield the batches from step ``self.step`` on."""
        step = self.step
        while True:
            random = step_random(self.config.seed, step)
            yield self._batch(random.integers(len(self._tiles), size=self.config.batch).tolist())
            step += 1

    def losses(self, batch: PpnBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """AutoPPN's losses."""
        config, targets = self.config, batch.targets.to(self.device)
        confidence, distances = (p.float() for p in self.model(batch.embeddings.to(self.device)))
        central = targets.confidence.amax(dim=1) > 0.2
        wanted = (confidence, targets.confidence, targets.valid)
        boxes = box_loss(distances, targets.sides, targets.groups, central)
        return {
            "confidence": config.confidence_weight * confidence_loss(*wanted),
            "presence": config.presence_weight * presence_loss(*wanted),
            "box": config.box_weight * boxes,
        }, {}

    def set_mode(self, batch: PpnBatch) -> None:
        """Train; too few tiles for statistics of their own use the running ones."""
        self.model.train()
        if len(batch.embeddings) < 4:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _batch(self, places: Sequence[int]) -> PpnBatch:
        embeddings = []
        for place in places:
            number, tile = self._tiles[place]
            embedding = self._embedder.embed(self._images[number][0], tile)
            embeddings.append(torch.from_numpy(np.array(embedding.features["image"]))[None])
        targets = [self._targets_of(place) for place in places]
        return PpnBatch(torch.cat(embeddings).float(), stack_targets(targets))

    def _make_targets(self, place: int) -> ProposalTargets:
        number, tile = self._tiles[place]
        labels = self._images[number][1][tile.padded.slices]
        objects = describe_objects(labels_in_frame(labels, self.spec))
        stride = FRAME_PX // self._grid_side // self.model.upscale
        return proposal_targets(objects, stride, FRAME_PX, exhaustive=self.config.exhaustive)

    def export(self, target: Path) -> int:
        """Write the averaged network, for `litesam.predictors.load_proposer`; returns its bytes.

        Raises
        ------
        WriteError
            If the file cannot be written.
        """
        config = asdict(self.config)
        for private in ("run_folder", "model_weights", "store"):
            del config[private]
        metadata: Mapping[str, str] = {
            "model": KIND,
            "encoder": self.spec.encoder_name,
            "encoder_hash": self._predictor.encoder_hash,
            "step": str(self.step),
            "config": json.dumps(config),
        }
        tensors = {name: value.cpu().contiguous() for name, value in self.ema.items()}
        with atomic_path(target, overwrite=True) as partial:
            save_file(tensors, partial, metadata=dict(metadata))
        return target.stat().st_size


def labels_in_frame(labels: LabelArray, spec: ModelSpec) -> LabelArray:
    """Labels of a tile where a model sees them, in an input of `FRAME_PX` pixels; numbered 1 … N.

    Parameters
    ----------
    labels
        (H, W).
    spec
        The model, for its rule from image to input.
    """
    content_yx = spec.frame((labels.shape[0], labels.shape[1])).content_yx
    height, width = (max(1, round(side * FRAME_PX / spec.frame_px)) for side in content_yx)
    _, inverse = np.unique(labels, return_inverse=True)
    own = inverse.reshape(labels.shape).astype(np.int32) + np.int32(labels.min() > 0)
    small = Image.fromarray(own).resize((width, height), Image.Resampling.NEAREST)
    result = np.zeros((FRAME_PX, FRAME_PX), np.int32)
    result[:height, :width] = np.asarray(small)
    return relabel_parts(result, smallest_px=4)
