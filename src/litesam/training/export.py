"""A training run → the weights file that inference loads."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from litesam.io.atomic import atomic_path
from litesam.models.state_dicts import BESIDE

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from litesam.training.run import TrainingRun

#: Where files lay on the machine of the training is nobody's business.
_PRIVATE = ("data_root", "run_folder", "start_from")


def export_weights(
    run: TrainingRun[Any, Any, Any],
    target: Path,
    model: str = "lite_sam",
    *,
    beside: str | None = None,
) -> int:
    """Write the averaged weights of a run as half-precision safetensors.

    Tensors whose values half precision cannot hold are written as they are.

    Parameters
    ----------
    run
        A training run. Tensors that it does not train keep their values, so that embeddings of a
        frozen encoder stay valid: only where half precision holds them exactly it is used.
    target
        File to write; replaced if it exists.
    model
        Name of the model whose tensors they are.
    beside
        SHA-256 of the weights that the run left frozen: only what it trained is written, for use
        with that very file (`ModelSpec.rest_from`). None: everything.

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
    state = run.model.state_dict()
    tensors = {
        name: _stored(run.ema.get(name, value), trained=name in run.ema).cpu().contiguous()
        for name, value in state.items()
        if beside is None or name in run.ema
    }
    config = {name: value for name, value in asdict(run.config).items() if name not in _PRIVATE}
    config["processes"] = run.group.size
    metadata = {
        "model": model,
        "step": str(run.step),
        "seconds": str(round(run.seconds)),
        "config": json.dumps(config),
    }
    if beside is not None:
        metadata[BESIDE] = beside
    with atomic_path(target, overwrite=True) as partial:
        save_file(tensors, partial, metadata=metadata)
    return target.stat().st_size


def _stored(value: Tensor, *, trained: bool) -> Tensor:
    if not value.is_floating_point():
        return value
    half = value.to(torch.float16)
    if not torch.isfinite(half).all():  # statistics of long runs go beyond 65504
        return value
    return half if trained or torch.equal(half.to(value.dtype), value) else value
