"""Decoupled distillation: a small encoder learns to give the embeddings of a large one.

Source: Zhang et al. 2023, "Faster Segment Anything: Towards Lightweight SAM for Mobile
Applications" (MobileSAM), Sec. 3.2. The teacher's embeddings are computed once into an embedding
store; the student's encoder learns them with the squared error alone, so the teacher's decoder
fits it without training. No augmentation: it would need embeddings of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.embedder import Embedder
from litesam.errors import ConfigError
from litesam.models.registry import base_of, get_spec, known_models
from litesam.models.weights import (
    build_network,
    expected_tensors,
    load_network,
    own_state,
    resolve_weights,
)
from litesam.predictors import load_predictor
from litesam.predictors.networks import network_input
from litesam.store import ZarrStore
from litesam.tiling import make_tiles
from litesam.training.hq import check_same_start
from litesam.training.run import RunConfig, TrainingRun, step_random
from litesam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litesam.preprocess import Plane
    from litesam.types import IsCancelled, ModelSpec, OnProgress, Tile

_ENCODER = "image_encoder."


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(RunConfig):
    """Everything that a distillation depends on, as data.

    Attributes
    ----------
    teacher, student
        Models: whose embeddings are learned, and whose encoder learns them.
    teacher_weights
        Weights file of the teacher; None: the standard one.
    start_from
        Weights file of the student to start from; None: random weights.
    store
        Folder of the teacher's embeddings; None: in the run folder. Several runs may share it.
    batch
        Tiles in a step.
    """

    teacher: str
    student: str
    teacher_weights: str | None = None
    start_from: str | None = None
    store: str | None = None
    learning_rate: float = 1e-3
    batch: int = 4


@dataclass(frozen=True, slots=True)
class DistillBatch:
    """Inputs of the student (B, 3, S, S), normalised, and the teacher's embeddings (B, C, h, w)."""

    inputs: Tensor
    targets: Tensor


