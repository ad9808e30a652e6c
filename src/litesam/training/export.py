"""A training run → the weights file that inference loads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from litesam.errors import WeightsError
from litesam.io.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path


def export_weights(run_folder: Path, target: Path) -> int:
    """Write the averaged weights of a run as half-precision safetensors.

    Parameters
    ----------
    run_folder
        Folder of a training run.
    target
        File to write; replaced if it exists.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    WeightsError
        If the run has no checkpoint yet.

    Notes
    -----
    The configuration of the run, its step and its seconds are kept in the file's metadata.
    """
    checkpoint = run_folder / "checkpoint.pt"
    if not checkpoint.is_file():
        raise WeightsError(f"{run_folder} holds no checkpoint.pt; train for a while first.")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors = {
        name: (value.to(torch.float16) if value.is_floating_point() else value).contiguous()
        for name, value in state["ema"].items()
    }
    config = json.loads((run_folder / "config.json").read_text())
    # Where the data lay on the machine of the training is nobody's business.
    for private in ("data_root", "run_folder", "start_from"):
        config.pop(private, None)
    metadata = {
        "model": "lite_sam",
        "step": str(state["step"]),
        "seconds": str(round(state["seconds"])),
        "config": json.dumps(config),
    }
    with atomic_path(target, overwrite=True) as partial:
        save_file(tensors, partial, metadata=metadata)
    return target.stat().st_size
