"""Training of an HQ decoder: the HQ token and its features alone, everything else frozen.

The recipe of HQ-SAM (Ke et al. 2023, Sec. 3.3): thin and ragged objects, a point or a box each, the
loss of the refined mask. Two things are ours. Both HQ modes learn, the HQ token's mask alone and
its logits as the model joins them with those of the mask before (``join``: SAM's sum is there from
the start, Lite-SAM takes the token's alone). And the token's network starts at zero.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from litesam.errors import ConfigError
from litesam.io.atomic import atomic_path
from litesam.models.hq import hq_spec
from litesam.models.lite_sam_hq import FINER, LiteSAMHQ, enlarge
from litesam.models.prompt_maps import WindowPrompts
from litesam.models.registry import base_of, get_spec
from litesam.models.weights import build_network, files_of, load_network
from litesam.models.weights_files import file_hash, files_hash
from litesam.training.batches import (
    Batch,
    BatchStream,
    GroupTensors,
    group_tensors,
    load_batches,
)
from litesam.training.data import AugmentConfig, CropStream, DataSetConfig
from litesam.training.lite_sam import load_set, normalize, own_boxes
from litesam.training.losses import mask_iou, mask_loss
from litesam.training.run import RunConfig, TrainingRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litesam.models.sam_hq import SamHQ
    from litesam.training.data import RgbImage
    from litesam.training.prompts import PromptGroup, PromptKind
    from litesam.types import ModelSpec

#: Fine structures, and a little of everything else, so that plain objects stay what they are.
FINE_SETS = (
    DataSetConfig("chase_vessels", 0.25, exhaustive=False, proposals=False),
    DataSetConfig("pfc_neurons", 0.20, exhaustive=False, proposals=False),
    DataSetConfig("nasa_ebc_cracks", 0.15, exhaustive=False, proposals=False),
    DataSetConfig("fib25_neurites", 0.15, proposals=False),
    DataSetConfig("synthetic:filaments", 0.15, proposals=False),
    DataSetConfig("dsb2018_fluo", 0.04, proposals=False),
    DataSetConfig("dsb2018_stained", 0.03, proposals=False),
    DataSetConfig("usiigaci_phase", 0.03, proposals=False),
    DataSetConfig("axons_tem", 0.03, proposals=False),
)
#: Less than for a whole model: thin structures vanish where a crop is made small or blurred.
FINE_AUGMENT = AugmentConfig(
    scale_range=(0.6, 1.7),
    elastic=0.05,
    invert=0.05,
    gamma=0.2,
    noise=0.12,
    blur=0.06,
    grey=0.1,
    mix=0.06,
    tint=0.03,
)
#: Beginnings of the names of an HQ decoder's tensors: Lite-SAM's, and those of HQ-SAM.
_HQ_PARTS = (
    "hq.",
    "mask_decoder.hf_token.",
    "mask_decoder.hf_mlp.",
    "mask_decoder.compress_vit_feat.",
    "mask_decoder.embedding_encoder.",
    "mask_decoder.embedding_maskfeature.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HqConfig(RunConfig):
    """Everything that the training of an HQ decoder depends on, as data.

    Attributes
    ----------
    data_root, sets
        Folder of data sets, and which of them in which shares.
    model
        Model that gets the HQ decoder; given an HQ model, its decoder is trained further.
    start_from
        Weights file of that model; None: the standard one.
    crop_px, batch
        Sides of the crops and how many there are in a step, in turn; none: what suits the model.
    prompts_per_crop
        Largest number of prompted objects of a crop.
    augment
        How crops are varied.
    """

    data_root: str
    sets: tuple[DataSetConfig, ...] = FINE_SETS
    model: str = "lite_sam"
    start_from: str | None = None
    learning_rate: float = 1e-3
    crop_px: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    prompts_per_crop: int = 4
    augment: AugmentConfig = FINE_AUGMENT


class _Masks(NamedTuple):
    """Logits (P, 1, s, s) of the masks before, and of the HQ token, of one resolution."""

    plain: Tensor
    refined: Tensor


class HqTrainer(TrainingRun[HqConfig, Batch, nn.Module]):
    """One training run of an HQ decoder.

    Parameters
    ----------
    config
        What it depends on.
    sets
        Images of ``config.sets``; None: read from ``config.data_root``.

    Attributes
    ----------
    spec
        The HQ model whose weights the run makes.
    base
        The model of litesam whose network it is: ``spec`` may be one of the user's own.
    beside
        SHA-256 of the file without HQ decoder beside which the trained one works alone.

    Raises
    ------
    ConfigError
        If there is no network of an HQ decoder for the model, or the run goes on from other weights
        than it began with.
    WeightsError
        If the model's weights are missing or damaged.
    """

    parallel = True
    model: LiteSAMHQ | SamHQ

    def __init__(self, config: HqConfig, sets: Sequence[Sequence[RgbImage]] | None = None) -> None:
        plain = get_spec(config.model)
        self.spec = hq_spec(plain)
        self.base = base_of(self.spec).name
        paths = files_of(plain, config.start_from)
        self.beside = file_hash(paths[-1])  # after the one of the HQ decoder, if that has its own
        check_same_start(Path(config.run_folder), files_hash(paths))
        super().__init__(config, lambda: _build(plain, self.spec, paths), is_of_hq)
        self.model.eval()
        root = Path(config.data_root)
        self.sets = sets or [load_set(root, s.name, config.seed) for s in config.sets]
        self._family = (
            _Windowed(self.model)
            if isinstance(self.model, LiteSAMHQ)
            else _Whole(self.model, self.spec)
        )

    def batches(self) -> Iterator[Batch]:
        """Yield the batches from step ``self.step`` on."""
        config, family = self.config, self._family
        crops = CropStream(
            self.sets,
            config.sets,
            crop_px=config.crop_px or family.crop_px,
            batch=config.batch or family.batch,
            input_px=self.spec.frame_px,
            max_enlargement=self.spec.max_enlargement,
            augment=config.augment,
            seed=config.seed,
            rank=self.group.rank,
        )
        stream = BatchStream(
            crops,
            stride=family.stride,
            proposal_stride=family.stride,
            prompts_per_crop=config.prompts_per_crop,
            correction_share=0.0,
            auto_from=0,
            start=self.step,
            shares=family.shares,
            window_sides=family.window_sides,
        )
        return load_batches(stream, config.workers)

    def set_mode(self, batch: Batch) -> None:
        """Keep the statistics of the frozen layers; an HQ decoder has none."""
        del batch
        self.model.eval()

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss of both HQ modes; IoU without HQ and in each mode."""
        batch = batch.to(self.device)
        spec = self.spec
        x = normalize(batch.rgb, spec.pixel_mean, spec.pixel_std)
        with torch.no_grad():
            features = self.model.encode(x)
        details = self._family.details(features)
        both: list[Tensor] = []
        alone: list[Tensor] = []
        figures: dict[str, list[Tensor]] = {}
        for group in batch.prompts:
            asked = group_tensors(batch, group, self._family.stride, self._family.pixels_per_cell)
            plain, refined = self._family.decode(features, details, batch, group, asked)
            plain, refined = plain.float(), refined.float()
            joined = self.model.join(plain, refined)
            one = joined is refined  # Lite-SAM: the token's logits are the mask
            both.append(mask_loss(joined, asked.target)[:, 0])
            alone.append(both[-1] if one else mask_loss(refined, asked.target)[:, 0])
            before, after = (mask_iou(x.detach(), asked.target) for x in (plain, joined))
            figures.setdefault("iou_without", []).append(before)
            figures.setdefault("iou_hq", []).append(after)
            figures.setdefault("iou_only", []).append(
                after if one else mask_iou(refined.detach(), asked.target)
            )
        if not both:  # crops without objects
            both = alone = [details.sum()[None] * 0.0]
        return (
            {"hq": torch.cat(both).mean(), "only": torch.cat(alone).mean()},
            {name: torch.cat(values).mean() for name, values in figures.items()},
        )


