"""Lite-SAM adapted to somebody's own images: the decoders trained on a handful of label images.

The encoder stays as it is, so embeddings made before serve the adapted model, too, and a CPU needs
minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ConfigError
from litesam.models.registry import get_spec
from litesam.models.weights_files import resolve_weights
from litesam.preprocess import to_rgb
from litesam.training.data import AugmentConfig, DataSetConfig, RgbImage
from litesam.training.export import export_weights
from litesam.training.lite_sam import TrainConfig, Trainer
from litesam.training.parallel import processes_wanted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from litesam.io import LabelledImage
    from litesam.types import IsCancelled, OnProgress

#: Steps that adapt the decoders to a few images. 200 took 4.6 minutes of one core.
DEFAULT_STEPS = 300
#: Fewer labelled objects than this teach nothing that holds for other images.
MIN_OBJECTS = 5


#: One image in so many is held back to measure what was learned.
_HELD_BACK = 4


def hold_back(
    items: Sequence[LabelledImage],
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split images into those to learn from and, one in four, those to measure with.

    Fewer than four images are all learned from.
    """
    measured = [item for number, item in enumerate(items) if number % _HELD_BACK == _HELD_BACK - 1]
    learned = [item for number, item in enumerate(items) if number % _HELD_BACK != _HELD_BACK - 1]
    return learned, measured


def finetune(
    items: Sequence[LabelledImage],
    target: Path,
    run_folder: Path,
    *,
    weights: str | Path | None = None,
    steps: int = DEFAULT_STEPS,
    learning_rate: float = 5e-4,
    exhaustive: bool = True,
    seed: int = 2026,
    threads: int = 0,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> int:
    """Train the mask decoder and AutoPPN of Lite-SAM on labelled images.

    Parameters
    ----------
    items
        Images (H, W) or (H, W, 3) with label images (H, W), 0 is background.
    target
        The weights file to write, safetensors in half precision; replaced if it exists.
    run_folder
        Where the run keeps its state: after a cancel or a crash the same call goes on from there.
    weights
        Weights of Lite-SAM to start from; None: the bundled ones.
    steps, learning_rate, seed, threads, device
        Of the training; ``threads`` 0: torch's own choice.
    exhaustive
        Whether every object of the images is labelled. If not, what is unlabelled does not count as
        background when AutoPPN learns where objects are.
    on_progress, cancelled
        Called after every step.

    Returns
    -------
    int
        Bytes of the file.

    Raises
    ------
    ConfigError
        If there are too few labelled objects.
    WeightsError
        If the weights to start from are missing or are not those of Lite-SAM.
    Cancelled
        If ``cancelled`` said so.
    """
    if processes_wanted() > 1:
        raise ConfigError("Fine-tuning takes minutes in one process; start it without torchrun.")
    images = [RgbImage(item.name, to_rgb(item.image).rgb, item.labels) for item in items]
    objects = sum(int(np.count_nonzero(np.unique(image.labels))) for image in images)
    if objects < MIN_OBJECTS:
        raise ConfigError(
            f"{len(images)} images hold {objects} labelled objects; at least {MIN_OBJECTS} are "
            "needed, and a hundred from several images are better."
        )
    config = TrainConfig(
        run_folder=str(run_folder),
        data_root="",
        sets=(DataSetConfig("own", 1.0, exhaustive=exhaustive),),
        start_from=str(resolve_weights(get_spec("lite_sam"), weights)),
        frozen_encoder=True,
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=max(1, steps // 15),
        ema_decay=0.98,
        auto_from=0.0,
        correction_share=0.3,
        most_corrections=2,
        augment=AugmentConfig(scale_range=(0.7, 1.4), invert=0.0),
        seed=seed,
        threads=threads,
        device=device,
        checkpoint_every_s=30.0,
    )
    trainer = Trainer(config, [images])
    trainer.run(on_progress, cancelled)
    return export_weights(trainer, target)