class DistillTrainer(TrainingRun[DistillConfig, DistillBatch, nn.Module]):
    """One distillation. Call `precompute`, then `run`; both go on where they were cut off.

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
        If the two do not go together, or the run goes on with another teacher.
    WeightsError
        If weights are missing or damaged.
    """

    def __init__(self, config: DistillConfig, pictures: Sequence[Plane]) -> None:
        teacher, self.student = get_spec(config.teacher), get_spec(config.student)
        check_pair(teacher, self.student)
        self.base = base_of(self.student).name
        path = resolve_weights(teacher, config.teacher_weights)
        self._teacher = load_predictor(teacher.name, path, config.device)
        check_same_start(Path(config.run_folder), self._teacher.weights_hash)
        super().__init__(
            config,
            lambda: _build(self.student, config.start_from, teacher, path),
            lambda name: name.startswith(_ENCODER),
        )
        self._pictures = pictures
        self._embedder = Embedder(
            self._teacher, ZarrStore(config.store or self.folder / "embeddings")
        )

    def precompute(
        self, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> int:
        """Encode all tiles of all pictures with the teacher; those in the store are skipped.

        Once it came to its end it does nothing.

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
        if self._noted_tiles() is not None:
            return len(self._known_tiles())
        message = f"embedding with {self.config.teacher}"
        found = embed_pictures(self._pictures, [self._embedder], message, on_progress, cancelled)
        tiles = [(number, tile.index) for number, tile in found]
        note = json.dumps({"pictures": len(self._pictures), "tiles": tiles})
        (self.folder / "tiles.json").write_text(note)
        return len(tiles)

    def batches(self) -> Iterator[DistillBatch]:
        """Yield the batches from step ``self.step`` on; every tile once in each round.

        Raises
        ------
        ConfigError
            If `precompute` did not come to its end.
        """
        tiles = self._known_tiles()
        step = self.step
        while True:
            yield self._batch([tiles[place] for place in self._places(step, len(tiles))])
            step += 1

    def set_mode(self, batch: DistillBatch) -> None:
        """Train; too few tiles for statistics of their own use the running ones."""
        self.model.train()
        if len(batch.inputs) < 4:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def losses(self, batch: DistillBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Squared error of the embeddings, and the share of their variance that it explains."""
        inputs = batch.inputs.to(self.device).contiguous(memory_format=torch.channels_last)
        targets = batch.targets.to(self.device)
        model: Any = self.model  # of any family; all of them have this method
        found: Tensor = model.encode(inputs)["image"].float()
        error = F.mse_loss(found, targets)
        return {"mse": error}, {"explained": 1.0 - error.detach() / targets.var()}

    def _noted_tiles(self) -> list[tuple[int, int]] | None:
        """Picture and tile of every embedding; None if not all are known to be there."""
        try:
            content = json.loads((self.folder / "tiles.json").read_text())
        except FileNotFoundError:
            return None
        if content["pictures"] != len(self._pictures):
            return None
        return [(int(picture), int(tile)) for picture, tile in content["tiles"]]

    def _known_tiles(self) -> list[tuple[int, int]]:
        tiles = self._noted_tiles()
        if tiles is None:
            raise ConfigError(
                "The embeddings of the teacher are not complete; call precompute first."
            )
        return tiles

    def _places(self, step: int, count: int) -> list[int]:
        """Which tiles a step sees: the rounds' permutations one after the other."""
        size = self.config.batch
        wanted = range(step * size, (step + 1) * size)
        orders = {
            turn: step_random(self.config.seed, turn).permutation(count)
            for turn in {place // count for place in wanted}
        }
        return [int(orders[place // count][place % count]) for place in wanted]

    def _batch(self, tiles: Sequence[tuple[int, int]]) -> DistillBatch:
        inputs, targets = [], []
        for picture, number in tiles:
            plane = self._pictures[picture]
            tile = make_tiles(plane.shape_yx)[number]
            # Encoded again if the store has lost it.
            embedding = self._embedder.embed(plane, tile)
            pixels = np.ascontiguousarray(plane.rgb[tile.padded.slices])
            frame = self.student.frame((pixels.shape[0], pixels.shape[1]))
            inputs.append(network_input(pixels, frame, self.student))
            targets.append(torch.from_numpy(np.array(embedding.features["image"]))[None])
        return DistillBatch(torch.cat(inputs), torch.cat(targets).float())


def embed_pictures(
    pictures: Sequence[Plane],
    embedders: Sequence[Embedder],
    message: str,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> list[tuple[int, Tile]]:
    """Encode all tiles of all pictures; return them, each with the number of its picture.

    Those in the store of an embedder are skipped. ``message`` goes with the progress.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so; what is finished is kept.
    ReadError
        If a picture cannot be read.
    """
    found: list[tuple[int, Tile]] = []
    for number in range(len(pictures)):
        plane = pictures[number]
        tiles = make_tiles(plane.shape_yx)
        for embedder in embedders:
            embedder.embed_all(plane, tiles, cancelled=cancelled)
        found += [(number, tile) for tile in tiles]
        if on_progress is not None:
            on_progress(Progress(number + 1, len(pictures), message))
    return found


def check_pair(teacher: ModelSpec, student: ModelSpec) -> None:
    """Check that a student's encoder can take the place of a teacher's.

    Raises
    ------
    ConfigError
        If the student has no encoder of its own, the two embeddings have different shapes or
        geometry, or the student's decoder is not that of the teacher.
    """
    problem = _mismatch(teacher, student)
    if problem is None:
        return
    able = [
        repr(spec.name)
        for spec in known_models()
        if spec.name != teacher.name and _mismatch(teacher, spec) is None
    ]
    hint = f" Students of {teacher.name!r}: {', '.join(able)}." if able else ""
    raise ConfigError(f"{student.name!r} cannot learn from {teacher.name!r}: {problem}.{hint}")


def _mismatch(teacher: ModelSpec, student: ModelSpec) -> str | None:
    """Why the two do not go together, or None."""
    if student.encoder_from is not None:
        return f"it has no encoder of its own, but that of {student.encoder_from!r}"
    shapes = [spec.feature_shapes.get("image") for spec in (teacher, student)]
    if None in shapes or shapes[0] != shapes[1]:
        return f"the embeddings have the shapes {shapes[0]} and {shapes[1]}"
    if teacher.resize != student.resize:
        return f"one fits images by {teacher.resize!r}, the other by {student.resize!r}"
    if _decoder_shapes(teacher) != _decoder_shapes(student):
        return "the teacher's decoder is not the student's"
    return None


def _decoder_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(tensor.shape)
        for name, tensor in expected_tensors(spec).items()
        if not name.startswith(_ENCODER)
    }


def _build(
    student: ModelSpec, start_from: str | None, teacher: ModelSpec, teacher_path: Path
) -> nn.Module:
    """The student with random or given weights in its encoder, and the teacher's decoder."""
    network = (
        build_network(student) if start_from is None else load_network(student, Path(start_from))
    )
    decoder = {
        name: tensor.float()
        for name, tensor in own_state(teacher, teacher_path, mapped=True).items()
        if not name.startswith(_ENCODER)
    }
    network.load_state_dict(network.state_dict() | decoder)
    return network
