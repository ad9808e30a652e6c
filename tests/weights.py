"""Predictors for tests: with a model's own weights, or with deterministic ones.

Tests that ask about shapes, frames and determinism run on both. Tests that ask what the code does
with given numbers take `filled_predictor`, whose weights never change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import torch

import litesam
from litesam.errors import WeightsError
from litesam.models.registry import get_spec
from parity.fill import fill_tensor

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from litesam.predictors import Predictor
    from litesam.types import ModelSpec


def build_network(spec: ModelSpec) -> nn.Module:
    """The network of a model with random weights."""
    module, _, function = spec.builder.partition(":")
    network: nn.Module = getattr(import_module(module), function)(spec)
    return network


def fill_network(network: nn.Module) -> nn.Module:
    """The same network with deterministic weights that depend on their names only."""
    state = {
        name: torch.from_numpy(
            np.asarray(fill_tensor(name, tuple(tensor.shape), str(tensor.dtype).split(".")[1]))
        )
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network


def filled_weights(name: str, folder: Path) -> Path:
    """A file of deterministic weights of a model."""
    path = folder / f"{name}.pt"
    torch.save(fill_network(build_network(get_spec(name))).state_dict(), path)
    return path


def filled_predictor(name: str, folder: Path) -> Predictor:
    """A model with deterministic weights, on the CPU."""
    return litesam.load_predictor(name, weights=filled_weights(name, folder), device="cpu")


def usable_predictor(name: str, folder: Path) -> Predictor:
    """A model with its own weights where they are on this computer, else deterministic ones."""
    try:
        return litesam.load_predictor(name, device="cpu")
    except WeightsError:
        return filled_predictor(name, folder)