class _Windowed:
    """Lite-SAM: crops of all sides, objects in windows; a click comes with AutoPPN's box."""

    crop_px = (256, 512, 512)  # vessels and neurons go through the whole input
    batch = (6, 2, 2)
    window_sides = (16, 32, 64)
    pixels_per_cell = 4 * FINER

    def __init__(self, model: LiteSAMHQ) -> None:
        self._model = model
        self.stride = model.stride
        self.shares: dict[PromptKind, float] = {"auto": 0.4, "box": 0.3, "both": 0.3}

    def details(self, features: dict[str, Tensor]) -> Tensor:
        return self._model.details(features["image"], features["picture"])

    def decode(
        self,
        features: dict[str, Tensor],
        details: Tensor,
        batch: Batch,
        group: PromptGroup,
        asked: GroupTensors,
    ) -> _Masks:
        model, image = self._model, features["image"]
        boxes = asked.boxes
        if group.kind == "auto":
            with torch.no_grad():
                proposals = model.auto_ppn(image)
            boxes = own_boxes(model, asked, proposals, batch.labels.shape[-1])
        prompts = (
            WindowPrompts(boxes=boxes)
            if group.kind == "box"
            else WindowPrompts(asked.points, asked.labels, boxes)
        )
        (top, left), cells = batch.place, image.shape[-1]
        positions = model.prompt_encoder.dense_positions()
        plain, refined, _ = model.decode_parts(
            image,
            details,
            positions[:, :, top : top + cells, left : left + cells],
            asked.origins,
            group.side,
            prompts,
            multimask=False,
            images=asked.images,
            offset_xy=asked.offset_xy,
        )
        return _Masks(enlarge(plain), refined)


