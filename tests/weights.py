"""Predictors for tests: with a model's own weights, or with deterministic ones.

Tests that ask about shapes, frames and determinism run on both. Tests that ask what the code does
with given numbers take `filled_predictor`, whose weights never change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import litesam
from litesam.errors import WeightsError
from litesam.models.registry import get_spec, known_models
from litesam.models.weights import build_network
from litesam.predictors import make_predictor
from parity.fill import fill_tensor

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from litesam.predictors import Predictor
    from litesam.predictors.lite_sam import LiteSamPredictor
    from litesam.types import ModelSpec


#: Models with more parameters than this are tested in the slow run only: gigabytes, and seconds for
#: each image.
SLOW_ABOVE = 100_000_000
#: Models every line of which another one runs, too: they are larger, or have other weights.
TWINS = {
    "sam_vit_b": "sam_hq_vit_b",
    "efficient_sam_vits": "efficient_sam_vitt",
    "edge_sam_3x": "edge_sam",
    "efficientvit_sam_l1": "efficientvit_sam_l0",
    "efficientvit_sam_l2": "mobilesamv2_efficientvit_l2",
    "fastsam_x": "fastsam_s",
}


def model_cases(slow_above: int = SLOW_ABOVE) -> list[pytest.ParameterSet]:
    """Names of all models, to parametrise tests with; large ones and twins are marked slow."""
    return [
        pytest.param(
            spec.name,
            id=spec.name,
            marks=[pytest.mark.slow] if spec.parameters > slow_above or spec.name in TWINS else [],
        )
        for spec in known_models()
    ]


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


def official_content(spec: ModelSpec, state: dict[str, torch.Tensor]) -> Any:
    """A state dict in the containers of the model's official file; without a foreign encoder."""
    content: Any = state
    if spec.weights.parts:
        content = {
            part: {
                name.removeprefix(prefix): tensor
                for name, tensor in state.items()
                if name.startswith(prefix)
            }
            for part, prefix in spec.weights.parts.items()
        }
    for key in reversed(spec.weights.container):
        content = {key: content}
    return content


def filled_weights(name: str, folder: Path) -> Path:
    """A file of deterministic weights of a model; beside it that of a foreign encoder."""
    spec, path = get_spec(name), folder / f"{name}.pt"
    state = fill_network(build_network(spec)).state_dict()
    torch.save(official_content(spec, state), path)
    if spec.encoder_from is not None:
        encoder = {n: t for n, t in state.items() if n.startswith("image_encoder.")}
        torch.save(encoder, _encoder_file(path))
    return path


def _encoder_file(path: Path) -> Path:
    return path.with_name("encoder.pt")


def filled_predictor(name: str, folder: Path) -> Predictor:
    """A model with deterministic weights, on the CPU."""
    path = filled_weights(name, folder)
    encoder = None if get_spec(name).encoder_from is None else _encoder_file(path)
    return litesam.load_predictor(name, weights=path, encoder_weights=encoder, device="cpu")


def usable_predictor(name: str, folder: Path) -> Predictor:
    """A model with its own weights where they are on this computer, else deterministic ones."""
    try:
        return litesam.load_predictor(name, device="cpu")
    except WeightsError:
        return filled_predictor(name, folder)


def set_own_boxes(network: nn.Module, group: int = 0) -> nn.Module:
    """Let AutoPPN see the same box around every place; about 22 model pixels wide in group 0."""
    head = network.auto_ppn.head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias.view(3, 5, -1)[group, 0] = 2.0
    return network


def constant_lite_sam(sign: float) -> LiteSamPredictor:
    """A Lite-SAM whose masks are the whole window (+1) or nothing (-1), whatever the image.

    So masks always, or never, reach the border of their window. AutoPPN sees small objects.
    """
    spec = get_spec("lite_sam")
    network = fill_network(build_network(spec))
    decoder = network.mask_decoder
    with torch.no_grad():
        decoder.output_upscaling[3].weight.zero_()
        decoder.output_upscaling[3].bias.fill_(1.0)
        for head in decoder.output_hypernetworks_mlps:
            head.layers[-1].weight.zero_()
            head.layers[-1].bias.fill_(sign)
    set_own_boxes(network)
    predictor: LiteSamPredictor = make_predictor(spec, network, "cpu", f"constant {sign:+g}")
    return predictor
