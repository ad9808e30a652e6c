"""A training run → the weights file that inference loads."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from litesam.io.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.training.run import TrainingRun

#: Where files lay on the machine of the training is nobody's business.
_PRIVATE = ("data_root", "run_folder", "start_from")


def export_weights(run: TrainingRun[Any, Any, Any], target: Path) -> int:
    """Write the averaged weights of a run as half-precision safetensors.

    Parameters
    ----------
    run
        A training run. Tensors that it does not train are written as they are.
    target
        File to write; replaced if it exists.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    WriteError
        If the file cannot be written.

    Notes
    -----
    The configuration of the run, its step and its seconds are kept in the file's metadata.
    """
    tensors = {
        name: (value.to(torch.float16) if value.is_floating_point() else value).cpu().contiguous()
        for name, value in (run.model.state_dict() | run.ema).items()
    }
    config = {name: value for name, value in asdict(run.config).items() if name not in _PRIVATE}
    metadata = {
        "model": "lite_sam",
        "step": str(run.step),
        "seconds": str(round(run.seconds)),
        "config": json.dumps(config),
    }
    with atomic_path(target, overwrite=True) as partial:
        save_file(tensors, partial, metadata=metadata)
    return target.stat().st_size
