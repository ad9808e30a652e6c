"""MobileSAM's own traps; that it computes what the official code does is tested with its family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from litesam.frames import fit_longest_side
from litesam.models.registry import get_spec
from litesam.models.weights import load_network
from parity.goldens import COMPLETE, DATA, mobile_sam_state, read_names

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.models.sam import Sam
    from litesam.predictors.sam import SamPredictor


@pytest.fixture(scope="module")
def network(mobile_sam_file: Path) -> Sam:
    """The network as it is loaded; the predictor's is folded for inference."""
    return load_network(get_spec("mobile_sam"), mobile_sam_file)  # type: ignore[return-value]


def test_state_dict_has_exactly_the_entries_of_the_official_file(network: Sam) -> None:
    ours = {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in network.state_dict().items()
    }
    official = {name: (shape, dtype) for name, shape, dtype in read_names(DATA / "state_dict.tsv")}
    assert len(official) == 439
    assert ours == official


def test_parameter_counts_are_the_published_ones(network: Sam) -> None:
    counted = sum(p.numel() for p in network.parameters())
    positions = network.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.numel()
    assert sum(p.numel() for p in network.image_encoder.parameters()) == 6_065_532
    # The official table counts parameters; the random positions are a buffer.
    assert positions == 256
    assert counted == get_spec("mobile_sam").parameters


@pytest.mark.skipif(not COMPLETE.present, reason="the conformance kit is not beside the checkout")
def test_prompt_encoder(predictor: SamPredictor) -> None:
    encoder = predictor._network.prompt_encoder
    frame = fit_longest_side(COMPLETE.rgb("b").shape[:2], 1024)
    arrays = COMPLETE.arrays
    with torch.inference_mode():
        three = COMPLETE.prompts("b", "points3")
        box = COMPLETE.prompts("b", "box")
        points = torch.from_numpy(frame.points_to_model(three.points))
        labels = torch.from_numpy(three.labels)
        sparse = encoder.sparse_tokens(points, labels, None)
        corners = encoder.sparse_tokens(
            None, None, torch.from_numpy(frame.boxes_to_model(box.boxes))
        )
        grid = encoder.dense_positions()
        dense = encoder.dense_embedding(torch.from_numpy(arrays["b.mask_input"]).float())
    # Angles of up to about 25 radians in float32 are known to 2e-6 only.
    close = {"rtol": 0.0, "atol": 2e-5}
    np.testing.assert_allclose(sparse[0].numpy(), arrays["b.points3.sparse"], **close)
    np.testing.assert_allclose(corners[0].numpy(), arrays["b.box.sparse"], **close)
    cut = COMPLETE.cut("dense_pe", grid[0].numpy())
    np.testing.assert_allclose(cut, arrays["dense_pe"], **close)
    cut = COMPLETE.cut("b.mask_input.dense", dense[0].numpy())
    np.testing.assert_allclose(cut, arrays["b.mask_input.dense"], **close)


def test_attention_biases_follow_weights_loaded_after_eval(predictor: SamPredictor) -> None:
    """The official module caches expanded biases in ``eval()`` and ignores weights loaded later."""
    from litesam.models.sam import build_mobile_sam

    network: Sam = build_mobile_sam(predictor.spec).eval()
    attention = network.image_encoder.layers[1].blocks[0].attn
    x = torch.ones((1, 49, 128))
    x[0, 7] = torch.linspace(-1, 1, 128)
    x[0, 8] = torch.linspace(1, -2, 128)
    network.load_state_dict(mobile_sam_state(), strict=True)
    with torch.inference_mode():
        loaded = attention(x)
        attention.attention_biases.zero_()
        without = attention(x)
    assert attention.bias_index.shape == (49, 49)
    assert not torch.allclose(loaded, without, atol=1e-3)


def test_official_container_and_wrappers_load_the_same(network: Sam, mobile_sam_file: Path) -> None:
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in mobile_sam_state().items())
    assert mobile_sam_file.stat().st_size > 40e6