class _Whole:
    """SAM: crops of the size of the input, decoded as a whole."""

    batch = (1,)
    pixels_per_cell = 4

    def __init__(self, model: SamHQ, spec: ModelSpec) -> None:
        self._model = model
        grid_side = spec.feature_shapes["image"][1]
        self.stride = spec.frame_px // grid_side
        self.crop_px = (spec.frame_px,)
        self.window_sides = (grid_side,)
        self.shares: dict[PromptKind, float] = {"point": 0.3, "box": 0.5, "both": 0.2}

    def details(self, features: dict[str, Tensor]) -> Tensor:
        return self._model.details(features["image"], features["early"])

    def decode(
        self,
        features: dict[str, Tensor],
        details: Tensor,
        batch: Batch,
        group: PromptGroup,
        asked: GroupTensors,
    ) -> _Masks:
        del batch  # the crops are whole inputs
        encoder, decoder = self._model.prompt_encoder, self._model.mask_decoder
        with torch.no_grad():
            positions = encoder.dense_positions()
            dense = encoder.dense_embedding(None)
        with_click = group.kind != "box"
        plain: list[Tensor] = []
        refined: list[Tensor] = []
        places: list[Tensor] = []
        for number in sorted(set(group.images)):
            mine = (asked.images == number).nonzero()[:, 0]
            sparse = encoder.sparse_tokens(
                asked.points[mine] if with_click else None,
                asked.labels[mine] if with_click else None,
                None if asked.boxes is None else asked.boxes[mine],
            )
            before, more, _ = decoder.decode_parts(
                features["image"][number : number + 1],
                details[number : number + 1],
                positions,
                sparse,
                dense,
                multimask=False,
            )
            plain.append(before)
            refined.append(more)
            places.append(mine)
        order = torch.cat(places).argsort()
        return _Masks(torch.cat(plain)[order], torch.cat(refined)[order])


def is_of_hq(name: str) -> bool:
    """Whether a tensor belongs to an HQ decoder."""
    return name.startswith(_HQ_PARTS)


def check_same_start(run_folder: Path, sha256: str) -> None:
    """Note the hash of the frozen weights that a run starts from, or compare it with the note.

    A run keeps only what it trains: with other frozen weights the rest would not fit.

    Raises
    ------
    ConfigError
        If the run began with other weights.
    """
    path = run_folder / "start.json"
    try:
        known: Any = json.loads(path.read_text())["sha256"]
    except FileNotFoundError:
        run_folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, overwrite=True) as partial:  # several processes may begin at once
            partial.write_text(json.dumps({"sha256": sha256}))
        return
    if known != sha256:
        raise ConfigError(
            f"{run_folder} began with other weights (SHA-256 {known[:12]}…) than are given now "
            f"({sha256[:12]}…). Give the old file, or another folder for a new run."
        )


def _build(plain: ModelSpec, spec: ModelSpec, paths: Sequence[Path]) -> nn.Module:
    """The HQ network with random weights in the HQ decoder, those of the model elsewhere."""
    network = build_network(spec)
    network.load_state_dict(network.state_dict() | load_network(plain, *paths).state_dict())
    if plain.name != spec.name and not isinstance(network, LiteSAMHQ):
        last = network.get_submodule("mask_decoder.hf_mlp.layers.2")
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
    return network
